"""The teacher of a training: a net of the student's anchors, whose outputs are given in the student's codes.

Two nets have the same anchors if every cell of every map has as many, of the same sizes. Where in its cell a net has
them is a convention of its codes: row by row, both look at the same part of the picture.

A teacher may look at a picture twice, the second time enlarged (`CloserTeacher`): it then knows of faces that are too
small for it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import read
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.anchors import Layout, map_sizes
from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.detectors.load import load_runtime
from mtcnn.errors import CheckpointError
from mtcnn.scoring import logits_of, sigmoid
from mtcnn.types import ImageSize

__all__ = ["CloserTeacher", "RecodedTeacher", "load_teacher"]

TIMES = 2  # the picture's sides are this many times as long in the second look


class RecodedTeacher:
    """A net as the teacher of one with other codes: image uint8 RGB (S, S, 3) -> outputs as the student's.

    runtime  of the teacher: the same image -> its outputs.    own, student  decoders of the two nets.
    """

    def __init__(self, runtime: Any, own: SsdCodes | Distances, student: SsdCodes | Distances) -> None:
        self.runtime, self.own, self.student = runtime, own, student

    def anchors(self, size: ImageSize) -> NDArray[np.float32]:
        """Anchors float32 (A, 4) by which the teacher learned which row a face belongs to."""
        return self.own.anchors(size)

    def __call__(self, image: NDArray[np.uint8]) -> Mapping[str, Any]:
        size = ImageSize(*image.shape[:2])
        found = self.own.decode(self.runtime(image), size)
        rows = np.arange(len(found.logits))
        points = np.zeros((len(rows), 5, 2), np.float32) if found.landmarks is None else found.landmarks
        boxes, landmarks = self.student.encode(size, rows, found.boxes, points)
        outputs = {self.student.names[0]: found.logits, self.student.names[1]: boxes}
        return outputs if found.landmarks is None else {**outputs, "landmarks": landmarks}


class CloserTeacher:
    """A teacher that looks twice, at the picture and at its enlargement: image uint8 RGB (S, S, 3) -> the student's
    outputs, for sides that are multiples of all strides.

    An anchor gets the mean of two scores: that of the first look, and the best one of the anchors of the second look
    that have its size and lie in its cell. Box and landmarks are those of the higher score. The finest anchors also get
    those of half their size, which exist in the second look alone; the largest have the first look only.

    runtime  of the teacher: an image -> its outputs.    own, student  decoders of the two nets.

    Source: testing at several scales, as in Najibi et al. 2017 (SSH), section 3.5, moved from testing into training.
    """

    def __init__(
        self, runtime: Callable[[Any], Mapping[str, Any]], own: SsdCodes | Distances, student: SsdCodes | Distances
    ) -> None:
        self.runtime, self.own, self.student = runtime, own, student

    def anchors(self, size: ImageSize) -> NDArray[np.float32]:
        """Anchors float32 (A, 4) by which the teacher learned which row a face belongs to."""
        return self.own.anchors(size)

    def __call__(self, image: NDArray[np.uint8]) -> Mapping[str, Any]:
        size = ImageSize(*image.shape[:2])
        closer = ImageSize(TIMES * size.height, TIMES * size.width)
        enlarged = cv2.resize(image, (closer.width, closer.height), interpolation=cv2.INTER_LINEAR)
        first, second = self.runtime(image), self.runtime(enlarged)
        logits, later = np.array(self.own.logits(first), np.float32), self.own.logits(second)
        best = _best_rows(later, _places(size, self.own.layout), len(logits))
        known = np.flatnonzero(best >= 0)
        scores = (sigmoid(logits[known]) + sigmoid(later[best[known]])) / 2
        moved = known[later[best[known]] > logits[known]]
        logits[known] = logits_of(scores)
        boxes, landmarks = self._decoded(first, size, np.arange(len(logits)))
        boxes[moved], landmarks[moved] = (values / TIMES for values in self._decoded(second, closer, best[moved]))
        boxes, landmarks = self.student.encode(size, np.arange(len(logits)), boxes, landmarks)
        outputs = {self.student.names[0]: logits, self.student.names[1]: boxes}
        return {**outputs, "landmarks": landmarks} if "landmarks" in first else outputs

    def _decoded(self, outputs: Mapping[str, Any], size: ImageSize, rows: Any) -> tuple[Any, Any]:
        """Boxes (R, 4) and landmarks (R, 5, 2) of the rows, the latter 0 where the teacher has none."""
        points = self.own.landmarks(outputs, size, rows)
        points = np.zeros((len(rows), 5, 2), np.float32) if points is None else points
        return self.own.boxes(outputs, size, rows), points


@lru_cache(maxsize=8)
def _places(size: ImageSize, layout: Layout) -> NDArray[np.int64]:
    """For each anchor of the enlarged picture the row of the anchor that its score counts for, int64; -1 for none."""
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


def _best_rows(logits: NDArray[np.float32], places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` anchors the row of the highest of the logits (A,) with its place, the first one of equal
    ones; -1 where no row has its place."""
    order = np.argsort(-logits, kind="stable")[::-1]  # of several rows with a place, the last one stays
    order = order[places[order] >= 0]
    best = np.full(count, -1)
    best[places[order]] = order
    return best


def load_teacher(path: Path, net: str, closer: bool = False) -> Any:
    """The teacher with the weights at `path` for a student `net`: image uint8 RGB (S, S, 3) -> outputs in the codes of
    the student, without landmarks where the teacher has learned none.

    closer  whether it looks at the enlarged picture too, see `CloserTeacher`.

    Raises CheckpointError for a damaged file, and for a net whose anchors are others, or that has none for `closer`.
    """
    name = read(path).net
    if name not in DETECTORS:
        return load_runtime(path, net)  # raises, with the name of what is expected
    own, student = DETECTORS[name].decoder, DETECTORS[net].decoder
    if (name == net or own == student) and not closer:
        return load_runtime(path, name)
    same = _layout(own) is not None and _layout(own) == _layout(student)
    if not (same and isinstance(own, SsdCodes | Distances) and isinstance(student, SsdCodes | Distances)):
        wanted = "a net with anchors for a closer look" if name == net else f"{net}, or a net with the same anchors,"
        raise CheckpointError(f"{path} holds {name}; expected {wanted} as its teacher")
    runtime = load_runtime(path, name)
    return CloserTeacher(runtime, own, student) if closer else RecodedTeacher(runtime, own, student)


def _layout(decoder: Decoder) -> Any:
    return getattr(decoder, "layout", None)
