"""Candidates of a search: descriptions of SCRFD drawn at random, all within 2 % of a budget.

Source: Guo et al. 2021 (SCRFD), section 4.2, computation redistribution in two steps; the ranges are those of
InsightFace's `generate_configs`. First the trunk varies, with the neck and the head of a template; then, from the best
trunk, all of it, with the trunk's computation distributed over its stages as in the template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtcnn.detectors.load import model_of
from mtcnn.errors import SettingsError
from mtcnn.settings import Settings, setting

from .counting import STAGES, multiply_adds

__all__ = ["CostBudget", "candidates"]

Model = dict[str, Any]

WITHIN = 0.02  # share of the budget by which a candidate may differ from it
RATIO_WITHIN = 0.1  # the same for a stage's computation over the stem's, from that of the template
TRIES = 200_000  # draws for one candidate
STAGE_TRIES, HEAD_TRIES = 200, 20  # draws for one stage, and of neck and head for one trunk

CHANNELS, BLOCKS, GROWTH = (
    (8, 64),
    (1, 10),
    (1.0, 4.0),
)  # of the first stage; of a stage; of a stage's width over the last
FACTOR = (0.5, 3.0)  # of blocks and widths, in the second step
NECK, HEAD, DEPTH = (8, 128), (8, 256), (1, 4)
GROUPS = (8, 16, 32, 64)


@dataclass(frozen=True)
class CostBudget(Settings):
    """What candidates may cost.

    multiply_adds  of convolutions, for one image of `height` x `width` pixels; multiples of 32.
    """

    multiply_adds: float = setting(0.5e9, above=0)
    height: int = setting(480, min=32)
    width: int = setting(640, min=32)

    def holds(self, model: Mapping[str, Any]) -> bool:
        """Whether a net costs as much, within 2 %."""
        return abs(self.cost(model) - self.multiply_adds) <= WITHIN * self.multiply_adds

    def cost(self, model: Mapping[str, Any]) -> float:
        """Multiply-adds of a net for one image."""
        return sum(multiply_adds(model, self.height, self.width).values())


def candidates(net: str, template: Mapping[str, Any], step: str, budget: CostBudget, seed: int) -> Iterator[Model]:
    """Endless candidates, all different: settings of [model] of the detector `net`. The same for the same seed.

    template  the settings that a candidate keeps or varies; those left out are the entry's.
    step      "trunk" or "whole".

    Raises SettingsError for another step, for a neck that ties the channels of the stages together, and where no
    candidate is found for the budget.
    """
    if step not in ("trunk", "whole"):
        raise SettingsError(f"step is {step!r}; expected trunk or whole")
    if template.get("neck_block", "plain") != "plain":
        raise SettingsError(f"neck_block is {template['neck_block']!r}; a search varies each stage; expected plain")
    known, rng, seen = model_of(net, template), np.random.default_rng([seed, step == "whole"]), set()
    while True:
        for _ in range(TRIES):
            model = _trunk(known, rng) if step == "trunk" else _whole(known, budget, rng)
            if model is not None and budget.holds(model) and repr(model) not in seen:
                break
        else:
            raise SettingsError(
                f"budget is {_shown(budget.multiply_adds)}; none of {TRIES} nets of {net} costs that, within "
                f"{WITHIN:.0%}; expected a budget nearer to the template's, {_shown(budget.cost(known))}"
            )
        seen.add(repr(model))
        yield model


def _shown(multiply_adds: float) -> str:
    return f"{round(multiply_adds / 1e9, 3):g} G" if multiply_adds >= 1e6 else f"{multiply_adds:g}"


def _trunk(template: Model, rng: np.random.Generator) -> Model:
    """Another trunk of the same family, with the template's neck and head."""
    mobile = template["block"] in ("mobilenet", "yunet")
    first = _floor8(rng.integers(CHANNELS[0], CHANNELS[1] + 1))
    widths = [first]
    for _ in range(3):
        widths.append(_floor8(widths[-1] * rng.uniform(*GROWTH)))
    block = template["block"] if mobile else str(rng.choice(["basic", "bottleneck"]))
    stem = (_floor8(rng.integers(CHANNELS[0], first + 1)), first) if mobile else (first,)
    if mobile:
        widths = [_floor8(first * rng.uniform(*GROWTH))]
        for _ in range(3):
            widths.append(_floor8(widths[-1] * rng.uniform(*GROWTH)))
    blocks = tuple(int(count) for count in rng.integers(BLOCKS[0], BLOCKS[1] + 1, 4))
    return {**template, "block": block, "stem": stem, "blocks": blocks, "widths": tuple(widths)}


def _whole(template: Model, budget: CostBudget, rng: np.random.Generator) -> Model | None:
    """Another size of everything; None where the trunk costs too much, a stage finds no size whose share of it is the
    template's, or no neck and head meet the budget."""
    size = budget.height, budget.width
    wanted = multiply_adds(template, *size)
    stem = tuple(_floor8(channels * rng.uniform(*FACTOR)) for channels in template["stem"])
    model = {**template, "stem": stem, "blocks": list(template["blocks"]), "widths": list(template["widths"])}
    grown = multiply_adds(model, *size)["stem"] / wanted["stem"]
    if grown * sum(wanted[stage] for stage in STAGES) * (1 - RATIO_WITHIN) > budget.multiply_adds * (1 + WITHIN):
        return None
    for i, name in enumerate(STAGES[1:]):
        for _ in range(STAGE_TRIES):
            model["blocks"][i] = max(round(template["blocks"][i] * rng.uniform(*FACTOR)), 1)
            model["widths"][i] = _floor8(template["widths"][i] * rng.uniform(*FACTOR))
            if _share_is(multiply_adds(model, *size), wanted, name):
                break
        else:
            return None
    model |= {"blocks": tuple(model["blocks"]), "widths": tuple(model["widths"])}
    drawn = ({**model, **_neck_and_head(template, rng)} for _ in range(HEAD_TRIES))
    return next((found for found in drawn if budget.holds(found)), None)


def _neck_and_head(template: Model, rng: np.random.Generator) -> Model:
    neck, head = (_floor8(rng.integers(low, high + 1)) for low, high in (NECK, HEAD))
    norm_groups = _groups(head, neck if template["head_block"] == "separable" else head)
    return {"neck": neck, "head": head, "head_depth": int(rng.integers(DEPTH[0], DEPTH[1] + 1)),
            "norm_groups": norm_groups}  # fmt: skip


def _share_is(found: Mapping[str, int], wanted: Mapping[str, int], stage: str) -> bool:
    """Whether the stage's computation over the stem's is the template's, within 10 %."""
    ratio = wanted[stage] / wanted["stem"]
    return abs(found[stage] / found["stem"] - ratio) <= RATIO_WITHIN * ratio


def _groups(*channels: int) -> int:
    """The largest of GROUPS that divides all of these numbers, multiples of 8."""
    return max(group for group in GROUPS if not any(count % group for count in channels))


def _floor8(channels: Any) -> int:
    return max(int(channels) // 8 * 8, 8)
