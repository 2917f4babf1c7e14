"""A detection written down stage by stage: what went in, what came out, and how long it took."""

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
    """One stage at work.

    name   pnet, rnet, onet, or the class of another stage.    given  faces that went in; none into the first.
    found  what the stage itself returned.    ms  milliseconds it took.
    candidates  how it came to that, or None for a stage that cannot be laid open.
    """

    name: str
    given: Faces
    found: Faces
    ms: float
    candidates: Candidates | None

    def to_dict(self) -> dict[str, Any]:
        """Counts, milliseconds, what was kept, and for PNet the counts of each level of the pyramid: plain values."""
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
    """A detection, first stage to last, and the faces it ended with."""

    size: ImageSize
    stages: tuple[StageTrace, ...]
    faces: Faces


def record(detector: Detector, image: NDArray[np.uint8], faces: Faces | None = None) -> Trace:
    """Runs the stages of `detector` over image (H, W, 3) uint8 RGB, one by one, and looks into each.

    faces  what the detector found in this image, where that is known; otherwise it is asked.

    The stages are called as detection calls them and are not changed.
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
    """What a stage looks at in image (H, W, 3) when given `faces` (a proposer: none); None for stages of other kinds.

    A subclass of a stage may work in another way than what it inherits would list.
    """
    if isinstance(stage, PNetProposer | SingleStage) and type(stage) in (PNetProposer, SingleStage):
        return stage.candidates(image)
    if isinstance(stage, NetRefiner) and type(stage) is NetRefiner:
        return stage.candidates(image, faces)
    return None


def _timed(stage: Callable[..., Faces], *arguments: Any) -> tuple[Faces, float]:
    start = time.perf_counter()
    faces = stage(*arguments)
    return faces, round(1000 * (time.perf_counter() - start), 2)  # the same figure wherever it is told


def _name(stage: object) -> str:
    if isinstance(stage, NetRefiner):
        return stage.name
    return "pnet" if isinstance(stage, PNetProposer) else type(stage).__name__
