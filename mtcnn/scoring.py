"""Scores and logits, and what a stage's score takes from the stage before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError

__all__ = ["Scoring", "logit", "logits_of", "scoring_of", "sigmoid"]

Array = NDArray[Any]

_EDGE = 2.0**-24  # 1 - _EDGE is the float32 before 1


def logit(probability: float) -> float:
    """The logit at which a sigmoid reaches `probability`, so that logits can be compared with a threshold of scores.

    Infinite at 0 and 1.
    """
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def sigmoid(values: Array) -> Array:
    """Scores, float64, of logits of any shape."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(values, np.float64))))


def logits_of(scores: Array) -> Array:
    """Logits, float64, of scores of any shape. Those of 0 and 1 are -16.6 and 16.6: such scores were rounded."""
    inside = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class Scoring:
    """How the score of RNet or ONet comes about: sigmoid((own + weight * logit of the score given) / temperature).

    before       weight of the stage before, in a cascade that PNet begins.
    detector     the same in one that a single-stage detector begins, whose scores are of another kind.
    temperature  above 1, scores near 0 and 1 are drawn from there, where float32 hardly tells them apart.

    The default is the net's own score, to the last bit. Raises SettingsError for numbers that make no score.
    """

    before: float = 0.0
    detector: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("before", "detector"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} is {getattr(self, name)}; expected a finite number of 0 or more")
        if not 0 < self.temperature < math.inf:
            raise SettingsError(f"temperature is {self.temperature}; expected a finite number above 0")

    def fused(self, own: Array, given: Array, behind_detector: bool = False) -> Array:
        """Logits (N,) of the score, from the net's own (N,) and the scores (N,) of the stage before."""
        weight = self.detector if behind_detector else self.before
        joined = own + weight * logits_of(given) if weight else own
        return joined / self.temperature if self.temperature != 1 else joined


def scoring_of(net: object) -> Scoring:
    """The `scoring` of a net, or the default for nets that have none."""
    found = getattr(net, "scoring", None)
    return found if isinstance(found, Scoring) else Scoring()
