"""Box algebra, and the one coordinate convention of the project (docs/conventions.md).

A box is xyxy in pixels of the original image: continuous, half-open, width = x2 - x1. The centre of the first pixel
lies at (0.5, 0.5). Nothing here adds 1; old weights and the WIDER protocol do so in their own files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine.kernel_cache import kernel
from .errors import SettingsError

__all__ = [
    "FLIP_ORDER",
    "areas",
    "as_boxes",
    "clip",
    "decode_landmarks",
    "decode_offsets",
    "encode_landmarks",
    "encode_offsets",
    "ios",
    "iou",
    "mirror_landmarks",
    "mirror_offsets",
    "square",
]

Array = NDArray[Any]

FLIP_ORDER = (1, 0, 2, 4, 3)  # a mirrored left eye is a right eye, and so the corners of the mouth


def as_boxes(values: Any) -> NDArray[np.float64]:
    """Boxes (N, 4), or one box (4,), as float64 (N, 4).

    Raises SettingsError for anything else: rows of five numbers, boxes with scores, would become wrong boxes.
    """
    try:
        boxes = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        kind = type(values).__name__
        raise SettingsError(f"boxes are of type {kind}; expected an array (N, 4), x1 y1 x2 y2") from None
    if boxes.size and (boxes.ndim not in (1, 2) or boxes.shape[-1] != 4):
        raise SettingsError(f"boxes have shape {boxes.shape}; expected (N, 4), x1 y1 x2 y2 and nothing else")
    return boxes.reshape(-1, 4)


def areas(boxes: Array) -> Array:
    """Areas (N,) of boxes (N, 4), in square pixels; 0 for boxes turned inside out."""
    sides = np.maximum(_sizes(boxes), 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _overlaps(a: Array, b: Array, by_smaller: bool) -> NDArray[np.float32]:
    a, b = (np.ascontiguousarray(boxes, np.float64).reshape(len(boxes), 4) for boxes in (a, b))
    out = np.empty((len(a), len(b)), np.float32)
    kernel("overlaps")(a.ctypes.data, len(a), b.ctypes.data, len(b), by_smaller, out.ctypes.data)
    return out


def iou(a: Array, b: Array) -> NDArray[np.float32]:
    """Intersection over union of boxes (N, 4) and (M, 4): float32 (N, M)."""
    return _overlaps(a, b, False)


def ios(a: Array, b: Array) -> NDArray[np.float32]:
    """Intersection over the smaller area, the "Min" overlap of the MTCNN paper: float32 (N, M)."""
    return _overlaps(a, b, True)


def square(boxes: Array, context: float = 1.0) -> Array:
    """The smallest squares (N, 4) around boxes (N, 4) with the same centres, their sides times `context`.

    Source: `rerec.m` of the MTCNN authors' code.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (0.5 * context)
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: Array, height: float, width: float) -> Array:
    """Boxes (N, 4) cut to an image of `height` x `width` pixels."""
    limit = np.array([width, height, width, height], boxes.dtype)
    return np.clip(boxes, 0, limit)


def _sizes(crops: Array) -> Array:
    return crops[:, 2:] - crops[:, :2]


def encode_offsets(crops: Array, truth: Array) -> Array:
    """Regression targets (N, 4): (truth - crop) / (w, h, w, h) of the crop. Crops need positive sides.

    Source: Zhang et al. 2016, section III-B, equation 2; the scaling is that of the authors' data.
    """
    return np.asarray((truth - crops) / np.tile(_sizes(crops), 2))


def decode_offsets(crops: Array, offsets: Array) -> Array:
    """The inverse of `encode_offsets`: boxes (N, 4)."""
    return np.asarray(crops + offsets * np.tile(_sizes(crops), 2))


def encode_landmarks(crops: Array, landmarks: Array) -> Array:
    """Landmark targets (N, 5, 2): (p - (x1, y1)) / (w, h) of the crop. NaN stays NaN."""
    return np.asarray((landmarks - crops[:, None, :2]) / _sizes(crops)[:, None, :])


def decode_landmarks(crops: Array, targets: Array) -> Array:
    """The inverse of `encode_landmarks`: points (N, 5, 2) in pixels."""
    return np.asarray(crops[:, None, :2] + targets * _sizes(crops)[:, None, :])


def mirror_offsets(offsets: Array) -> Array:
    """Offsets (N, 4) in the mirror images of their crops, and back: the left edge becomes the right one."""
    return np.asarray(offsets[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], offsets.dtype))


def mirror_landmarks(targets: Array) -> Array:
    """Landmark targets (N, 5, 2) in the mirror images of their crops, and back: left and right points are swapped."""
    turned = targets[:, list(FLIP_ORDER)]
    turned[:, :, 0] = 1 - turned[:, :, 0]
    return turned
