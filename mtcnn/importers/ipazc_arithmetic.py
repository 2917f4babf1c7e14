"""The cascade of ipazc's mtcnn 1: boxes in real numbers, crops by sampling points.

It kept the `+ 1` of its predecessors but not their truncation to whole pixels. Boxes are decoded before NMS at every
stage; NMS considers all pairs at once, so a suppressed box still suppresses others.

Source: the stages of ipazc's mtcnn 1.0.0, and TensorFlow's documentation of `tf.image.crop_and_resize`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..engine.threads import spread
from ..proposer import PNetProposer
from ..pyramid import CELL, STRIDE, level_sizes
from ..refiner import NetRefiner
from ..types import Faces, ImageSize
from .scores import face_scores, least_logit

__all__ = ["SampledProposer", "SampledRefiner"]

Array = NDArray[Any]

GRAY = 127.5  # here the outside of the image is 0 after scaling, which is grey
ROWS = 512  # of the overlap matrix in memory at a time


@dataclass
class SampledProposer(PNetProposer):
    """Stage 1 as in ipazc's mtcnn 1."""

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces (not squared, no landmarks) in image (H, W, 3) uint8, by falling score."""
        level_sizes(ImageSize(*image.shape[:2]), self.min_face, self.scale_factor)  # checks the settings
        found = spread(partial(self._scaled, image), self._scales(min(image.shape[:2])))
        return _suppressed(Faces.concat(found), 0.7)

    def _scales(self, short: int) -> list[float]:
        """Their number depends only on the short side of the image, not on the minimum face size."""
        count = round(math.log(CELL / short) / math.log(self.scale_factor) - 1)
        scales = [CELL / self.min_face * self.scale_factor**k for k in range(count)]
        return [scale for scale in scales if short * scale >= CELL]  # PNet needs as much

    def _scaled(self, image: NDArray[np.uint8], scale: float) -> Faces:
        height, width = (int(side * scale) for side in image.shape[:2])
        level = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        passed = self.cells(level, least_logit(self.threshold))
        scores = face_scores(passed.logits)
        corner = STRIDE * np.stack([passed.columns, passed.rows], axis=1)
        cells = np.concatenate([corner + 1, corner + CELL], axis=1)  # of 11 pixels, counted from 1
        moved = box.decode_offsets(cells, passed.offsets) / scale
        found = Faces(moved.astype(np.float32), scores)[scores > self.threshold]
        return _suppressed(found, 0.5)[: self.per_level]


@dataclass
class SampledRefiner(NetRefiner):
    """Stage 2 or 3 as in ipazc's mtcnn 1."""

    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The faces that stay, by falling score; with landmarks if the net has them."""
        squares = box.square(faces.boxes.astype(np.float64))
        logits, offsets, points = self.raw(image, squares)
        scores = face_scores(logits)
        chosen = np.flatnonzero(scores > self.threshold)
        squares, offsets = squares[chosen], offsets[chosen]
        counted = squares + np.array([0, 0, 1, 1])  # with the last pixel
        landmarks = None if points is None else box.decode_landmarks(counted, points[chosen]) - 1
        moved = squares + offsets * np.tile(counted[:, 2:] - counted[:, :2], 2)
        return _suppressed(Faces(moved, scores[chosen], landmarks), 0.7, "iou" if points is None else "ios")

    def crops(self, image: NDArray[np.uint8], squares: Array, size: int) -> Array:
        """float32 (N, size, size, 3): `size` points a side from edge to edge, each between its four pixels."""
        height, width = image.shape[:2]
        steps = np.arange(size) / (size - 1)
        x = (squares[:, :1] + steps * (squares[:, 2:3] - squares[:, :1])) * (width - 1) / width
        y = (squares[:, 1:2] + steps * (squares[:, 3:] - squares[:, 1:2])) * (height - 1) / height
        left, top = (np.clip(np.floor(at), 0, side - 1).astype(int) for at, side in ((x, width), (y, height)))
        right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
        across, down = (x - left)[:, None, :, None], (y - top)[:, :, None, None]  # (N, 1, S, 1), (N, S, 1, 1)

        def pixels(rows: Array, columns: Array) -> Array:
            return image[rows[:, :, None], columns[:, None, :]].astype(np.float64)  # (N, S, S, 3)

        upper = pixels(top, left) * (1 - across) + pixels(top, right) * across
        lower = pixels(bottom, left) * (1 - across) + pixels(bottom, right) * across
        inside = ((y >= 0) & (y <= height - 1))[:, :, None] & ((x >= 0) & (x <= width - 1))[:, None, :]
        return np.where(inside[..., None], upper * (1 - down) + lower * down, GRAY).astype(np.float32)


def _suppressed(faces: Faces, threshold: float, overlap: Literal["iou", "ios"] = "iou") -> Faces:
    """Faces by descending score, without those that overlap any of higher score by more than `threshold`."""
    faces = faces.sorted()
    measure = box.iou if overlap == "iou" else box.ios
    kept: list[Array] = [np.zeros(0, np.bool_)]
    for start in range(0, len(faces), ROWS):
        boxes = faces.boxes[start : start + ROWS]
        above = np.tril(measure(boxes, faces.boxes[: start + len(boxes)]) > threshold, start - 1)  # the better ones
        kept.append(np.asarray(~above.any(axis=1)))
    return faces[np.concatenate(kept)]
