"""What a stage looks at, and the step at which each candidate is dropped.

A stage works by filling a `Candidates` and returning its `faces`. In a detection it holds no more than is needed for
that; a trace asks the same code for all candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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

    name     what to call it.        left  int (K,): indices of the `count` candidates that are left behind it.
    limit    the threshold, the NMS IoU, or how many may be left.
    rivals   for NMS: which boxes of the candidates compete, "boxes" or "moved".
    group    int (count,) where only candidates of the same group compete.
    smaller  whether overlap is intersection over the smaller area.
    """

    name: str
    left: Array
    count: int
    limit: float = 0.0
    rivals: Literal["boxes", "moved"] | None = None
    group: Array | None = None
    smaller: bool = False

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """bool (count,); what an earlier step dropped is False here too."""
        kept = np.zeros(self.count, bool)
        kept[self.left] = True
        return kept


class PyramidLevel(NamedTuple):
    """Image pixels that a cell of PNet covers at a level, and the pixels of the level."""

    cell: float
    height: int
    width: int


def _none(_: Array) -> None:
    return None


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a stage looks at, and how it comes to its faces.

    boxes    (N, 4) xyxy, image pixels: cells of PNet's map, squares around the faces that a refiner is given, or the
             boxes that a single-stage detector predicts.
    given    (N, 4): the faces that a refiner is given, of which a square may be much larger; elsewhere the boxes again.
    logits   (N,) of the stage's scores, which may count those of the stage before.
    offsets  (N, 4): where the net moves the boxes, see `boxes.decode_offsets`; None leaves them.
    steps    in order. The last one's `left` is in the order of the faces.
    landmarks  of some candidates: indices (K,) -> (K, 5, 2), image pixels, or None.
    level    int (N,), index into `pyramid`; both empty where there is none.
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
        """float64 (N,); 0 for what the net is not shown."""
        with np.errstate(over="ignore"):  # of a logit of minus infinity
            return sigmoid(self.logits)

    @cached_property
    def moved(self) -> Array:
        """(N, 4): where the net's offsets put the boxes."""
        return self._moved(np.arange(len(self.boxes)))

    def faces(self) -> Faces:
        """What is left after the last step, by falling score."""
        left = self.steps[-1].left
        return Faces(self._moved(left), sigmoid(self.logits[left]), self.landmarks(left))

    def _moved(self, index: Array) -> Array:
        return self.boxes[index] if self.offsets is None else box.decode_offsets(self.boxes[index], self.offsets[index])
