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


@njit(cache=True, nogil=True, fastmath=True)
def _into(image: Array, x1: float, y1: float, x2: float, y2: float, zero_outside: bool, row: Array, out: Array) -> None:
    height, width = image.shape[0], image.shape[1] // 3
    out_height, out_width = out.shape[0], out.shape[1]
    step_y, step_x = (y2 - y1) / out_height, (x2 - x1) / out_width
    # Source columns that any output pixel touches.
    left = _window(x1, step_x, 0, width)[2]
    right = max(_window(x1, step_x, out_width - 1, width)[3], left)
    for i in range(out_height):
        low, high, first, last = _window(y1, step_y, i, height)
        row[3 * left : 3 * right] = 0.0
        total_y = np.float32(0.0)
        for y in range(first, last):
            weight = np.float32(min(high, y + 1.0) - max(low, float(y)))
            if weight <= 0.0:
                continue
            total_y += weight
            source = image[y]
            for k in range(3 * left, 3 * right):
                row[k] += weight * np.float32(source[k])
        if zero_outside:
            total_y = np.float32(high - low)
        for j in range(out_width):
            low_x, high_x, first_x, last_x = _window(x1, step_x, j, width)
            red = green = blue = total = np.float32(0.0)
            for x in range(first_x, last_x):
                weight = np.float32(min(high_x, x + 1.0) - max(low_x, float(x)))
                if weight <= 0.0:
                    continue
                total += weight
                red += weight * row[3 * x]
                green += weight * row[3 * x + 1]
                blue += weight * row[3 * x + 2]
            if zero_outside:
                total = np.float32(high_x - low_x)
            area = total * total_y
            norm = np.float32(1.0) / area if area > 0.0 else np.float32(0.0)
            out[i, j, 0] = np.uint8(red * norm + np.float32(0.5))
            out[i, j, 1] = np.uint8(green * norm + np.float32(0.5))
            out[i, j, 2] = np.uint8(blue * norm + np.float32(0.5))


@njit(cache=True, nogil=True)
def _many(image: Array, boxes: Array, out: Array) -> None:
    # Zeros, for rounding may let a window reach, with next to no weight, a column that no row has filled.
    row = np.zeros(image.shape[1], np.float32)
    for n in range(len(boxes)):
        width, height = boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1]
        if 0.0 < width < np.inf and 0.0 < height < np.inf:
            _into(image, boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3], True, row, out[n])
        else:
            out[n] = 0


@njit(cache=True, nogil=True)
def _whole(image: Array, out: Array) -> None:
    row = np.zeros(image.shape[1], np.float32)
    _into(image, 0.0, 0.0, float(image.shape[1] // 3), float(image.shape[0]), False, row, out)


def _rows(image: Array) -> Array:
    return np.ascontiguousarray(image).reshape(image.shape[0], -1)  # (H, W, 3) -> (H, W * 3)


def resample(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The whole image (H, W, 3) uint8 at another size; edge windows are cut to the image."""
    out = np.empty((height, width, 3), np.uint8)
    _whole(_rows(image), out)
    return out


def resample_many(image: NDArray[np.uint8], boxes: Array, size: int) -> NDArray[np.uint8]:
    """Boxes (N, 4) xyxy pixels, cut from image (H, W, 3) uint8: uint8 (N, size, size, 3).

    Outside the image is 0. Boxes of no size, turned inside out or not finite give black.
    """
    out = np.empty((len(boxes), size, size, 3), np.uint8)
    _many(_rows(image), np.ascontiguousarray(boxes, np.float64).reshape(-1, 4), out)
    return out
