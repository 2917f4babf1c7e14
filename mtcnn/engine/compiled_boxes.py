"""Compiled NMS and overlaps of boxes: see `nms` and `boxes`."""

from __future__ import annotations

import numpy as np

from .compiling import array_at

__all__ = ["overlaps", "suppress"]


def suppress(boxes_at, boxes_count, order_at, count, threshold, by_smaller, limit, chosen_at, kept_at):  # type: ignore[no-untyped-def]
    """Number of boxes (boxes_count, 4) that remain, of those of the indices (count,) at `order_at`, in this order; kept
    (limit,) gets their indices.

    chosen  scratch (limit, 5): coordinates of the remaining boxes, contiguous for the inner loop, and their areas.
    """
    boxes, order = array_at(boxes_at, (boxes_count, 4), np.float64), array_at(order_at, (count,), np.int64)
    chosen, kept = array_at(chosen_at, (limit, 5), np.float64), array_at(kept_at, (limit,), np.int64)
    found = 0
    for n in range(count):
        if found == limit:
            break
        index = order[n]
        x1, y1, x2, y2 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        area = (x2 - x1) * (y2 - y1)
        alone = True
        for k in range(found):
            width = min(x2, chosen[k, 2]) - max(x1, chosen[k, 0])
            height = min(y2, chosen[k, 3]) - max(y1, chosen[k, 1])
            if width <= 0.0 or height <= 0.0:
                continue
            shared = width * height
            whole = min(area, chosen[k, 4]) if by_smaller else area + chosen[k, 4] - shared
            # No division, so that an empty box overlaps nothing.
            if shared > threshold * whole:
                alone = False
                break
        if alone:
            chosen[found, 0], chosen[found, 1], chosen[found, 2], chosen[found, 3] = x1, y1, x2, y2
            chosen[found, 4] = area
            kept[found] = index
            found += 1
    return found


def overlaps(first_at, rows, second_at, columns, by_smaller, out_at):  # type: ignore[no-untyped-def]
    """Overlaps of boxes (rows, 4) and (columns, 4), into out (rows, columns)."""
    a, b = array_at(first_at, (rows, 4), np.float64), array_at(second_at, (columns, 4), np.float64)
    out = array_at(out_at, (rows, columns), np.float32)
    for j in range(columns):
        area_b = max(b[j, 2] - b[j, 0], 0.0) * max(b[j, 3] - b[j, 1], 0.0)
        for i in range(rows):
            out[i, j] = 0.0
            width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
            height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
            if width <= 0.0 or height <= 0.0:
                continue
            area_a = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1])
            shared = width * height
            out[i, j] = shared / (min(area_a, area_b) if by_smaller else area_a + area_b - shared)
    return 0
