"""The resampling rule of the project, for training crops, pyramid levels and crops in detection.

An output pixel is the mean of the image over a window around the pixel's centre. The window is as wide as the output
pixel when shrinking (area averaging: no aliasing) and one source pixel when enlarging, which is linear interpolation;
at equal size the two are the same, so the rule is continuous in the scale.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine.kernel_cache import kernel

__all__ = ["resample", "resample_many"]

Array = NDArray[Any]


def _rows(image: Array) -> Array:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} of shape {image.shape}; expected uint8 (H, W, 3)")
    return np.ascontiguousarray(image).reshape(image.shape[0], -1)  # (H, W, 3) -> (H, W * 3)


def _cut(image: Array, boxes: Array, taps: tuple[int, int], zero_outside: bool, out: Array) -> None:
    """Each of boxes (N, 4) of image (H, W, 3) into out (N, h, w * 3), of bytes or of real numbers.

    taps  how many source pixels a window may touch, across and down.
    """
    lines = _rows(image)
    height, width = image.shape[:2]
    out_height, out_width = out.shape[1], out.shape[2] // 3
    shares = np.empty(out_width * taps[0] + out_height * taps[1], np.float32)
    firsts = np.empty(out_width + out_height, np.int64)
    work = np.empty(3 * (width + out_width) + 2, np.float32)
    kernel("resample")(
        lines.ctypes.data, height, width, boxes.ctypes.data, len(boxes), zero_outside, out.dtype == np.float32,
        out.ctypes.data, out_height, out_width, shares.ctypes.data, firsts.ctypes.data, work.ctypes.data,
    )  # fmt: skip


def _taps(side: float, size: int, limit: int) -> int:
    """Maximum number of source pixels of a window, if a side of a box becomes `size` pixels."""
    return int(min(math.ceil(max(side / size, 1.0)) + 1, limit))


def resample(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The whole image (H, W, 3) uint8 at another size; edge windows are cut to the image."""
    out = np.empty((1, height, width * 3), np.uint8)
    high, wide = image.shape[:2]
    _cut(image, np.array([[0.0, 0.0, wide, high]]), (_taps(wide, width, wide), _taps(high, height, high)), False, out)
    return out.reshape(height, width, 3)


def resample_many(image: NDArray[np.uint8], boxes: Array, size: int, exact: bool = False) -> NDArray[Any]:
    """Boxes (N, 4) xyxy pixels, cut from image (H, W, 3) uint8: (N, size, size, 3), uint8, or float32 where `exact`.

    The outside of the image is 0. Boxes that are empty, inverted or not finite give black.
    """
    out = np.empty((len(boxes), size, size * 3), np.float32 if exact else np.uint8)
    places = np.ascontiguousarray(boxes, np.float64).reshape(-1, 4)
    sides = places[:, 2:] - places[:, :2]
    if not np.isfinite(sides).all():  # such boxes are black
        sides = sides[np.isfinite(sides).all(axis=1)]
    wide, high = sides.max(axis=0, initial=0.0).tolist()
    _cut(image, places, (_taps(wide, size, image.shape[1]), _taps(high, size, image.shape[0])), True, out)
    return out.reshape(len(boxes), size, size, 3)
