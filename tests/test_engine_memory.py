"""Compiled nets read nothing beyond a level or a crop, and nothing of their scratch memory that they did not write."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_engine import LEVELS, assert_near, noise, random_net, whole_map

from mtcnn.engine.pnet import FastPNet
from mtcnn.engine.refine import FastRefiner
from mtcnn.nets import weights_of
from mtcnn.runtimes.torch import TorchRefiner
from mtcnn.weights import SECOND, SIDES

Array = NDArray[Any]


@pytest.mark.skipif(os.name != "posix", reason="protects pages of memory")
@pytest.mark.parametrize("shape", [*LEVELS, (40, 64), (23, 65), (50, 97), (18, 400)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_levels_and_scratch_at_the_end_of_a_page(
    shape: tuple[int, int], kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_plan_steps import Guarded

    guard, net = Guarded(), random_net("pnet")
    level, run = guard(noise(*shape, 3).astype(kind)), FastPNet(weights_of(net))
    logits, _ = whole_map(net, level)
    alone = run.cells(level, -np.inf, 0, len(logits))
    monkeypatch.setattr("mtcnn.engine.pnet.buffer", lambda floats: guard(np.full(floats, np.nan, np.float32)))
    found = run.cells(level, -np.inf, 0, len(logits))
    assert_near(found.logits, logits.ravel())
    for values, expected in zip(found, alone, strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.skipif(os.name != "posix", reason="protects pages of memory")
@pytest.mark.parametrize("name", ["rnet", "onet", SECOND])
def test_crops_and_scratch_at_the_end_of_a_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_plan_steps import Guarded

    guard, net, size = Guarded(), random_net(name), SIDES[name]
    run, crops = FastRefiner(weights_of(net)), guard(noise(3, size, size, 3).astype(np.float32))
    alone = run(crops)
    monkeypatch.setattr("mtcnn.engine.refine.buffer", lambda floats: guard(np.full(floats, np.nan, np.float32)))
    for values, same, expected in zip(run(crops), alone, TorchRefiner(net, "cpu")(crops), strict=True):
        assert (values is None) == (expected is None)
        if values is not None and expected is not None:
            np.testing.assert_array_equal(values, same)
            assert_near(values, expected)


def test_bands_are_the_whole_map_to_the_last_bit() -> None:
    """Rows of a map are divided at multiples of 16, see `proposer`."""
    run, level = FastPNet(weights_of(random_net("pnet"))), noise(150, 83, 3)
    rows = (150 - 1) // 2 - 4
    whole = run.cells(level, -np.inf, 0, rows)
    parts = [run.cells(level, -np.inf, first, min(first + 16, rows)) for first in range(0, rows, 16)]
    for values, *some in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(values, np.concatenate(some))
