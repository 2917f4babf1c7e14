"""The second pass of ONet: each face that is left is seen twice more, around its own box.

A first crop is cut around a box of RNet, which is off by a fifth of its side and more; a crop around ONet's own box is
like those that its best results come from. And a net errs in a mirror image differently, so that the mean of both errs
less (test-time augmentation, as in Krizhevsky et al. 2012, section 4.1). It costs two crops a face that is found, while
the first pass costs one a candidate.

The pass may have a net of its own, `nets.CNet`, which has learned from the faces and the errors that ONet leaves, and
sees more of the image around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import boxes as box

__all__ = ["CLOSER", "MIRRORED", "OF_CNET", "OF_ONET", "Second", "second_pass"]

Array = NDArray[Any]

MIRRORED = 1.07  # side of the mirrored crop over that of a crop of the first pass, around the same box
CLOSER = 0.92  # that of the other one: landmarks are best in closer crops, boxes in wider ones

OF_ONET = ((MIRRORED, True), (CLOSER, False))  # the side of each crop, and whether it is mirrored
OF_CNET = ((1.0, True), (1.0, False))


class Second(NamedTuple):
    """Means of both crops: own logits (N,), boxes (N, 4) and landmarks (N, 5, 2) or None, image pixels."""

    logits: Array
    boxes: Array
    landmarks: Array | None


def second_pass(
    run: Callable[[Array, Array], tuple[Array, Array, Array | None]],
    boxes: Array,
    context: float,
    views: Sequence[tuple[float, bool]] = OF_ONET,
) -> Second:
    """What a net says of faces of which ONet said boxes (N, 4) before.

    run      (squares (M, 4), whether each is to be mirrored, bool (M,)) -> own logits (M,), offsets (M, 4) and landmark
             targets (M, 5, 2) or None, of the crops as the net sees them.
    context  of a crop, see `scoring.Scoring`.
    views    of each face: the side of the crop over that, and whether it is mirrored.
    """
    squares = np.concatenate([box.square(boxes, context * share) for share, _ in views])
    mirrored = np.repeat([turned for _, turned in views], len(boxes))
    logits, offsets, targets = run(squares, mirrored)
    offsets = np.where(mirrored[:, None], box.mirror_offsets(offsets), offsets)
    moved = box.decode_offsets(squares, offsets)

    def mean(values: Array) -> Array:
        return np.asarray(values.reshape(len(views), len(boxes), *values.shape[1:]).mean(axis=0))

    points = None
    if targets is not None:
        targets = np.where(mirrored[:, None, None], box.mirror_landmarks(targets), targets)
        points = mean(box.decode_landmarks(squares, targets))
    return Second(mean(np.asarray(logits, np.float64)), mean(moved), points)
