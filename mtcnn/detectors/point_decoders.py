"""Decoders of anchor-free nets: one prediction per cell, relative to the cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import ImageSize
from .decoders import Decoder, Outputs, passing

__all__ = ["HeatMap", "YuNetPoints", "cells"]

Array = NDArray[Any]

SLACK = 1e-3  # relative: more than the rounding of `product_logits`
LARGEST = 8.0  # the exponential of an untrained net's output would overflow; no face has e**8 cells


def cells(size: ImageSize, stride: int) -> NDArray[np.float32]:
    """Column and row, float32 (A, 2), of the cells of a map for an input of this size, row by row."""
    rows, columns = -(-size.height // stride), -(-size.width // stride)
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)  # (rows, columns, 2) -> (A, 2)


_cells = lru_cache(maxsize=8)(cells)


@lru_cache(maxsize=8)
def _places(size: ImageSize, strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = [cells(size, stride) * np.float32(stride) for stride in strides]
    counts = [len(part) for part in parts]
    return np.concatenate(parts), np.repeat(np.array(strides, np.float32), counts)[:, None]


@dataclass(frozen=True)
class YuNetPoints(Decoder):
    """YuNet: centres and points relative to the upper left corner of a cell, in strides of its map.

    strides   of the maps, finest first.
    max_face  side of the largest faces that the net can find, pixels.

    Outputs: "class_logits" and "object_logits" (A, 1), whose sigmoids are multiplied; "boxes" (A, 4), centre and log
    sides; "landmarks" (A, 10), x1 y1 x2 y2 ... Source: Wu et al. 2023, section 3.3, and mmdet's code for the score.
    OpenCV takes the square root of the product, so its thresholds are not comparable.
    """

    strides: tuple[int, ...] = (8, 16, 32)
    max_face: float = 512.0

    @property
    def names(self) -> tuple[str, ...]:
        return ("class_logits", "object_logits", "boxes", "landmarks")

    def places(self, size: ImageSize) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The upper left corner of each cell, pixels float32 (A, 2), and the stride of its map (A, 1), of an input of
        this size. They are cached: do not write to them."""
        return _places(size, self.strides)

    def logits(self, outputs: Outputs) -> Array:
        return product_logits(outputs["class_logits"][:, 0], outputs["object_logits"][:, 0])

    def passing(self, outputs: Outputs, min_logit: float) -> tuple[Array, Array]:
        """As in `Decoder`. A product is no larger than its factors: only rows whose two logits pass are multiplied."""
        slack = SLACK * max(1.0, abs(min_logit)) if math.isfinite(min_logit) else 0.0
        rows, *pair = passing(outputs["class_logits"], outputs["object_logits"], min_logit - slack)
        logits = product_logits(*pair)
        above = logits >= min_logit
        return rows[above], logits[above]

    def boxes(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32]:
        corners, strides = (values[rows] for values in self.places(size))
        codes = outputs["boxes"][rows]
        centres = corners + codes[:, :2] * strides
        half = np.exp(np.minimum(codes[:, 2:], LARGEST)) * strides / 2
        return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)

    def landmarks(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32] | None:
        corners, strides = (values[rows, None] for values in self.places(size))
        codes = outputs["landmarks"][rows].reshape(-1, 5, 2)  # (R, 10) -> (R, 5, 2)
        return (corners + codes * strides).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        return {"strides": list(self.strides)}

    def encode(
        self, size: ImageSize, rows: Array, boxes: Array, landmarks: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The outputs "boxes" (R, 4) and "landmarks" (R, 10) of the cells `rows` (R,) for boxes (R, 4) of positive
        sides and landmarks (R, 5, 2). NaN stays NaN."""
        corners, strides = (values[rows] for values in self.places(size))
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        codes = np.concatenate([(centres - corners) / strides, np.log(sides / strides)], axis=1)
        points = (landmarks - corners[:, None]) / strides[:, None]
        return codes.astype(np.float32), points.reshape(len(points), 10).astype(np.float32)  # (R, 5, 2) -> (R, 10)


def product_logits(a: Array, b: Array) -> Array:
    """The logit of sigmoid(a) * sigmoid(b), for arrays of any shape, without saturating at 0 or 1.

    1 / (sigmoid(a) * sigmoid(b)) = (1 + exp(-a)) * (1 + exp(-b)), so the odds against are exp(-a) + exp(-b) +
    exp(-a - b).
    """
    return np.asarray(-np.logaddexp(np.logaddexp(-a, -b), -a - b))


@dataclass(frozen=True)
class HeatMap(Decoder):
    """CenterFace: one map; a face is predicted at the cell of its centre.

    stride    of the map.
    max_face  side of the largest faces that the net can find, pixels.

    Outputs: "logits" (A,); "sizes" (A, 2), log height and log width in cells; "offsets" (A, 2), y and x from the middle
    of the cell to the centre, in cells; "landmarks" (A, 10), y1 x1 y2 x2 ... from the upper left corner of the box, in
    units of its sides. Source: Xu et al. 2020, section 3.2, and the authors' code for the orders. That code clips boxes
    to the image and shifts those that extend above it or to its left; here boxes may extend beyond the image.
    """

    stride: int = 4
    max_face: float = 512.0

    @property
    def names(self) -> tuple[str, ...]:
        return ("logits", "sizes", "offsets", "landmarks")

    def logits(self, outputs: Outputs) -> Array:
        return outputs["logits"]

    def boxes(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32]:
        middles = _cells(size, self.stride)[rows] + 0.5 + outputs["offsets"][rows][:, ::-1]
        half = np.exp(np.minimum(outputs["sizes"][rows][:, ::-1], LARGEST)) / 2
        return np.concatenate([middles - half, middles + half], axis=1).astype(np.float32) * np.float32(self.stride)

    def landmarks(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32] | None:
        boxes = self.boxes(outputs, size, rows)
        codes = outputs["landmarks"][rows].reshape(-1, 5, 2)[:, :, ::-1]  # (R, 10) -> (R, 5, 2), x before y
        points: NDArray[np.float32] = boxes[:, None, :2] + codes * (boxes[:, None, 2:] - boxes[:, None, :2])
        return points.astype(np.float32)

    def describe(self) -> dict[str, Any]:
        return {"stride": self.stride}

    def encode(
        self, size: ImageSize, rows: Array, boxes: Array, landmarks: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The outputs "sizes" (R, 2), "offsets" (R, 2) and "landmarks" (R, 10) of the cells `rows` (R,) for boxes
        (R, 4) of positive sides and landmarks (R, 5, 2). NaN stays NaN."""
        sides = boxes[:, 2:] - boxes[:, :2]
        offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 / self.stride - _cells(size, self.stride)[rows] - 0.5
        points = ((landmarks - boxes[:, None, :2]) / sides[:, None])[:, :, ::-1].reshape(len(rows), 10)
        logarithms = np.log(sides / self.stride)
        return tuple(values.astype(np.float32) for values in (logarithms[:, ::-1], offsets[:, ::-1], points))  # type: ignore[return-value]
