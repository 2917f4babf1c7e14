"""The second pass of ONet: each face that is left is seen twice more, around its own box.

A first crop is cut around a box of RNet, which is off by a fifth of its side and more; a crop around ONet's own box is
like those that its best results come from. And a net errs in a mirror image differently, so that the mean of both errs
less (test-time augmentation, as in Krizhevsky et al. 2012, section 4.1). It costs two crops a face that is found, while
the first pass costs one a candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import boxes as box

__all__ = ["CLOSER", "MIRRORED", "Second", "second_pass"]

Array = NDArray[Any]

MIRRORED = 1.07  # side of the mirrored crop over that of a crop of the first pass, around the same box
CLOSER = 0.92  # that of the other one: landmarks are best in closer crops, boxes in wider ones


class Second(NamedTuple):
    """Means of both crops: own logits (N,), boxes (N, 4) and landmarks (N, 5, 2) or None, image pixels."""

    logits: Array
    boxes: Array
    landmarks: Array | None


def second_pass(
    run: Callable[[Array, Array], tuple[Array, Array, Array | None]], boxes: Array, context: float
) -> Second:
    """What ONet says of faces of which it said boxes (N, 4) before.

    run      (squares (M, 4), whether each is to be mirrored, bool (M,)) -> own logits (M,), offsets (M, 4) and landmark
             targets (M, 5, 2) or None, of the crops as the net sees them.
    context  of a crop of the first pass, see `scoring.Scoring`.
    """
    count = len(boxes)
    squares = np.concatenate([box.square(boxes, context * share) for share in (MIRRORED, CLOSER)])
    logits, offsets, targets = run(squares, np.arange(2 * count) < count)
    offsets = np.concatenate([box.mirror_offsets(offsets[:count]), offsets[count:]])
    moved = box.decode_offsets(squares, offsets)
    points = None
    if targets is not None:
        targets = np.concatenate([box.mirror_landmarks(targets[:count]), targets[count:]])
        points = _mean(box.decode_landmarks(squares, targets))
    return Second(_mean(np.asarray(logits, np.float64)), _mean(moved), points)


def _mean(both: Array) -> Array:
    """The mean (N, ...) of the first half of (2 N, ...) and the second."""
    return np.asarray((both[: len(both) // 2] + both[len(both) // 2 :]) / 2)
