"""Settings of a detector: which stages run, their thresholds, and the face sizes to look for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from .checkpoint import packaged_weights, weights_path
from .detectors import DETECTORS
from .detectors.load import PRECISIONS
from .detectors.looks import ENLARGE, MAX_SIDE
from .errors import SettingsError
from .pyramid import MIN_FACE, SCALE_FACTOR
from .settings import Range, check, is_one_of, require, shown
from .thresholds import default_threshold

__all__ = ["CASCADE", "PRESETS", "REFINED", "DetectorSettings", "unused_thresholds"]

CASCADE = "mtcnn"
"""The detector name of the full cascade: PNet, RNet and ONet."""

REFINED = {"rnet,onet": ("rnet", "onet"), "rnet": ("rnet",), "none": ()}

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"stage1": "retinaface", "refine": "none"},
    "best": {"stage1": "retinaface", "refine": "rnet,onet", "thresholds": (0.2, 0.2, 0.6)},
}
"""Detector names for those who do not want to choose: what is best in docs/results.md, so it may change by version."""

_SHARE = Range(min=0, max=1)
_UNORDERED = (str, Mapping, Set)  # iterables that are no sequence of numbers


@dataclass(frozen=True)
class DetectorSettings:
    """The settings of a Detector, documented there. Missing ones get defaults; contradictions raise.

    Raises SettingsError for values out of range, and for settings that the chosen stages do not use: a setting that is
    silently ignored looks as if it worked.
    """

    models: str | PathLike[str] | None = None
    min_face: float | None = None
    scale_factor: float | None = None
    thresholds: float | Sequence[float] | None = None
    device: str = "cpu"
    stage1: str | None = None
    refine: str | None = None
    engine: str | None = None
    detector: str | None = None
    score: float | None = None
    max_side: float | None = None
    coarse: bool | None = None
    precision: str | None = None
    enlarge: float | None = None

    def __post_init__(self) -> None:
        known = self.models is None or isinstance(self.models, str | PathLike)
        require(known and self.models != "", "models", self.models, "a folder, or None")
        self._choose_stages()
        pnet = self.stage1 == "pnet"
        require(
            not pnet or is_one_of(self.engine, (None, "openvino")), "engine", self.engine,
            "none for pnet, which is compiled, or 'openvino' for RNet and ONet; name another detector",
        )  # fmt: skip
        if pnet and self.engine is not None and (self.refine == "none" or self.device != "cpu"):
            raise SettingsError(
                f"engine is 'openvino' with refine {self.refine!r} on {self.device}; expected it for RNet or ONet "
                "on cpu"
            )
        require(is_one_of(self.precision, (None, *PRECISIONS)), "precision", self.precision, _one_of(*PRECISIONS))
        if self.precision == "bf16" and (pnet or self.engine is not None or self.device != "cpu"):
            where = "pnet" if pnet else f"engine {self.engine!r} on {self.device}"
            raise SettingsError(f"precision is 'bf16' with {where}; expected a single-stage detector, compiled, on cpu")
        if not pnet and self.scale_factor is not None:
            raise SettingsError(
                f"scale_factor is {shown(self.scale_factor)}; expected none for {self.stage1}, which has no pyramid"
            )
        for name, value in (("max_side", self.max_side), ("coarse", self.coarse), ("enlarge", self.enlarge)):
            if pnet and value is not None:
                raise SettingsError(
                    f"{name} is {shown(value)}; expected none for pnet, which has a pyramid; raise `min_face`"
                )
        require(is_one_of(self.coarse, (None, True, False)), "coarse", self.coarse, "True or False")
        self._fill("max_side", None, MAX_SIDE)
        self._fill("enlarge", None if pnet else 1.0, ENLARGE)
        if not pnet and self.coarse is None:
            object.__setattr__(self, "coarse", True)
        self._fill("min_face", 20.0 if pnet else None, MIN_FACE)
        self._fill("scale_factor", 0.709 if pnet else None, SCALE_FACTOR)
        object.__setattr__(self, "thresholds", self._thresholds())

    def _choose_stages(self) -> None:
        stage1, refine = self.stage1, self.refine
        if self.detector is not None:
            names = (CASCADE, *PRESETS, *DETECTORS)
            require(is_one_of(self.detector, names), "detector", self.detector, _one_of(*names))
            if stage1 is not None:
                raise SettingsError(f"detector is {self.detector!r}; expected no `stage1` beside it; leave one out")
            if refine is not None and self.detector not in DETECTORS:
                raise SettingsError(
                    f"detector is {self.detector!r}; expected no `refine` beside it: its stages are fixed; name one of "
                    "them with `stage1` instead"
                )
            stage1 = "pnet" if self.detector == CASCADE else self.detector
            if self.detector in PRESETS:
                preset = PRESETS[self.detector]
                stage1, refine = preset["stage1"], preset["refine"]
                if self.thresholds is None:
                    object.__setattr__(self, "thresholds", preset.get("thresholds"))
        stage1 = "pnet" if stage1 is None else stage1
        require(is_one_of(stage1, ("pnet", *DETECTORS)), "stage1", stage1, _one_of("pnet", *DETECTORS))
        if refine is None:
            refine = "rnet,onet" if stage1 == "pnet" else "none"
        require(is_one_of(refine, REFINED), "refine", refine, ", ".join(map(repr, REFINED)))
        object.__setattr__(self, "stage1", stage1)
        object.__setattr__(self, "refine", refine)
        object.__setattr__(self, "detector", None)

    def _fill(self, name: str, default: float | None, values: Range) -> None:
        value = getattr(self, name)
        if value is None:
            object.__setattr__(self, name, default)
        else:
            check(name, value, values)

    @property
    def title(self) -> str:
        """What a table calls the detector: "mtcnn", the cascade, or its stages, such as "retinaface+rnet+onet"."""
        return CASCADE if self.stages == ("pnet", "rnet", "onet") else "+".join(self.stages)

    @property
    def stages(self) -> tuple[str, ...]:
        """The nets that run, in order."""
        assert self.stage1 is not None and self.refine is not None
        return (self.stage1, *REFINED[self.refine])

    def _thresholds(self) -> tuple[float, ...]:
        """One for each stage: as given, or as the weights say."""
        stages = self.stages
        given: Any = self.thresholds
        if given is None:
            folder = packaged_weights() if self.models is None else Path(self.models)
            found = [default_threshold(weights_path(folder, name), name) for name in stages]
        elif isinstance(given, Iterable) and not isinstance(given, _UNORDERED) and getattr(given, "ndim", 1) != 0:
            found = list(given)
            if len(found) == 3 > len(stages) and all(map(_SHARE.holds, found)):  # as earlier versions required
                warnings.warn(f"thresholds {unused_thresholds(stages)}", FutureWarning, stacklevel=5)
                found = found[: len(stages)]
        else:
            found = [given] * len(stages)
        if len(found) != len(stages) or not all(map(_SHARE.holds, found)):
            count = {1: "one number", 2: "two numbers", 3: "three numbers"}[len(stages)]
            shown = " ".join(repr(given).split())  # of an array on several lines
            raise SettingsError(f"thresholds are {shown}; expected {count} from 0 to 1, for {', '.join(stages)}")
        if self.score is not None:
            check("score", self.score, _SHARE)
            if given is not None and len(stages) == 1 and found != [self.score]:
                raise SettingsError(
                    f"score is {self.score} beside `thresholds` {given!r}; expected one of them: {stages[0]} has one "
                    "threshold"
                )
            found[-1] = self.score
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """The settings that affect results, as plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["detector"], values["score"]  # resolved into the others
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
        if self.precision != "bf16":
            del plain["precision"]
        if self.enlarge in (None, 1):  # as before it was a setting, so that what is cached stays valid
            del plain["enlarge"]
        return {**plain, "thresholds": list(values["thresholds"])}


def unused_thresholds(stages: Sequence[str]) -> str:
    """What is said of three thresholds for fewer stages."""
    runs = f"{' and '.join(stages)} run{'s' if len(stages) == 1 else ''}"
    return f"have three numbers, but only {runs}: the first {'counts' if len(stages) == 1 else 'two count'}"


def _one_of(*names: str) -> str:
    return f"one of {', '.join(names)}"
