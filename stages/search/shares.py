"""Where the computation of good nets lies: an empirical bootstrap over the candidates of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BestShares", "best_shares"]

Array = NDArray[Any]

RESAMPLES = 10_000
SAMPLED = 0.25  # of the candidates, in each resample
INTERVAL = 0.95


@dataclass(frozen=True, eq=False)
class BestShares:
    """Shares of the computation of the best of `sampled` candidates, over RESAMPLES resamples.

    low, median, high  (P,) by part of the net: the limits of the 95 % interval, and the likeliest best value.
    """

    sampled: int
    low: Array
    median: Array
    high: Array


def best_shares(aps: Sequence[float], shares: Array) -> BestShares:
    """The distribution of the shares of the best candidate.

    aps  (N,) of the candidates.    shares  (N, P), the share of each part in the computation of a candidate.

    A quarter of the candidates is drawn with replacement and the best of them taken, many times; of equal ones the
    first drawn. Source: Guo et al. 2021 (SCRFD), section 4.2, after Radosavovic et al. 2020 (RegNet), section 3.2.
    """
    values, table = np.asarray(aps, np.float64), np.asarray(shares, np.float64)
    sampled = max(round(SAMPLED * len(values)), 1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, sampled))  # (R, n)
    best = drawn[np.arange(RESAMPLES), values[drawn].argmax(axis=1)]  # (R,)
    edge = (1 - INTERVAL) / 2
    low, median, high = np.quantile(table[best], [edge, 0.5, 1 - edge], axis=0)  # (P,) each
    return BestShares(sampled, low, median, high)
