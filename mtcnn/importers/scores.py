"""Scores with the rounding of older projects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["face_scores", "least_logit"]

Array = NDArray[Any]


def face_scores(logits: Array) -> NDArray[np.float32]:
    """The face score of a two-class softmax in float32, whose rounding makes scores near 1 equal."""
    other = np.exp(-np.abs(np.asarray(logits, np.float32)))  # subtract the maximum
    return np.asarray(np.where(logits > 0, np.float32(1), other) / (1 + other), np.float32)


def least_logit(threshold: float) -> float:
    """A logit below which no score reaches `threshold`, with any rounding."""
    if threshold <= 0:
        return -math.inf
    return math.log(threshold / (1 - threshold)) - 0.01 if threshold < 1 else 10.0
