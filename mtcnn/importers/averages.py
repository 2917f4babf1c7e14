"""Resizing as facenet-pytorch does it: means over whole pixels.

An output pixel is the mean of all source pixels from floor(i * step) to ceil((i + 1) * step); enlarging repeats pixels.
Source: PyTorch's documentation of `adaptive_avg_pool2d`, which is what "area" interpolation comes down to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.kernel_cache import kernel

__all__ = ["average", "average_many"]

Array = NDArray[Any]


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
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} of shape {image.shape}; expected uint8 (H, W, 3)")
    lines = np.ascontiguousarray(image).reshape(len(image), -1)  # (H, W, 3) -> (H, W * 3)
    boxes = np.ascontiguousarray(corners, np.int64).reshape(-1, 4)
    out = np.empty((len(boxes), height, width * 3), np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=0, initial=1)
    across, down = ((side - 1) // size + 2 for side, size in zip(sides.tolist(), (width, height), strict=True))
    shares = np.empty(width * across + height * down, np.float32)
    firsts = np.empty(width + height, np.int64)
    work = np.empty(lines.shape[1] + 3 * width + 2, np.float32)
    kernel("average")(
        lines.ctypes.data, len(lines), image.shape[1], boxes.ctypes.data, len(boxes), out.ctypes.data, height, width,
        shares.ctypes.data, firsts.ctypes.data, work.ctypes.data,
    )  # fmt: skip
    return out.reshape(len(boxes), height, width, 3)
