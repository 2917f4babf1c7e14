"""The teacher of a training: a net of the student's anchors, whose outputs are given in the student's codes.

Two nets have the same anchors if every cell of every map has as many, of the same sizes. Where in its cell a net has
them is a convention of its codes: row by row, both look at the same part of the picture.

YuNet, which has no anchors, teaches nets whose maps have its strides: all anchors of a cell learn what it says there.

A teacher may look at a picture twice, the second time enlarged: see `closer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import read
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.anchors import map_sizes
from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.detectors.load import load_runtime
from mtcnn.detectors.point_decoders import YuNetPoints
from mtcnn.errors import CheckpointError
from mtcnn.types import ImageSize

from .closer import CloserCells, CloserTeacher, decoded, encoded

__all__ = ["CellTeacher", "RecodedTeacher", "load_teacher"]


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
        boxes, landmarks = encoded(self.student, size, found.boxes, points)
        outputs = {self.student.names[0]: found.logits, self.student.names[1]: boxes}
        return outputs if found.landmarks is None else {**outputs, "landmarks": landmarks}


class CellTeacher:
    """YuNet as the teacher of a net with anchors at its strides: image uint8 RGB (S, S, 3) -> the student's outputs.

    runtime  of the teacher: the same image -> its outputs.    own, student  decoders of the two nets.
    """

    has_anchors = False  # labels, which belong to anchors of their size, can't be mixed with its answers

    def __init__(self, runtime: Any, own: YuNetPoints, student: SsdCodes | Distances) -> None:
        self.runtime, self.own, self.student = runtime, own, student

    def __call__(self, image: NDArray[np.uint8]) -> Mapping[str, Any]:
        size = ImageSize(*image.shape[:2])
        found = self.runtime(image)
        boxes, points = decoded(self.own, found, size, np.arange(len(found["boxes"])))
        counts = [height * width for height, width in map_sizes(*size, self.student.layout)]
        times = np.repeat([len(level.sizes) for level in self.student.layout], counts)
        cells = np.repeat(np.arange(len(boxes)), times)
        boxes, landmarks = encoded(self.student, size, boxes[cells], points[cells])
        outputs = {self.student.names[0]: self.own.logits(found)[cells], self.student.names[1]: boxes}
        return {**outputs, "landmarks": landmarks} if "landmarks" in found else outputs


def load_teacher(path: Path, net: str, closer: bool = False) -> Any:
    """The teacher with the weights at `path` for a student `net`: image uint8 RGB (S, S, 3) -> outputs in the codes of
    the student, without landmarks where the teacher has learned none.

    closer  whether it looks at the enlarged picture too.

    Raises CheckpointError for a damaged file, and for a net whose anchors are others, or that can't look closer.
    """
    name = read(path).net
    if name not in DETECTORS:
        return load_runtime(path, net)  # raises, with the name of what is expected
    own, student = DETECTORS[name].decoder, DETECTORS[net].decoder
    if (name == net or own == student) and not closer:
        return load_runtime(path, name)
    if name == net and isinstance(own, YuNetPoints):
        return CloserCells(load_runtime(path, name), own)
    strides = [level.stride for level in _layout(student) or ()]
    if isinstance(own, YuNetPoints) and isinstance(student, SsdCodes | Distances) and [*own.strides] == strides:
        runtime = load_runtime(path, name)
        return CellTeacher(CloserCells(runtime, own) if closer else runtime, own, student)
    same = _layout(own) is not None and _layout(own) == _layout(student)
    if not (same and isinstance(own, SsdCodes | Distances) and isinstance(student, SsdCodes | Distances)):
        wanted = (
            "a net with anchors or YuNet for a closer look"
            if name == net
            else f"{net}, or a net with the same anchors,"
        )
        raise CheckpointError(f"{path} holds {name}; expected {wanted} as its teacher")
    runtime = load_runtime(path, name)
    return CloserTeacher(runtime, own, student) if closer else RecodedTeacher(runtime, own, student)


def _layout(decoder: Decoder) -> Any:
    return getattr(decoder, "layout", None)
