"""Teachers that look twice, at a picture and at its enlargement, and so know of faces that are too small for them.

A detector finds few faces of ten pixels and less. In the enlarged picture they are twice as large, so that the second
look says much better what the student could see. Both are merged into outputs like those of the first look alone: each
anchor, or cell, takes what the second look says of the same place and the same size.

Source: testing at several scales, as in Najibi et al. 2017 (SSH), section 3.5, moved from testing into training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.detectors.anchors import Layout, Level, map_sizes
from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.detectors.point_decoders import YuNetPoints
from mtcnn.scoring import logits_of, sigmoid
from mtcnn.types import ImageSize

__all__ = ["CloserCells", "CloserTeacher", "decoded", "encoded"]

TIMES = 2  # the sides of the enlargement are this many times as long
LEAST = 0.01  # minimum side of a box with a code, in sides of its anchor

Array = NDArray[Any]
Runtime = Callable[[Any], Mapping[str, Any]]
"""A net: image uint8 RGB (H, W, 3) -> its outputs."""


class CloserTeacher:
    """A teacher with anchors: image uint8 RGB (S, S, 3) -> the student's outputs, for sides that are multiples of all
    strides.

    An anchor gets the mean of two scores: that of the first look, and the best one of the anchors of the second look
    that have its size and lie in its cell. Box and landmarks are those of the higher score. The finest anchors also get
    those of half their size, which exist in the second look alone; the largest have the first look only.

    runtime  of the teacher.    own, student  decoders of the two nets.
    """

    def __init__(self, runtime: Runtime, own: SsdCodes | Distances, student: SsdCodes | Distances) -> None:
        self.runtime, self.own, self.student = runtime, own, student

    def anchors(self, size: ImageSize) -> NDArray[np.float32]:
        """Anchors float32 (A, 4) by which the teacher learned which row a face belongs to."""
        return self.own.anchors(size)

    def __call__(self, image: NDArray[np.uint8]) -> Mapping[str, Any]:
        size, closer = _sizes(image)
        first, second = self.runtime(image), self.runtime(_enlarged(image))
        logits, later = np.array(self.own.logits(first), np.float32), self.own.logits(second)
        best = _best_rows(later, _places(size, self.own.layout), len(logits))
        known = np.flatnonzero(best >= 0)
        scores = (sigmoid(logits[known]) + sigmoid(later[best[known]])) / 2
        moved = known[later[best[known]] > logits[known]]
        logits[known] = logits_of(scores)
        boxes, landmarks = decoded(self.own, first, size, np.arange(len(logits)))
        boxes[moved], landmarks[moved] = (value / TIMES for value in decoded(self.own, second, closer, best[moved]))
        boxes, landmarks = encoded(self.student, size, boxes, landmarks)
        outputs = {self.student.names[0]: logits, self.student.names[1]: boxes}
        return {**outputs, "landmarks": landmarks} if "landmarks" in first else outputs


class CloserCells:
    """YuNet as the teacher of a YuNet: image uint8 RGB (S, S, 3) -> its outputs, for sides that are multiples of all
    strides.

    A cell has the outputs of the look with the higher score. The mean of both scores, for which the two factors of a
    score would have to be divided, is no better (docs/results.md).
    """

    def __init__(self, runtime: Runtime, decoder: YuNetPoints) -> None:
        self.runtime, self.decoder = runtime, decoder
        self.layout = tuple(Level(stride, (float(stride),)) for stride in decoder.strides)

    def __call__(self, image: NDArray[np.uint8]) -> Mapping[str, Any]:
        size, closer = _sizes(image)
        first, second = self.runtime(image), self.runtime(_enlarged(image))
        logits, later = self.decoder.logits(first), self.decoder.logits(second)
        best = _best_rows(later, _places(size, self.layout), len(logits))
        known = np.flatnonzero(best >= 0)
        moved = known[later[best[known]] > logits[known]]
        boxes, landmarks = (value / TIMES for value in decoded(self.decoder, second, closer, best[moved]))
        codes = dict(zip(("boxes", "landmarks"), self.decoder.encode(size, moved, boxes, landmarks), strict=True))
        outputs = {name: np.array(values, np.float32) for name, values in first.items()}
        for name, values in outputs.items():
            values[moved] = codes[name] if name in codes else second[name][best[moved]]
        return outputs


def encoded(student: SsdCodes | Distances, size: ImageSize, boxes: Array, landmarks: Array) -> tuple[Array, Array]:
    """The student's codes for boxes (A, 4) and landmarks (A, 5, 2), one for each anchor.

    Far from faces the distances of SCRFD may be negative. Such boxes, which are turned inside out and have no code
    relative to an anchor, become boxes of hardly any size.
    """
    if isinstance(student, SsdCodes):
        anchors = student.anchors(size)
        least = boxes[:, :2] + LEAST * (anchors[:, 2:] - anchors[:, :2])
        boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], least)], axis=1)
    return student.encode(size, np.arange(len(boxes)), boxes, landmarks)


def _sizes(image: Array) -> tuple[ImageSize, ImageSize]:
    height, width = image.shape[:2]
    return ImageSize(height, width), ImageSize(TIMES * height, TIMES * width)


def _enlarged(image: Array) -> Array:
    return cv2.resize(image, (TIMES * image.shape[1], TIMES * image.shape[0]), interpolation=cv2.INTER_LINEAR)


def decoded(decoder: Decoder, outputs: Mapping[str, Any], size: ImageSize, rows: Array) -> tuple[Array, Array]:
    """Boxes (R, 4) and landmarks (R, 5, 2) of the rows, the latter 0 where the teacher has none."""
    points = decoder.landmarks(outputs, size, rows) if "landmarks" in outputs else None
    points = np.zeros((len(rows), 5, 2), np.float32) if points is None else points
    return decoder.boxes(outputs, size, rows), points


@lru_cache(maxsize=8)
def _places(size: ImageSize, layout: Layout) -> NDArray[np.int64]:
    """For each anchor of the enlargement the row of the picture's anchor that it counts for, int64; -1 for none."""
    first, starts, finest = 0, {}, min(side for level in layout for side in level.sizes)
    for (rows, columns), level in zip(map_sizes(*size, layout), layout, strict=True):
        starts.update({side: (first + k, level, rows, columns) for k, side in enumerate(level.sizes)})
        first += rows * columns * len(level.sizes)
    found = []
    for (rows, columns), level in zip(map_sizes(TIMES * size.height, TIMES * size.width, layout), layout, strict=True):
        y, x = ((np.arange(count) + 0.5) * level.stride / TIMES for count in (rows, columns))
        cells = np.full((rows, columns, len(level.sizes)), -1)
        for k, side in enumerate(level.sizes):
            if (wanted := max(side / TIMES, finest)) in starts:
                row, coarse, height, width = starts[wanted]
                i, j = (np.minimum(values // coarse.stride, count - 1) for values, count in ((y, height), (x, width)))
                cells[:, :, k] = row + (i[:, None] * width + j) * len(coarse.sizes)
        found.append(cells.reshape(-1))
    return np.concatenate(found)


def _best_rows(logits: Array, places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` anchors the row of the highest of the logits (A,) with its place, the first one of equal
    ones; -1 where no row has its place."""
    order = np.argsort(-logits, kind="stable")[::-1]  # of several rows with a place, the last one stays
    order = order[places[order] >= 0]
    best = np.full(count, -1)
    best[places[order]] = order
    return best
