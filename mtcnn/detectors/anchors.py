"""Anchors of single-stage detectors, and the encoding of boxes and points relative to them.

A layout is data: the stride of each level of a net, and the sides of its square anchors. Anchors are boxes like any
other, xyxy pixels, half-open (docs/conventions.md).

Source: Liu et al. 2016 (SSD), section 2.2, for the codes and their variances; the layouts name their papers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RETINAFACE",
    "S3FD",
    "SSH",
    "VARIANCES",
    "Layout",
    "Level",
    "anchors",
    "decode_box_codes",
    "decode_landmark_codes",
    "encode_box_codes",
    "encode_landmark_codes",
    "map_sizes",
]

Array = NDArray[Any]

VARIANCES = (0.1, 0.2)  # of centres and points; of log sides

# Log sides are clipped so that a box is at most 62.5 times its anchor: exp of an untrained net's output would overflow.
# The limit is that of Faster R-CNN, 1000 / 16.
_LARGEST = math.log(1000 / 16)


class Level(NamedTuple):
    """One map of a net: its stride, and the sides of the square anchors at each cell, pixels."""

    stride: int
    sizes: tuple[float, ...]


Layout = tuple[Level, ...]

RETINAFACE: Layout = (Level(8, (16, 32)), Level(16, (64, 128)), Level(32, (256, 512)))
"""Deng et al. 2019, as in Pytorch_Retinaface for both trunks."""

SSH: Layout = RETINAFACE
"""Najibi et al. 2017, section 3.2: scales 1, 2 | 4, 8 | 16, 32 of a base of 16 pixels. The authors' code places anchors
half a cell (M1) or a quarter (M3) off the centre of their cells; here all are centred."""

S3FD: Layout = tuple(Level(stride, (4.0 * stride,)) for stride in (4, 8, 16, 32, 64, 128))
"""Zhang et al. 2017, table 1: anchors are four times their stride, so that all sizes are equally dense."""


def map_sizes(height: int, width: int, layout: Layout) -> list[tuple[int, int]]:
    """Rows and columns of each level's map for an image of `height` x `width` pixels: size / stride, rounded up."""
    return [(-(-height // level.stride), -(-width // level.stride)) for level in layout]


def anchors(height: int, width: int, layout: Layout, offset: float = 0.5) -> NDArray[np.float32]:
    """All anchors (A, 4) float32 xyxy of an image of `height` x `width` pixels.

    In the order of the nets' outputs: level by level, row by row, cell by cell, and on one cell size by size. An anchor
    has its centre `offset` cells from the upper left corner of its cell, and may reach out of the image.
    """
    parts = [np.zeros((0, 4), np.float32)]
    for (rows, columns), level in zip(map_sizes(height, width, layout), layout, strict=True):
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        centres = (np.stack([x, y], axis=-1)[:, :, None] + offset) * level.stride  # (rows, columns, 1, 2)
        half = np.asarray(level.sizes)[:, None] / 2  # (sizes, 1)
        boxes = np.concatenate([centres - half, centres + half], axis=-1)  # (rows, columns, sizes, 4)
        parts.append(boxes.reshape(-1, 4).astype(np.float32))
    return np.concatenate(parts)


def _centres_and_sides(boxes: Array) -> tuple[Array, Array]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def encode_box_codes(anchor: Array, boxes: Array, variances: tuple[float, float] = VARIANCES) -> NDArray[np.float32]:
    """Encode boxes (N, 4) relative to their anchors (N, 4): regression targets float32 (N, 4).

    (centre - anchor's centre) / (anchor's sides * variance), then ln(sides / anchor's sides) / variance. Boxes must
    have positive sides.
    """
    anchor_centres, anchor_sides = _centres_and_sides(anchor)
    centres, sides = _centres_and_sides(boxes)
    shifts = (centres - anchor_centres) / (anchor_sides * variances[0])
    return np.concatenate([shifts, np.log(sides / anchor_sides) / variances[1]], axis=1).astype(np.float32)


def decode_box_codes(anchor: Array, codes: Array, variances: tuple[float, float] = VARIANCES) -> NDArray[np.float32]:
    """Decode box codes (N, 4) to boxes (N, 4) xyxy, at most 62.5 times their anchor: inverts `encode_box_codes`."""
    anchor_centres, anchor_sides = _centres_and_sides(anchor)
    centres = anchor_centres + codes[:, :2] * variances[0] * anchor_sides
    half = anchor_sides * np.exp(np.minimum(codes[:, 2:] * variances[1], _LARGEST)) / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def encode_landmark_codes(
    anchor: Array, landmarks: Array, variances: tuple[float, float] = VARIANCES
) -> NDArray[np.float32]:
    """Encode points (N, 5, 2) as codes float32 (N, 10): (p - anchor's centre) / (anchor's sides * variance).

    The order is x1 y1 x2 y2 ... NaN stays NaN.
    """
    centres, sides = _centres_and_sides(anchor)
    codes = (landmarks - centres[:, None]) / (sides[:, None] * variances[0])
    return codes.reshape(len(codes), 10).astype(np.float32)  # (N, 5, 2) -> (N, 10)


def decode_landmark_codes(
    anchor: Array, codes: Array, variances: tuple[float, float] = VARIANCES
) -> NDArray[np.float32]:
    """Decode landmark codes (N, 10), the inverse of `encode_landmark_codes`: points (N, 5, 2) in pixels."""
    centres, sides = _centres_and_sides(anchor)
    points = codes.reshape(len(codes), 5, 2)  # (N, 10) -> (N, 5, 2)
    return (centres[:, None] + points * (sides[:, None] * variances[0])).astype(np.float32)
