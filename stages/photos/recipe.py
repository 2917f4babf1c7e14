"""Recipes of single-stage detectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build
from mtcnn.settings import Settings, setting

from ..objectives import objective_class
from ..objectives.multibox import MultiBoxSettings
from ..recipes import Schedule, check
from .crops import PictureSettings

__all__ = ["DetectorRecipe", "PhotoSchedule"]


@dataclass(frozen=True)
class PhotoSchedule(Schedule):
    """Section [train] of a detector's recipe: the schedule, and

    clip  largest norm of the gradient.
    val   percent of the images in the validation part.
    fixed_norms  batch norms keep the statistics of the initial weights: for fine-tuning, where batches are small. If
          these are a trunk's, its norms alone are fixed.
    """

    epochs: int = setting(60, min=1)
    steps: int = setting(100, min=1)
    batch: int = setting(16, min=1, max=1 << 16)
    weight_decay: float = setting(5e-4, min=0, max=1e30)
    clip: float = setting(10.0, above=0)
    val: float = setting(3.0, min=0, max=50)
    fixed_norms: bool = setting(False, choices=(False, True), added=True)

    renamed: ClassVar[dict[str, str]] = {**Schedule.renamed, "held": "val"}


# Key of a version 0.1 recipe -> its current place.
_MOVED = {
    ("width",): ("model", "width"),
    ("match",): ("objective", "match"),
    ("sample",): ("objective", "sample"),
    ("train", "face"): ("objective", "face"),
    ("train", "box"): ("objective", "box"),
    ("train", "landmark"): ("objective", "landmark"),
}


@dataclass(frozen=True)
class DetectorRecipe(Settings):
    """All settings of one detector: its pictures, its objective, and its training.

    model      settings of the net's class, such as trunk and width; the defaults are as published.
    objective  settings of the objective `name`, one of `objectives.OBJECTIVES`.
    """

    net: str
    model: dict[str, Any] = field(default_factory=dict)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    objective: Any = field(default_factory=MultiBoxSettings)
    train: PhotoSchedule = field(default_factory=PhotoSchedule)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.net in DETECTORS, "net", self.net, f"one of {', '.join(DETECTORS)}")
        with torch.device("meta"):  # checks the settings without allocating weights
            build(self.net, self.model)

    @staticmethod
    def upgraded(values: dict[str, Any], renames: list[str]) -> dict[str, Any]:
        """The content of a recipe file with keys of version 0.1 moved; a line per key is added to `renames`."""
        values = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
        for old, new in _MOVED.items():
            parent = values if len(old) == 1 else values.get(old[0])
            if isinstance(parent, dict) and old[-1] in parent:
                renames.append(f"{'.'.join(old)} is {'.'.join(new)}")
                table, value = values.setdefault(new[0], {}), parent.pop(old[-1])
                if isinstance(table, dict):  # `build` says what is wrong with another
                    table[new[-1]] = value
        return values

    tables: ClassVar[dict[str, Callable[[dict[str, Any]], type[Any]]]]


def _objective_settings(table: dict[str, Any]) -> type[Any]:
    name = table.get("name", "multibox")
    found: type[Any] = objective_class(name).Settings
    return found


DetectorRecipe.tables = {"objective": _objective_settings}
