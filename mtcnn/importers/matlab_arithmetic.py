"""The cascade in whole pixels counted from 1: the MTCNN authors' Matlab code and its ports.

Source: `detect_face.m`, `bbreg.m`, `pad.m` and `nms.m` of the authors' code; facenet-pytorch and ipazc's mtcnn 0.1 for
where they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..engine.threads import spread
from ..nms import nms
from ..proposer import PNetProposer
from ..pyramid import CELL, STRIDE, level_sizes
from ..refiner import NetRefiner
from ..types import Faces, ImageSize
from .averages import average, average_many
from .scores import face_scores, least_logit

__all__ = ["FACENET_PYTORCH", "MATLAB", "WholePixelProposer", "WholePixelRefiner", "WholePixels"]

Array = NDArray[Any]

LAST_PIXEL = np.array([0, 0, 1, 1])  # sizes of boxes that include the last pixel


class WholePixels(NamedTuple):
    """Differences between the ports.

    resize  image (H, W, 3), height and width to float32 (height, width, 3).
    real    the type in which cells are divided by the scale: rounding shifts a box if the quotient is near an integer.
    grows   a level has one extra pixel if its size is an integer.
    whole   boxes stay truncated to whole pixels, and crops are zero-padded outside the image. Otherwise only the crop
            is truncated, and clipped to the image, which distorts it at the border.
    closed  NMS as in `nms.m` at every stage, not only at the last.
    """

    resize: Callable[[Array, int, int], Array]
    real: type[np.floating[Any]]
    grows: bool
    whole: bool
    closed: bool


def _resize_cv2(image: Array, height: int, width: int) -> Array:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float32)


FACENET_PYTORCH = WholePixels(average, np.float32, grows=True, whole=False, closed=False)
MATLAB = WholePixels(_resize_cv2, np.float64, grows=False, whole=True, closed=True)


@dataclass
class WholePixelProposer(PNetProposer):
    """Stage 1 in whole pixels."""

    rule: WholePixels = MATLAB

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces (not squared, no landmarks) in image (H, W, 3) uint8, by falling score."""
        found = [(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)))]
        scales = [CELL / self.min_face]
        for _ in level_sizes(ImageSize(*image.shape[:2]), self.min_face, self.scale_factor):
            scales.append(scales[-1] * self.scale_factor)
        found += spread(partial(self._scaled, image), scales[:-1])
        cells, scores, offsets = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = _nms(cells, scores, 0.7, self.rule.closed)
        return Faces(box.decode_offsets(cells[kept], offsets[kept]), scores[kept])

    def _scaled(self, image: NDArray[np.uint8], scale: float) -> tuple[Array, Array, Array]:
        """Cells (N, 4) in image pixels, scores (N,) and offsets (N, 4) of one level."""
        rule = self.rule
        height, width = (int(side * scale + 1) if rule.grows else math.ceil(side * scale) for side in image.shape[:2])
        passed = self.cells(rule.resize(image, height, width), least_logit(self.threshold))
        scores = face_scores(passed.logits)
        # A pixel is counted from 1, so that the first cell spans 1 to 12.
        corner = (STRIDE * np.stack([passed.columns, passed.rows], axis=1)).astype(rule.real)
        cells = np.floor(np.concatenate([corner + 1, corner + CELL], axis=1) / rule.real(scale)).astype(np.float64)
        above = np.flatnonzero(scores >= self.threshold)
        kept = above[_nms(cells[above], scores[above], 0.5, rule.closed)[: self.per_level]]
        return cells[kept], scores[kept], passed.offsets[kept]


@dataclass
class WholePixelRefiner(NetRefiner):
    """Stage 2 or 3 in whole pixels."""

    rule: WholePixels = MATLAB

    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The faces that stay, by falling score; with landmarks if the net has them."""
        squares = box.square(faces.boxes.astype(np.float64))
        squares = np.trunc(squares) if self.rule.whole else squares
        logits, offsets, points = self.raw(image, squares)
        scores = face_scores(logits)
        chosen = np.flatnonzero(scores > self.threshold)
        squares, offsets, scores = squares[chosen], offsets[chosen], scores[chosen]
        moved = squares + offsets * np.tile(squares[:, 2:] - squares[:, :2] + 1, 2)
        if points is None:
            kept = _nms(squares, scores, 0.7, self.rule.closed)
            return Faces(moved, scores)[kept]
        kept = _nms(moved, scores, 0.7, True, "ios")
        # Back from 1-based coordinates, hence - 1 after the last pixel.
        landmarks = box.decode_landmarks(squares + LAST_PIXEL, points[chosen]) - 1
        return Faces(moved, scores, landmarks)[kept]

    def crops(self, image: NDArray[np.uint8], squares: Array, size: int) -> Array:
        """float32 (N, size, size, 3) of pixels x1 to x2 and y1 to y2, counted from 1."""
        corners = np.trunc(squares).astype(np.int64) - [1, 1, 0, 0]  # counted from 0, half-open
        if self.rule.whole:
            return np.stack([self._padded(image, corner, size) for corner in corners])
        height, width = image.shape[:2]
        return average_many(image, np.clip(corners, 0, [width, height, width, height]), size)

    def _padded(self, image: NDArray[np.uint8], corners: Array, size: int) -> Array:
        """float32 (size, size, 3) of pixels [x1, x2) x [y1, y2), zeros for what has no pixel."""
        height, width = image.shape[:2]
        x1, y1, x2, y2 = (int(value) for value in corners)
        inside = image[max(y1, 0) : max(min(y2, height), 0), max(x1, 0) : max(min(x2, width), 0)]
        if inside.size == 0:
            return np.zeros((size, size, 3), np.float32)
        edges = (max(-y1, 0), max(y2 - height, 0)), (max(-x1, 0), max(x2 - width, 0)), (0, 0)
        return self.rule.resize(np.pad(inside.astype(np.float32), edges), size, size)


def _nms(
    boxes: Array, scores: Array, threshold: float, closed: bool, overlap: Literal["iou", "ios"] = "iou"
) -> NDArray[np.int64]:
    """NMS, or with `closed` that of `nms.m`: the last pixel is included, and of equal scores the last comes first.

    Near 1 many scores are equal. As in the old packages, NumPy's sort decides their order.
    """
    if not closed:
        return nms(boxes, scores, threshold, overlap)
    order = np.argsort(scores)[::-1]
    return np.asarray(order[nms((boxes + LAST_PIXEL)[order], scores[order], threshold, overlap)])
