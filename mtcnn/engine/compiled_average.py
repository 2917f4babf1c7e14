"""Means over whole pixels, compiled: see `importers.averages`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import array_at, inner
from .windows import mix_row

__all__ = ["average"]

Array = NDArray[Any]


@inner()
def _shares(start: int, size: int, limit: int, firsts: Array, shares: Array) -> None:
    """Windows over `size` source pixels from `start` on, of an image of `limit`: see `engine.windows`."""
    count = len(firsts)
    for index in range(count):
        first, last = start + index * size // count, start + -(-(index + 1) * size // count)
        firsts[index] = min(first, limit - shares.shape[1])
        for i in range(shares.shape[1]):
            inside = first <= firsts[index] + i < last
            shares[index, i] = np.float32(1.0) / np.float32(last - first) if inside else np.float32(0.0)


@inner()
def _into(
    image: Array, x1: int, y1: int, x2: int, y2: int, shares_at: int, firsts: Array, work: Array, out: Array
) -> None:
    """Pixels [x1, x2) x [y1, y2) of image (H, W * 3) into out (h, w * 3)."""
    height, width = image.shape[0], image.shape[1] // 3
    out_height, out_width = out.shape[0], out.shape[1] // 3
    taps_x = min((x2 - x1 - 1) // out_width + 2, x2 - x1)
    taps_y = min((y2 - y1 - 1) // out_height + 2, y2 - y1)
    columns, rows = firsts[:out_width], firsts[out_width:]
    across = array_at(shares_at, (out_width, taps_x), np.float32)
    down = array_at(shares_at + 4 * out_width * taps_x, (out_height, taps_y), np.float32)
    _shares(x1, x2 - x1, width, columns, across)
    _shares(y1, y2 - y1, height, rows, down)
    row, line = work[: 3 * width + 1], work[3 * width + 1 :]
    for i in range(out_height):
        mix_row(image, rows[i], down[i], columns, across, row, line)
        target = out[i]
        for k in range(len(target)):
            target[k] = line[k]


def average(  # type: ignore[no-untyped-def]
    image_at, height, width, corners_at, count, out_at, out_height, out_width, shares_at, firsts_at, work_at
):
    """Boxes (count, 4) of whole pixels of image (height, width * 3) into out (count, out_height, out_width * 3).

    shares, firsts, work  scratch, see `importers.averages`.
    """
    image, corners = array_at(image_at, (height, width * 3), np.uint8), array_at(corners_at, (count, 4), np.int64)
    out = array_at(out_at, (count, out_height, out_width * 3), np.float32)
    firsts = array_at(firsts_at, (out_width + out_height,), np.int64)
    work = array_at(work_at, (3 * (width + out_width) + 2,), np.float32)
    for n in range(count):
        x1, y1, x2, y2 = corners[n, 0], corners[n, 1], corners[n, 2], corners[n, 3]
        if x1 < x2 and y1 < y2:
            _into(image, x1, y1, x2, y2, shares_at, firsts, work, out[n])
            continue
        for i in range(out_height):
            for k in range(3 * out_width):
                out[n, i, k] = 0.0
    return 0
