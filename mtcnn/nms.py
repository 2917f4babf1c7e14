"""Non-maximum suppression: one sort, then a compiled greedy pass.

Kept equal to the plain double loop in tests/reference.py, ties and exact thresholds included.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["nms"]

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def _greedy(boxes: Array, order: Array, threshold: float, by_smaller: bool, limit: int) -> Array:
    kept = np.empty(min(len(order), limit), np.int64)
    # Coordinates of the kept boxes side by side, so that the inner loop reads memory in one direction.
    chosen = np.empty((len(kept), 5), np.float64)
    count = 0
    for index in order:
        if count == len(kept):
            break
        x1, y1, x2, y2 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        area = (x2 - x1) * (y2 - y1)
        alone = True
        for k in range(count):
            width = min(x2, chosen[k, 2]) - max(x1, chosen[k, 0])
            height = min(y2, chosen[k, 3]) - max(y1, chosen[k, 1])
            if width <= 0.0 or height <= 0.0:
                continue
            inter = width * height
            whole = min(area, chosen[k, 4]) if by_smaller else area + chosen[k, 4] - inter
            # Not divided: a box of no area overlaps nothing.
            if inter > threshold * whole:
                alone = False
                break
        if alone:
            chosen[count] = (x1, y1, x2, y2, area)
            kept[count] = index
            count += 1
    return kept[:count]


def nms(
    boxes: Array,
    scores: Array,
    threshold: float,
    overlap: Literal["iou", "ios"] = "iou",
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Indices of the boxes that stay, by falling score; of equal scores the earlier comes first.

    boxes (N, 4) xyxy pixels, scores (N,). A box goes when its overlap with a better one that stayed is above
    `threshold`. `overlap` is intersection over union ("iou"), or over the smaller area ("ios", the papers' "Min").
    At most `limit` stay.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ceiling = len(order) if limit is None else limit
    return np.asarray(_greedy(np.ascontiguousarray(boxes, np.float64), order, threshold, overlap == "ios", ceiling))
