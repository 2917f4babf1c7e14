"""Objectives: they turn a scene into targets, and outputs and targets into losses.

A new loss or assignment is a new file here and a line in OBJECTIVES; recipes choose it by `[objective] name`. Anchors
are matched (`matching`, or `adaptive`, which needs no sampling), sampled (`sampling`) and encoded (`targets`); cells of
nets without anchors are assigned by what the net predicts (`assigning`). Losses of crops are in `stages.crops.loss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from torch import Tensor

from mtcnn.detectors.decoders import Decoder
from mtcnn.settings import is_one_of, require

from ..scene import Scene

__all__ = ["OBJECTIVES", "TAUGHT", "Objective", "objective_class"]

OBJECTIVES = {
    "atss": "atss:Atss",
    "distill": "distill:Distill",
    "distill-cells": "distill_cells:DistillCells",
    "heat-map": "heat_map:Peaks",
    "multibox": "multibox:MultiBox",
    "simota": "simota:SimOTA",
}
"""Name in a recipe -> module in this folder and class."""

TAUGHT = ("distill", "distill-cells")
"""Objectives that need a teacher."""


class Objective(Protocol):
    """The losses of a detector. Its class has `Settings`, a frozen dataclass: the recipe's [objective].

    `teacher` gives outputs in the codes of the net (`teacher.load_teacher`), for objectives that use one, else None.
    """

    def __init__(self, settings: Any, decoder: Decoder, teacher: Any = None) -> None: ...

    def targets(self, scene: Scene) -> Any:
        """Targets of one scene: a named tuple of arrays, which are stacked to the tensors of a batch."""

    def loss(self, outputs: Mapping[str, Tensor], targets: Any) -> dict[str, Tensor]:
        """Losses of a batch by name, scalars, each before its weight; `total` is their weighted sum."""


def objective_class(name: str) -> Any:
    """The class of the objective `name`, which a recipe gives. Raises SettingsError for what is not in OBJECTIVES."""
    require(is_one_of(name, OBJECTIVES), "name", name, f"one of {', '.join(OBJECTIVES)}")
    module, found = OBJECTIVES[name].split(":")
    return getattr(import_module(f".{module}", __name__), found)
