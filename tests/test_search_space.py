"""Candidates of a search: within the budget and the bounds of each step, repeatable, and nets that can be built."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.detectors.scrfd import DIVIDED
from mtcnn.errors import SettingsError
from mtcnn.flops import cost
from stages.search.counting import STAGES, multiply_adds
from stages.search.space import CostBudget, candidates

SIZES = [name for name in DETECTORS if name.startswith("scrfd")]
TEMPLATES: list[tuple[str, dict[str, Any], float]] = [
    ("scrfd-2.5g", {"blocks": (3, 4, 6, 3), "widths": (16, 32, 64, 128), "neck": 48, "head": 96}, 2.5e9),
    ("scrfd-0.5g", {}, 0.5e9),
    ("scrfd-0.5g", {"block": "yunet", "stem": (16, 16), "blocks": (4, 2, 2, 2), "widths": (64, 64, 64, 64)}, 0.5e9),
    ("scrfd-0.5g", {"neck": 8, "head": 16, "norm_groups": 8, "landmarks": True}, 0.1e9),
]


def counted(name: str, model: dict[str, Any], height: int, width: int) -> dict[str, int]:
    with torch.device("meta"):
        net = build(name, model)
    return {part.name: part.multiply_adds for part in cost(net, height, width).parts}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("landmarks", [False, True])
def test_counted_without_a_net(name: str, landmarks: bool) -> None:
    """As the counter with hooks counts the net itself, part by part."""
    model = {"landmarks": landmarks, "shared": not landmarks}
    assert multiply_adds(model_of(name, model), 480, 640) == counted(name, model, 480, 640)


_wide = st.tuples(*[st.integers(1, 20)] * 4)


@settings(max_examples=30)
@given(st.sampled_from(["mobilenet", "yunet", "basic", "bottleneck"]), st.tuples(*[st.integers(1, 3)] * 4), _wide,
       st.integers(1, 9), st.integers(1, 9), st.integers(0, 2), st.sampled_from(["separable", "plain", "yunet"]),
       st.booleans())  # fmt: skip
def test_counted_for_any_description(
    block: str, blocks: Any, widths: Any, stem: int, neck: int, depth: int, head_block: str, tiny: bool
) -> None:
    model = {
        "block": block, "stem": (stem, 2 * stem) if block in DIVIDED else (2 * stem,), "blocks": blocks,
        "widths": widths, "neck": neck, "head": neck + 1, "head_depth": depth, "norm": "bn",
        "head_block": head_block,
    }  # fmt: skip
    if tiny:
        width = 4 * neck if block == "bottleneck" else neck
        model |= {"neck_block": "yunet", "neck": width, "widths": (widths[0], neck, neck, neck)}
    assert multiply_adds(model_of("scrfd-0.5g", model), 64, 96) == counted("scrfd-0.5g", model, 64, 96)


@pytest.mark.parametrize(("net", "template", "total"), TEMPLATES)
def test_sixty_four_of_each_step(net: str, template: dict[str, Any], total: float) -> None:
    """Within 2 % of the budget; the first step keeps neck and head, the second the shares of the trunk's stages."""
    budget = CostBudget(total)
    first = list(islice(candidates(net, template, "trunk", budget, 0), 64))
    second = list(islice(candidates(net, first[0], "whole", budget, 0), 64))
    known = model_of(net, template)
    for model in first + second:
        assert abs(sum(multiply_adds(model, 480, 640).values()) / total - 1) <= 0.02
        assert all(1 <= count <= 30 for count in model["blocks"])
        assert all(width % 8 == 0 and width >= 8 for width in (*model["widths"], *model["stem"]))
    for model in first:
        kept = ("neck", "head", "head_depth", "head_block", "norm", "norm_groups", "shared", "landmarks")
        assert all(model[key] == known[key] for key in kept)
        assert all(1 <= count <= 10 for count in model["blocks"])
        assert all(a <= b <= 4 * a for a, b in zip(model["widths"][:-1], model["widths"][1:], strict=True))
    shares = multiply_adds(first[0], 480, 640)
    for model in second:
        assert 8 <= model["neck"] <= 128 and 8 <= model["head"] <= 256 and 1 <= model["head_depth"] <= 4
        found = multiply_adds(model, 480, 640)
        for stage in STAGES[1:]:
            assert found[stage] / found["stem"] == pytest.approx(shares[stage] / shares["stem"], rel=0.1 + 1e-9)
    for several in (first, second):
        assert len({repr(model) for model in several}) == 64


@pytest.mark.parametrize("step", ["trunk", "whole"])
def test_candidates_are_nets_and_the_same_for_a_seed(step: str) -> None:
    net, template, total = TEMPLATES[1]
    drawn = [list(islice(candidates(net, template, step, CostBudget(total), seed), 4)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for model in drawn[0]:
        with torch.device("meta"):
            build(net, model)


def test_refusals() -> None:
    with pytest.raises(SettingsError, match="step is 'neck'; expected trunk or whole"):
        next(candidates("scrfd-0.5g", {}, "neck", CostBudget(), 0))
    with pytest.raises(SettingsError, match="multiply_adds is 0; expected a number above 0"):
        CostBudget(0)


def test_a_budget_that_nothing_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.search.space.TRIES", 100)
    with pytest.raises(SettingsError, match="neck_block is 'yunet'; a search varies each stage; expected plain"):
        next(candidates("scrfd-0.5g", {"neck_block": "yunet"}, "trunk", CostBudget(), 0))
    with pytest.raises(SettingsError, match=r"budget is 1000 G; none of 100 nets of scrfd-0.5g costs that, within 2%"):
        next(candidates("scrfd-0.5g", {}, "trunk", CostBudget(1e12), 0))
    with pytest.raises(SettingsError, match=r"budget is 5; .*; expected a budget nearer to the template's, 0.478 G$"):
        next(candidates("scrfd-0.5g", {}, "trunk", CostBudget(5), 0))
