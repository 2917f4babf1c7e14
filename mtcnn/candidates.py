"""The candidates of a stage, and the step at which each one is dropped.

A stage fills a `Candidates` and returns its `faces`. Detection fills in only what it needs; a trace asks the same code
for all candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import boxes as box
from .scoring import sigmoid
from .types import Faces

__all__ = ["Candidates", "PyramidLevel", "Step"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Step:
    """A step that drops candidates.

    name     for display.            left  int (K,): indices of the candidates, of `count`, that pass this step.
    limit    the threshold, the NMS IoU, or the maximum number that may pass.
    rivals   for NMS: which boxes are compared: "boxes", "moved", or "squares" around `given`.
    group    int (count,): NMS compares only candidates of the same group.
    smaller  whether overlap is intersection over the smaller area.
    """

    name: str
    left: Array
    count: int
    limit: float = 0.0
    rivals: Literal["boxes", "moved", "squares"] | None = None
    group: Array | None = None
    smaller: bool = False

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """bool (count,); candidates dropped by an earlier step are False as well."""
        kept = np.zeros(self.count, bool)
        kept[self.left] = True
        return kept


class PyramidLevel(NamedTuple):
    """Image pixels covered by a PNet cell at a level, and the size of the level in pixels."""

    cell: float
    height: int
    width: int


def _none(_: Array) -> None:
    return None


def _of(points: Array | None, index: Array) -> Array | None:
    return None if points is None else points[index]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a stage, and the steps from them to its faces.

    boxes    (N, 4) xyxy, image pixels: cells of PNet's map, squares around the input faces of a refiner with the
             context that its net sees, or the boxes that a single-stage detector predicts.
    given    (N, 4): the input faces of a refiner, whose squares may be much larger; otherwise the boxes again.
    logits   (N,) of the stage's scores, which may include the previous stage's logits.
    offsets  (N, 4): predicted regression of the boxes, see `boxes.decode_offsets`; None leaves them.
    steps    in order. `left` of the last step is in the order of the faces.
    landmarks  function: indices (K,) -> (K, 5, 2), image pixels, or None.
    level    int (N,), index into `pyramid`; both empty without a pyramid.
    """

    boxes: Array
    given: Array
    logits: Array
    offsets: Array | None
    steps: tuple[Step, ...]
    landmarks: Callable[[Array], Array | None] = _none
    level: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    pyramid: Sequence[PyramidLevel] = ()

    @cached_property
    def scores(self) -> Array:
        """float64 (N,); 0 for candidates that the net never sees."""
        with np.errstate(over="ignore"):  # of a logit of minus infinity
            return sigmoid(self.logits)

    @cached_property
    def moved(self) -> Array:
        """(N, 4): the boxes after regression."""
        return self._moved(np.arange(len(self.boxes)))

    def rivals(self, step: Step) -> Array:
        """The boxes (N, 4) that an NMS compares."""
        if step.rivals == "squares":
            return box.square(self.given)
        return self.moved if step.rivals == "moved" else self.boxes

    def faces(self) -> Faces:
        """The candidates that pass the last step, by descending score."""
        left = self.steps[-1].left
        return Faces(self._moved(left), sigmoid(self.logits[left]), self.landmarks(left))

    def settled(self) -> Candidates:
        """What is left after the last step alone, landmarks computed: it needs no outputs of a net any more."""
        left, count = self.steps[-1].left, len(self.steps[-1].left)
        points, boxes, index = self.landmarks(left), self._moved(left), np.arange(count)
        steps = tuple(replace(step, left=index, count=count, group=None) for step in self.steps)
        return Candidates(boxes, boxes, self.logits[left], None, steps, lambda some: _of(points, some))

    def _moved(self, index: Array) -> Array:
        return self.boxes[index] if self.offsets is None else box.decode_offsets(self.boxes[index], self.offsets[index])
