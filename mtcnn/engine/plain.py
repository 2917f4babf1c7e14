"""The kernels that the cascade needs, in NumPy: for installations without llvmlite, where nothing can be compiled.

Same names, arguments and results as in `kernel_cache.KERNELS`, up to the last bits of float sums, and slower.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLAIN"]

Array = NDArray[Any]


def _array(address: int, shape: tuple[int, ...], kind: type[Any]) -> Array:
    """The array in memory at an address; without elements a new one."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if not size:
        return np.empty(shape, kind)
    memory: Any = (ctypes.c_char * size).from_address(address)
    found: Array = np.frombuffer(memory, kind)
    return found.reshape(shape)


def _shared(a: Array, b: Array) -> Array:
    """Areas of the intersections of boxes (N, 4) and (M, 4): (N, M)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.asarray(np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0))


def _areas(boxes: Array) -> Array:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def suppress(
    boxes_at: int, boxes_count: int, order_at: int, count: int, threshold: float, by_smaller: int, limit: int, _: int,
    kept_at: int,
) -> int:  # fmt: skip
    """See `compiled_boxes.suppress`."""
    boxes, order = _array(boxes_at, (boxes_count, 4), np.float64), _array(order_at, (count,), np.int64)
    kept, found = _array(kept_at, (limit,), np.int64), 0
    boxes = boxes[order]
    areas, alive = _areas(boxes), np.ones(count, bool)
    for n in range(count):
        if found == limit:
            break
        if not alive[n]:
            continue
        kept[found] = order[n]
        found += 1
        shared = _shared(boxes[n : n + 1], boxes[n + 1 :])[0]
        later = areas[n + 1 :]
        whole = np.minimum(areas[n], later) if by_smaller else later + areas[n] - shared
        alive[n + 1 :] &= ~((shared > 0) & (shared > threshold * whole))
    return found


def overlaps(first_at: int, rows: int, second_at: int, columns: int, by_smaller: int, out_at: int) -> int:
    """See `compiled_boxes.overlaps`."""
    a, b = _array(first_at, (rows, 4), np.float64), _array(second_at, (columns, 4), np.float64)
    shared, area_a, area_b = _shared(a, b), _areas(a)[:, None], _areas(b)[None]
    whole = np.minimum(area_a, area_b) if by_smaller else area_a + area_b - shared
    out = _array(out_at, (rows, columns), np.float32)
    out[...] = np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)
    return 0


def _shares(start: float, end: float, size: int, limit: int, zero_outside: bool) -> tuple[int, Array]:
    """The first source pixel that matters, and the weights (size, K) of K from there on, for each output pixel."""
    step = (end - start) / size
    half = max(step, 1.0) * 0.5
    centres = start + (np.arange(size) + 0.5) * step
    low, high = (centres - half)[:, None], (centres + half)[:, None]
    first = int(np.clip(np.floor(low.min()), 0, limit))
    last = int(np.clip(np.ceil(high.max()), first, limit))
    pixels = np.arange(first, last)[None]
    shares = np.clip(np.minimum(high, pixels + 1.0) - np.maximum(low, pixels), 0.0, None)
    total = high - low if zero_outside else shares.sum(axis=1, keepdims=True)
    return first, np.divide(shares, total, out=np.zeros_like(shares), where=total > 0).astype(np.float32)


def resample(
    image_at: int, height: int, width: int, boxes_at: int, count: int, zero_outside: int, exact: int,
    out_at: int, out_height: int, out_width: int, *_: int,
) -> int:  # fmt: skip
    """See `compiled_resample.resample`."""
    image = _array(image_at, (height, width, 3), np.uint8)
    boxes = _array(boxes_at, (count, 4), np.float64)
    out = _array(out_at, (count, out_height, out_width, 3), np.float32 if exact else np.uint8)
    for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        if not (0 < x2 - x1 < np.inf and 0 < y2 - y1 < np.inf):
            out[n] = 0
            continue
        left, across = _shares(x1, x2, out_width, width, bool(zero_outside))
        top, down = _shares(y1, y2, out_height, height, bool(zero_outside))
        part = image[top : top + down.shape[1], left : left + across.shape[1]].astype(np.float32)
        rows = np.tensordot(down, part, (1, 0))  # (h, K, 3)
        mixed = np.tensordot(rows, across, (1, 1)).transpose(0, 2, 1)  # (h, 3, w) -> (h, w, 3)
        out[n] = mixed if exact else (mixed + np.float32(0.5)).astype(np.uint8)
    return 0


PLAIN: dict[str, Callable[..., int]] = {"suppress": suppress, "overlaps": overlaps, "resample": resample}
