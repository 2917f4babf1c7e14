"""Scores and logits, and how a stage's score includes the previous stage's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import encode_offsets
from .errors import SettingsError
from .settings import is_finite, setting

__all__ = ["MOST_CONTEXT", "Scoring", "logit", "logits_of", "scoring_of", "sigmoid"]

Array = NDArray[Any]

MOST_CONTEXT = 2.0
_EDGE = 2.0**-24  # 1 - _EDGE is the float32 before 1


def logit(probability: float) -> float:
    """The logit of `probability`, so that logits can be compared with a score threshold. Infinite at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def sigmoid(values: Array) -> Array:
    """Scores, float64, of logits of any shape."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(values, np.float64))))


def logits_of(scores: Array) -> Array:
    """Logits, float64, of scores of any shape. Scores of 0 and 1, which are rounded, give -16.6 and 16.6."""
    inside = np.clip(np.asarray(scores, np.float64), _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class Scoring:
    """The score of RNet or ONet, sigmoid((own logit + weight * logit of the input score) / temperature), how much of
    its box regression counts, and how much of the image around a face it sees.

    before       weight of the previous stage's logit, if the first stage is PNet.
    detector     the same if the first stage is a single-stage detector, whose scores are distributed differently.
    temperature  above 1, pulls scores away from 0 and 1, where float32 can hardly resolve them.
    detector_temperature  the same behind a single-stage detector; None: `temperature`.
    detector_offsets      share of the way from a single-stage detector's box to the one that the net predicts. Such a
                 box is better than PNet's, and often better than RNet's.
    context      side of a crop over the side of the square around the input box, as `[crops] context` of its recipe
                 says, from where training takes it.
    second       of ONet: share of a second pass (`second_pass`) in the logit; its box and landmarks replace those of
                 the first. Behind a single-stage detector only the landmarks, since boxes and scores are mostly the
                 detector's. 0: no second pass.
    margin       of the net of the second pass: faces whose logit is lower than that of the threshold by less than this
                 are seen again too.

    The default is the net's own score and box, to the last bit. Raises SettingsError for values out of range.
    """

    before: float = 0.0
    detector: float = 0.0
    temperature: float = 1.0
    detector_temperature: float | None = setting(None, hashed=False)
    detector_offsets: float = setting(1.0, hashed=False)
    context: float = setting(1.0, added=True)
    second: float = setting(0.0, hashed=False)
    margin: float = setting(0.0, hashed=False)

    def __post_init__(self) -> None:
        for name in ("before", "detector", "margin"):
            if not (getattr(self, name) >= 0 and is_finite(getattr(self, name))):
                raise SettingsError(f"{name} is {getattr(self, name)}; expected a finite number of 0 or more")
        for name in ("temperature", "detector_temperature"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and is_finite(value)):
                raise SettingsError(f"{name} is {value}; expected a finite number above 0")
        if not 0 <= self.detector_offsets <= 1:
            raise SettingsError(f"detector_offsets is {self.detector_offsets}; expected a number from 0 to 1")
        if not 0 <= self.second <= 1:
            raise SettingsError(f"second is {self.second}; expected a number from 0 to 1")
        if not 1 <= self.context <= MOST_CONTEXT:
            raise SettingsError(f"context is {self.context}; expected a number from 1 to {MOST_CONTEXT:g}")

    def fused(self, own: Array, given: Array, behind_detector: bool = False) -> Array:
        """Logits (N,) of the score, from the net's own logits (N,) and the scores (N,) of the previous stage."""
        weight, temperature = self.before, self.temperature
        if behind_detector:
            weight = self.detector
            temperature = temperature if self.detector_temperature is None else self.detector_temperature
        joined = own + weight * logits_of(given) if weight else own
        return joined / temperature if temperature != 1 else joined

    def passed(self, first: Array, own: Array) -> Array:
        """Logits (N,) of the scores after both passes, from those of the first and the net's own ones in the second."""
        return (1 - self.second) * first + self.second / self.temperature * own

    def shared(self, offsets: Array, squares: Array, boxes: Array) -> Array:
        """Offsets (N, 4) that lead from squares (N, 4) to boxes between those given (N, 4), of a single-stage detector,
        and those that the net's own `offsets` lead to."""
        share = self.detector_offsets
        return offsets if share == 1 else share * offsets + (1 - share) * encode_offsets(squares, boxes)


def scoring_of(net: object) -> Scoring:
    """The `scoring` of a net, or the default for nets that have none."""
    found = getattr(net, "scoring", None)
    return found if isinstance(found, Scoring) else Scoring()
