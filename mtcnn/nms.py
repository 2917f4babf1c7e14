"""Non-maximum suppression: one sort, then a compiled greedy pass (`engine/compiled_boxes.py`).

Equal to the plain double loop in tests/reference.py, including ties and exact thresholds.
"""

from __future__ import annotations

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
) -> NDArray[np.int64]:
    """Indices of the remaining boxes by descending score; of equal scores the earlier comes first.

    boxes (N, 4) xyxy pixels, scores (N,). A box is suppressed if its overlap with a remaining box of a higher score is
    above `threshold`. `overlap` is intersection over union ("iou") or over the smaller area ("ios", the paper's "Min").
    At most `limit` boxes remain.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").astype(np.int64, copy=False)
    ceiling = len(order) if limit is None else min(len(order), limit)
    places = np.ascontiguousarray(boxes, np.float64)
    if places.shape != (len(order), 4):
        raise ValueError(f"boxes are {places.shape}; expected ({len(order)}, 4), as there are scores")
    chosen, kept = np.empty((ceiling, 5), np.float64), np.empty(ceiling, np.int64)
    count = kernel("suppress")(
        places.ctypes.data, order.ctypes.data, len(order), threshold, overlap == "ios", ceiling, chosen.ctypes.data,
        kept.ctypes.data,
    )  # fmt: skip
    return kept[:count]
