"""Resizing as facenet-pytorch does it: means over whole pixels.

An output pixel is the mean of all source pixels from floor(i * step) to ceil((i + 1) * step); enlarging repeats pixels.
Source: PyTorch's documentation of `adaptive_avg_pool2d`, which is what "area" interpolation comes down to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..engine.windows import mix_row

__all__ = ["average", "average_many"]

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def _shares(start: int, size: int, limit: int, firsts: Array, shares: Array) -> None:
    """Windows over `size` source pixels from `start` on, of an image of `limit`: see `engine.windows`."""
    count = len(firsts)
    for index in range(count):
        first, last = start + index * size // count, start + -(-(index + 1) * size // count)
        firsts[index] = min(first, limit - shares.shape[1])
        for i in range(shares.shape[1]):
            inside = first <= firsts[index] + i < last
            shares[index, i] = np.float32(1.0) / np.float32(last - first) if inside else np.float32(0.0)


@njit(cache=True, nogil=True)
def _into(image: Array, x1: int, y1: int, x2: int, y2: int, out: Array) -> None:
    """Pixels [x1, x2) x [y1, y2) of image (H, W * 3) into out (h, w * 3)."""
    height, width = image.shape[0], image.shape[1] // 3
    columns, rows = np.empty(out.shape[1] // 3, np.int64), np.empty(len(out), np.int64)
    across = np.empty((len(columns), min((x2 - x1 - 1) // len(columns) + 2, x2 - x1)), np.float32)
    down = np.empty((len(rows), min((y2 - y1 - 1) // len(rows) + 2, y2 - y1)), np.float32)
    _shares(x1, x2 - x1, width, columns, across)
    _shares(y1, y2 - y1, height, rows, down)
    row, line = np.empty(3 * width + 1, np.float32), np.empty(out.shape[1] + 1, np.float32)
    for i in range(len(rows)):
        mix_row(image, rows[i], down[i], columns, across, row, line)
        out[i] = line[:-1]


@njit(cache=True, nogil=True)
def _many(image: Array, corners: Array, out: Array) -> None:
    for n in range(len(corners)):
        x1, y1, x2, y2 = corners[n]
        if x1 < x2 and y1 < y2:
            _into(image, x1, y1, x2, y2, out[n])
        else:
            out[n] = 0


def average(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """The whole image (H, W, 3) uint8 at another size: float32 (height, width, 3), not rounded."""
    corners = np.array([[0, 0, image.shape[1], image.shape[0]]])
    (found,) = _averaged(image, corners, height, width)
    return np.asarray(found)


def average_many(image: NDArray[np.uint8], corners: Array, size: int) -> NDArray[np.float32]:
    """Pixels [x1, x2) x [y1, y2) of image (H, W, 3) uint8, inside of it: float32 (N, size, size, 3).

    corners  int (N, 4). Boxes of no pixels give black.
    """
    return _averaged(image, corners, size, size)


def _averaged(image: NDArray[np.uint8], corners: Array, height: int, width: int) -> NDArray[np.float32]:
    out = np.empty((len(corners), height, width * 3), np.float32)
    lines = np.ascontiguousarray(image).reshape(len(image), -1)  # (H, W, 3) -> (H, W * 3)
    _many(lines, np.ascontiguousarray(corners, np.int64).reshape(-1, 4), out)
    return out.reshape(len(corners), height, width, 3)
