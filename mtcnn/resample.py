"""The one resampling rule of the project: training crops, pyramid levels and crops at detection all come from here.

An output pixel is the mean of the image over a window around the pixel's centre. The window is as wide as the output
pixel when shrinking (area averaging: no aliasing) and one source pixel when enlarging, which is linear interpolation;
at equal size the two are the same, so the rule is continuous in the scale.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine.kept import kernel

__all__ = ["resample", "resample_many"]

Array = NDArray[Any]


def _rows(image: Array) -> Array:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} of shape {image.shape}; expected uint8 (H, W, 3)")
    return np.ascontiguousarray(image).reshape(image.shape[0], -1)  # (H, W, 3) -> (H, W * 3)


def _cut(image: Array, boxes: Array, zero_outside: bool, out: Array) -> None:
    """Each of boxes (N, 4) of image (H, W, 3) into out (N, h, w * 3), of bytes or of real numbers."""
    lines, exact = _rows(image), out.dtype == np.float32
    height, width, (out_height, out_width) = len(lines), lines.shape[1] // 3, (out.shape[1], out.shape[2] // 3)
    across, down = (
        _taps(boxes[:, 2] - boxes[:, 0], out_width, width),
        _taps(boxes[:, 3] - boxes[:, 1], out_height, height),
    )
    shares = np.empty(out_width * across + out_height * down, np.float32)
    firsts = np.empty(out_width + out_height, np.int64)
    work = np.empty(3 * width + 1 + 3 * out_width + 1, np.float32)
    kernel("resample")(
        lines.ctypes.data, height, width, boxes.ctypes.data, len(boxes), zero_outside, exact, out.ctypes.data,
        out_height, out_width, shares.ctypes.data, firsts.ctypes.data, work.ctypes.data,
    )  # fmt: skip


def _taps(sides: Array, size: int, limit: int) -> int:
    """How many source pixels any window may touch, of boxes with these sides."""
    real = sides[(sides > 0) & (sides < np.inf)]
    step = max(real.max(initial=0.0) / size, 1.0)
    return int(min(math.ceil(step) + 1, limit))


def resample(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The whole image (H, W, 3) uint8 at another size; edge windows are cut to the image."""
    out = np.empty((1, height, width * 3), np.uint8)
    _cut(image, np.array([[0.0, 0.0, image.shape[1], image.shape[0]]]), False, out)
    return out.reshape(height, width, 3)


def resample_many(image: NDArray[np.uint8], boxes: Array, size: int, exact: bool = False) -> NDArray[Any]:
    """Boxes (N, 4) xyxy pixels, cut from image (H, W, 3) uint8: (N, size, size, 3), uint8, or float32 where `exact`.

    Outside the image is 0. Boxes of no size, turned inside out or not finite give black.
    """
    out = np.empty((len(boxes), size, size * 3), np.float32 if exact else np.uint8)
    _cut(image, np.ascontiguousarray(boxes, np.float64).reshape(-1, 4), True, out)
    return out.reshape(len(boxes), size, size, 3)
