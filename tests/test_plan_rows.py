"""Which scores of a plan pass a threshold: equal to a slow loop, for numbers of every kind; nothing else is read."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_plan_steps import Guarded, odd_values

from mtcnn.detectors.decoders import passing
from mtcnn.engine.plan_rows import PlanScores

Array = NDArray[Any]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect")

SHAPES = ((5, 7), (3, 4), (1, 1))


def scores_at(guard: Guarded, rng: np.random.Generator, channels: int, each: int) -> list[Array]:
    """Maps whose first channels are scores, each map at the end of a page; some scores are 0."""
    maps = []
    for rows, columns in SHAPES:
        values = odd_values(rng, rows, columns, channels)
        values[rng.random(values.shape) < 0.3] = 0
        line = guard(np.append(values.ravel()[: values.size - channels], values[-1, -1, :each]))
        map_of = np.lib.stride_tricks.as_strided(line, (rows, columns, each), (4 * columns * channels, 4 * channels, 4))
        maps.append(map_of)
    return maps


@pytest.mark.parametrize(("channels", "each"), [(1, 1), (3, 3), (16, 1), (7, 2)])
@pytest.mark.parametrize("lowest", [0.0, 0.1, -np.inf, np.inf])
def test_scores_that_pass(channels: int, each: int, lowest: float) -> None:
    rng, guard = np.random.default_rng(channels), Guarded()
    one, other = (PlanScores(scores_at(guard, rng, wide, each), True) for wide in (channels, channels + 2))
    for second in (one, other):
        rows, values, others = one.passing(lowest, second)
        wanted = []
        number = 0
        for first, beside in zip(one.maps, second.maps, strict=True):
            for a, b in zip(first.ravel().tolist(), beside.ravel().tolist(), strict=True):
                if a >= np.float32(lowest) and b >= np.float32(lowest):
                    wanted.append((number, a, b))
                number += 1
        assert [*zip(rows.tolist(), values.tolist(), others.tolist(), strict=True)] == wanted
        with np.errstate(invalid="ignore"):
            found = passing(np.asarray(one), np.asarray(second), lowest)
        for given, expected in zip(found, (rows, values, others), strict=True):
            np.testing.assert_array_equal(given, expected)
    assert len(one) == number and one.shape == (number,)
