"""Box voting: merges the detections of several runs on one image.

Source: `bbox_vote` of the S3FD and RetinaFace test code: the best remaining box is merged with all that overlap it
by at least 0.3; the merged box is their mean, weighted by score, and has the best score. That code drops single boxes,
and with them every face found at only one scale; here they stay unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.engine.kernel_cache import kernel
from mtcnn.types import Faces

__all__ = ["groups_of", "vote", "weighted_means"]

Array = NDArray[Any]

OVERLAP, LIMIT = 0.3, 750  # as in the code cited above
# Added to the weights, so that boxes of score 0 have a mean too; below the precision of float32 coordinates.
_LEAST_WEIGHT = 1e-12


def vote(faces: Faces, overlap: float = OVERLAP, limit: int = LIMIT) -> Faces:
    """The merged faces, at most `limit`, by descending score.

    A box joins the best unmerged box that overlaps it by at least `overlap` (intersection over union); of equal scores
    the earlier comes first. Landmarks are averaged like boxes, over known points.
    """
    boxes, scores = faces.boxes.astype(np.float64), faces.scores.astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    groups, leaders = groups_of(boxes, order, overlap, limit)
    chosen = groups >= 0
    weights, groups = scores[chosen], groups[chosen]
    merged = weighted_means(boxes[chosen], weights, groups, len(leaders))
    landmarks = None
    if faces.landmarks is not None:
        flat = faces.landmarks[chosen].astype(np.float64).reshape(-1, 10)  # (N, 5, 2) -> (N, 10)
        landmarks = weighted_means(flat, weights, groups, len(leaders)).reshape(-1, 5, 2)  # (K, 10) -> (K, 5, 2)
    return Faces(merged, faces.scores[leaders], landmarks)


def groups_of(boxes: Array, order: Array, overlap: float, limit: int) -> tuple[Array, Array]:
    """The group of each box, int64 (N,), -1 beyond `limit` groups; and the best box of each group, int64 (K,).

    order  int64 (N,), the boxes (N, 4) from the best to the worst: each joins the best group whose first box it
           overlaps by at least `overlap`, or begins one.
    """
    groups, leaders = np.full(len(order), -1, np.int64), np.empty(min(len(order), limit), np.int64)
    boxes, order = np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(order, np.int64)
    count = kernel("vote_groups")(
        boxes.ctypes.data, order.ctypes.data, len(order), overlap, len(leaders), groups.ctypes.data, leaders.ctypes.data
    )
    return groups, leaders[:count]


def weighted_means(values: Array, weights: Array, groups: Array, count: int) -> NDArray[np.float32]:
    """Weighted means (K, D) of values (N, D) by group; NaN values do not count, and give NaN where alone.

    weights  (N,), 0 or more.    groups  int64 (N,), 0 to count - 1.
    """
    weights = weights + _LEAST_WEIGHT
    out = np.empty((count, values.shape[1]), np.float32)
    for column, value in enumerate(values.T):
        known = ~np.isnan(value)
        sums = np.bincount(groups[known], weights[known] * value[known], count)
        with np.errstate(invalid="ignore"):
            out[:, column] = sums / np.bincount(groups[known], weights[known], count)
    return out
