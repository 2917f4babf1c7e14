"""What a search does, drawn once and stored in its folder: the candidates, and how long each one is trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mtcnn.detectors.load import model_of
from mtcnn.errors import DataError, SettingsError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.settings import Settings, require, setting

from ..photos.recipe import PhotoSchedule
from .space import CostBudget, candidates

__all__ = ["STEPS", "SearchPlan", "load_plan", "save_plan", "settle"]

STEPS = ("trunk", "whole")
RUNGS = (4, 2, 1)  # of successive halving: a quarter of the epochs, half of them, all
WARMUP = 10  # at least so many times as long as the warm-up is the training

Model = dict[str, Any]


@dataclass(frozen=True)
class SearchPlan(Settings):
    """Settings of one step of a search, and the candidates drawn for it.

    net       the detector whose space is searched, one of SCRFD's.       step  "trunk" or "whole", see `space`.
    budget    multiply-adds of convolutions for an image of `height` x `width` pixels.
    count     candidates.            seed  of the draw.
    epochs    of each training.      steps  of an epoch; None: those of the recipe.
    val       percent of the photos in the validation part, on which candidates are ranked.
    max_side  validation photos are shrunk to this longer side, pixels.
    halving   after a quarter and half of the epochs, only the better half of the candidates continues (successive
              halving, Jamieson and Talwalkar 2016).
    template  settings of [model] that the candidates vary or keep.
    models    the candidates: all settings of [model].
    """

    net: str = "scrfd-0.5g"
    step: str = setting("trunk", choices=STEPS)
    budget: float = setting(0.5e9, above=0)
    height: int = setting(480, min=1)
    width: int = setting(640, min=1)
    count: int = setting(64, min=1, max=10_000)
    seed: int = setting(0, min=0)
    epochs: int = setting(10, min=1)
    steps: int | None = setting(None, min=1)
    val: float = setting(10.0, above=0, max=50)
    max_side: int = setting(640, min=32)
    halving: bool = False
    template: Model = field(default_factory=dict)
    models: tuple[Model, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in (self.height, self.width):
            require(side % 32 == 0, "size", side, "a multiple of 32, the stride of the coarsest map")

    def settings(self) -> dict[str, Any]:
        """What the other step of a search has in common with this one."""
        own = ("step", "template", "models")
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name not in own}

    @property
    def cost_budget(self) -> CostBudget:
        return CostBudget(self.budget, self.height, self.width)

    @property
    def rungs(self) -> list[int]:
        """The epochs after which candidates are compared, ascending; the last is the end of the training."""
        return sorted({-(-self.epochs // part) for part in (RUNGS if self.halving else (1,))})

    def drawn(self) -> SearchPlan:
        """The plan with its candidates. More candidates begin with the same ones."""
        found = candidates(self.net, self.template, self.step, self.cost_budget, self.seed)
        return replace(self, models=tuple(islice(found, self.count)))

    def schedule(self, full: PhotoSchedule) -> PhotoSchedule:
        """The schedule of a candidate: short, with the warm-up cut in proportion."""
        steps = self.steps or full.steps
        warmup = min(full.warmup, self.epochs * steps // WARMUP)
        return replace(full, epochs=self.epochs, steps=steps, warmup=warmup, val=self.val)


def plan_path(folder: Path, step: str) -> Path:
    return folder / step / "plan.json"


def load_plan(folder: Path, step: str) -> SearchPlan | None:
    """The plan of a step in the folder of a search; None if there is none.

    Raises DataError if the file is damaged.
    """
    path = plan_path(folder, step)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        net = values["net"]
        values["template"] = model_of(net, values["template"])
        values["models"] = tuple(model_of(net, model) for model in values["models"])
        if len(values["models"]) != values["count"] or values["step"] != step:
            raise ValueError("it lacks candidates, or is of another step")
        return SearchPlan(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no plan of a search ({str(error)[:120]}); delete it to begin a new one") from None


def save_plan(folder: Path, plan: SearchPlan) -> None:
    with atomic_write(plan_path(folder, plan.step)) as draft:
        draft.write_text(json.dumps(dataclasses.asdict(plan), indent=1), "utf-8")


def settle(found: SearchPlan | None, step: str, given: Mapping[str, Any]) -> SearchPlan:
    """The plan for these settings, from the one `found` in the folder; those not `given` are its own, or the defaults.

    Raises SettingsError if the folder holds a search with others. More candidates may be given, and `halving` False.
    """
    if found is None:
        return SearchPlan(step=step, **given).drawn()
    plan = replace(found, **given)
    changed = [name for name in _fixed(found, plan) if getattr(found, name) != getattr(plan, name)]
    if changed:
        name = changed[0]
        raise SettingsError(
            f"{name} is {getattr(plan, name)}; the search in this folder has {getattr(found, name)}: expected the "
            "same, or none to continue it, or another folder"
        )
    return plan if plan.count == found.count else plan.drawn()


def _fixed(found: SearchPlan, plan: SearchPlan) -> Iterable[str]:
    """The settings that must be the same in both."""
    free = {"models", "count" if plan.count > found.count else "", "halving" if not plan.halving else ""}
    return [each.name for each in dataclasses.fields(found) if each.name not in free]
