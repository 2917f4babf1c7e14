"""Non-maximum suppression: one sort, then a compiled greedy pass (`engine/compiled_boxes.py`).

Equal to the plain double loop in tests/reference.py, including ties and exact thresholds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .engine.kernel_cache import kernel

__all__ = ["nms"]

Array = NDArray[Any]


def nms(
    boxes: Array,
    scores: Array,
    threshold: float,
    overlap: Literal["iou", "ios"] = "iou",
    limit: int | None = None,
    groups: Array | None = None,
) -> NDArray[np.int64]:
    """Indices of the remaining boxes by descending score; of equal scores the earlier comes first.

    boxes (N, 4) xyxy pixels, scores (N,). A box is suppressed if its overlap with a remaining box of a higher score is
    above `threshold`. `overlap` is intersection over union ("iou") or over the smaller area ("ios", the paper's "Min").
    At most `limit` boxes remain. With `groups` (N,), integers from 0 on, each group is treated by itself, and those of
    group 0 come first.
    """
    keys = -np.asarray(scores, np.float64)
    order = np.argsort(keys, kind="stable") if groups is None else np.lexsort((keys, groups))
    order = order.astype(np.int64, copy=False)
    places = np.ascontiguousarray(boxes, np.float64)
    if places.shape != (len(order), 4):
        raise ValueError(f"boxes are {places.shape}; expected ({len(order)}, 4), as there are scores")
    if groups is None:
        return _kept(places, order, threshold, overlap, limit)
    ends = np.cumsum(np.bincount(groups)).tolist()
    parts = [order[first:end] for first, end in pairwise([0, *ends])]
    return np.concatenate([_kept(places, part, threshold, overlap, limit) for part in parts] or [order])


def _kept(boxes: Array, order: Array, threshold: float, overlap: str, limit: int | None) -> NDArray[np.int64]:
    """Those of the indices `order` (K,) that remain, of boxes (N, 4) float64."""
    if len(order) < 2 and limit != 0:
        return order
    ceiling = len(order) if limit is None else min(len(order), limit)
    chosen, kept = np.empty((ceiling, 5), np.float64), np.empty(ceiling, np.int64)
    count = kernel("suppress")(
        boxes.ctypes.data, len(boxes), order.ctypes.data, len(order), threshold, overlap == "ios", ceiling,
        chosen.ctypes.data, kept.ctypes.data,
    )  # fmt: skip
    return kept[:count]
