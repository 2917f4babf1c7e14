"""The one resampling rule of the project: training crops, pyramid levels and crops at detection all come from here.

An output pixel is the mean of the image over a window around the pixel's centre. The window is as wide as the output
pixel when shrinking (area averaging: no aliasing) and one source pixel when enlarging, which is linear interpolation;
at equal size the two are the same, so the rule is continuous in the scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .engine.windows import mix_row

__all__ = ["resample", "resample_many"]

Array = NDArray[Any]


@njit(cache=True, nogil=True, inline="always")
def _window(start: float, step: float, index: int, limit: int) -> tuple[float, float, int, int]:
    """Edges of the window of output pixel `index`, and the source pixels [first, last) that it touches."""
    half = max(step, 1.0) * 0.5
    centre = start + (index + 0.5) * step
    low, high = centre - half, centre + half
    # Cut while still real numbers: what lies too far outside would not fit an integer.
    first = int(min(max(np.floor(low), 0.0), limit))
    last = int(min(max(np.ceil(high), 0.0), limit))
    return low, high, first, last


@njit(cache=True, nogil=True)
def _shares(start: float, step: float, limit: int, zero_outside: bool, firsts: Array, shares: Array) -> None:
    """For each output pixel the first source pixel of its window, and the share of each source pixel from there on.

    firsts (N,); shares (N, T), of which T is at least the number of pixels in any window and at most `limit`.
    """
    for index in range(len(firsts)):
        low, high, first, last = _window(start, step, index, limit)
        firsts[index] = min(first, limit - shares.shape[1])
        total = 0.0
        for i in range(shares.shape[1]):
            pixel = firsts[index] + i
            share = min(high, pixel + 1.0) - max(low, float(pixel)) if first <= pixel < last else 0.0
            shares[index, i] = max(share, 0.0)
            total += shares[index, i]
        if zero_outside:
            total = high - low
        norm = np.float32(1.0 / total) if total > 0.0 else np.float32(0.0)
        for i in range(shares.shape[1]):
            shares[index, i] *= norm


@njit(cache=True, nogil=True)
def _taps(step: float, limit: int) -> int:
    """How many source pixels a window may touch."""
    return int(min(np.ceil(max(step, 1.0)) + 1.0, limit))


@njit(cache=True, nogil=True)
def _into(
    image: Array, x1: float, y1: float, x2: float, y2: float, zero_outside: bool, half: float, out: Array
) -> None:
    """Image (H, W * 3), from x1, y1 to x2, y2, into out (h, w * 3); `half` is 0.5 where that has whole numbers."""
    height, width = image.shape[0], image.shape[1] // 3
    out_height, out_width = out.shape[0], out.shape[1] // 3
    step_y, step_x = (y2 - y1) / out_height, (x2 - x1) / out_width
    across = np.empty((out_width, _taps(step_x, width)), np.float32)
    columns = np.empty(out_width, np.int64)
    _shares(x1, step_x, width, zero_outside, columns, across)
    down = np.empty((out_height, _taps(step_y, height)), np.float32)
    rows = np.empty(out_height, np.int64)
    _shares(y1, step_y, height, zero_outside, rows, down)
    row, line = np.empty(3 * width + 1, np.float32), np.empty(3 * out_width + 1, np.float32)
    for i in range(out_height):
        mix_row(image, rows[i], down[i], columns, across, row, line)
        target = out[i]
        for k in range(len(target)):
            target[k] = line[k] + np.float32(half)


@njit(cache=True, nogil=True)
def _many(image: Array, boxes: Array, half: float, out: Array) -> None:
    for n in range(len(boxes)):
        width, height = boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1]
        if 0.0 < width < np.inf and 0.0 < height < np.inf:
            _into(image, boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3], True, half, out[n])
        else:
            out[n] = 0


@njit(cache=True, nogil=True)
def _whole(image: Array, out: Array) -> None:
    _into(image, 0.0, 0.0, float(image.shape[1] // 3), float(image.shape[0]), False, 0.5, out)


def _rows(image: Array) -> Array:
    """The image as (H, W * 3), read-only: Numba compiles once for arrays that are and once for those that are not, and
    images are both, as Pillow's and OpenCV's come."""
    rows = np.ascontiguousarray(image).reshape(image.shape[0], -1)  # (H, W, 3) -> (H, W * 3)
    rows = rows.view()
    rows.flags.writeable = False
    return rows


def resample(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The whole image (H, W, 3) uint8 at another size; edge windows are cut to the image."""
    out = np.empty((height, width * 3), np.uint8)
    _whole(_rows(image), out)
    return out.reshape(height, width, 3)


def resample_many(image: NDArray[np.uint8], boxes: Array, size: int, exact: bool = False) -> NDArray[Any]:
    """Boxes (N, 4) xyxy pixels, cut from image (H, W, 3) uint8: (N, size, size, 3), uint8, or float32 where `exact`.

    Outside the image is 0. Boxes of no size, turned inside out or not finite give black.
    """
    out = np.empty((len(boxes), size, size * 3), np.float32 if exact else np.uint8)
    _many(_rows(image), np.ascontiguousarray(boxes, np.float64).reshape(-1, 4), 0.0 if exact else 0.5, out)
    return out.reshape(len(boxes), size, size, 3)
