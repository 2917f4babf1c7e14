"""Records a detection stage by stage: inputs, outputs and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..candidates import Candidates
from ..cascade import Detector
from ..detectors.single_stage import SingleStage
from ..proposer import PNetProposer
from ..refiner import NetRefiner
from ..types import Faces, ImageSize

__all__ = ["StageTrace", "Trace", "look", "record"]


@dataclass(frozen=True, eq=False)
class StageTrace:
    """The record of one stage.

    name   pnet, rnet, onet, or the class of another stage.    given  input faces; none for the first.
    found  faces that the stage returned.    ms  milliseconds it took.
    candidates  its candidates, or None for a stage that cannot list them.
    """

    name: str
    given: Faces
    found: Faces
    ms: float
    candidates: Candidates | None

    def to_dict(self) -> dict[str, Any]:
        """Counts, milliseconds, output faces, and for PNet the counts per pyramid level: plain values."""
        seen = self.candidates
        counts: dict[str, Any] = {"stage": self.name, "given": len(self.given)}
        if seen is not None:
            counts |= {"seen": len(seen.scores)}
            counts |= {f"after {step.name}": int(step.kept.sum()) for step in seen.steps}
        counts |= {"found": len(self.found), "ms": self.ms, "kept": self.found.to_dicts()}
        if seen is not None and seen.pyramid:
            counts["levels"] = _by_level(seen)
        return counts


def _by_level(seen: Candidates) -> list[dict[str, Any]]:
    count = len(seen.pyramid)
    masks = {"seen": np.ones(len(seen.level), bool), **{f"after {step.name}": step.kept for step in seen.steps}}
    tallies = {name: np.bincount(seen.level[kept], minlength=count) for name, kept in masks.items()}
    return [
        {"cell": round(level.cell, 1), "height": level.height, "width": level.width}
        | {name: int(tally[i]) for name, tally in tallies.items()}
        for i, level in enumerate(seen.pyramid)
    ]


@dataclass(frozen=True, eq=False)
class Trace:
    """A detection, first stage to last, and its final faces."""

    size: ImageSize
    stages: tuple[StageTrace, ...]
    faces: Faces


def record(detector: Detector, image: NDArray[np.uint8], faces: Faces | None = None) -> Trace:
    """Runs the stages of `detector` on image (H, W, 3) uint8 RGB, one by one, and records each.

    faces  the detector's faces in this image, if known; otherwise it is run.

    The stages are called exactly as in detection.
    """
    found = detector.detect(image) if faces is None else faces
    stages, given = [], Faces.empty()
    parts: list[Callable[..., Faces]] = [detector.proposer, *detector.refiners]
    for stage in parts:
        arguments = (image,) if stage is parts[0] else (image, given)
        kept, ms = _timed(stage, *arguments)
        stages.append(StageTrace(_name(stage), given, kept, ms, look(stage, image, given)))
        given = kept
    return Trace(ImageSize(*image.shape[:2]), tuple(stages), found)


def look(stage: object, image: NDArray[np.uint8], faces: Faces) -> Candidates | None:
    """The candidates of a stage in image (H, W, 3) for input `faces` (none for a proposer); None for other classes.

    A subclass may compute differently from the candidates that it would inherit.
    """
    if isinstance(stage, PNetProposer | SingleStage) and type(stage) in (PNetProposer, SingleStage):
        return stage.candidates(image)
    if isinstance(stage, NetRefiner) and type(stage) is NetRefiner:
        return stage.candidates(image, faces)
    return None


def _timed(stage: Callable[..., Faces], *arguments: Any) -> tuple[Faces, float]:
    start = time.perf_counter()
    faces = stage(*arguments)
    return faces, round(1000 * (time.perf_counter() - start), 2)  # the same figure everywhere


def _name(stage: object) -> str:
    if isinstance(stage, NetRefiner):
        return stage.name
    return "pnet" if isinstance(stage, PNetProposer) else type(stage).__name__
