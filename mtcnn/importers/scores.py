"""Scores as older projects round them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["face_scores", "least_logit"]

Array = NDArray[Any]


def face_scores(logits: Array) -> NDArray[np.float32]:
    """The face's share of a softmax over no face and face, rounded as in float32: what makes scores near 1 equal."""
    other = np.exp(-np.abs(np.asarray(logits, np.float32)))  # the larger of the two is taken off both
    return np.asarray(np.where(logits > 0, np.float32(1), other) / (1 + other), np.float32)


def least_logit(threshold: float) -> float:
    """A logit below which no score reaches `threshold`, whichever way it was rounded."""
    if threshold <= 0:
        return -math.inf
    return math.log(threshold / (1 - threshold)) - 0.01 if threshold < 1 else 10.0
