"""The inside of a stage, laid open: every square its net looked at, the score it got, and which sieve it fell through.

A stage itself keeps no more than it needs. Here its work is done once more, step by step and with everything kept, for
people to look at; what detection finds comes from the stages, not from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..cascade import NetRefiner, PNetProposer
from ..nms import nms
from ..pyramid import CELL, STRIDE, Level, levels
from ..scoring import logit, sigmoid
from ..types import Faces

__all__ = ["Candidates", "PyramidLevel", "Step", "look"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Step:
    """A sieve of a stage, and which of the N candidates are left behind it.

    name   what to call it.    kept  bool (N,); what an earlier step dropped is False here too.
    limit  the least score, or the most overlap.
    boxes  (N, 4) the boxes as they compete in non-maximum suppression, None for other sieves.
    group  int (N,) when only boxes of the same group compete.
    smaller  whether overlap is intersection over the smaller area.
    """

    name: str
    kept: Mask
    limit: float = 0.0
    boxes: Array | None = None
    group: Array | None = None
    smaller: bool = False


class PyramidLevel(NamedTuple):
    """Image pixels that a cell of PNet covers at a level, and the pixels of the level."""

    cell: float
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that the net of one stage looked at.

    boxes   float64 (N, 4): cells of PNet's map, or squares around the faces that a refiner was given; image pixels.
    given   (N, 4): those faces themselves, of which a square may be much larger; the cells again for PNet.
    scores  float64 (N,), as the stage gives them: a refiner's may count what it was given.
    moved   (N, 4): where the net's offsets put them.
    steps   the sieves, in order.
    level   int (N,), index into `pyramid`; empty for refiners, which have none.
    """

    boxes: Array
    given: Array
    scores: Array
    moved: Array
    steps: tuple[Step, ...]
    level: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    pyramid: Sequence[PyramidLevel] = ()


def look(stage: object, image: NDArray[np.uint8], faces: Faces) -> Candidates | None:
    """What a stage sees in image (H, W, 3) when given `faces` (a proposer: none); None for stages of other kinds."""
    if type(stage) is PNetProposer:
        return _look_pnet(stage, image)
    return _look_refiner(stage, image, faces) if type(stage) is NetRefiner else None


def _mask(count: int, index: Array) -> Mask:
    kept = np.zeros(count, bool)
    kept[index] = True
    return kept


def _look_pnet(stage: PNetProposer, image: NDArray[np.uint8]) -> Candidates:
    pyramid, parts = [], []
    for level in levels(image, stage.min_face, stage.scale_factor):
        height, width = level.image.shape[:2]
        pyramid.append(PyramidLevel(CELL * (level.step_x + level.step_y) / 2, height, width))
        parts.append(_cells(stage, level))
    if not parts:
        none = np.zeros((0, 4))
        return Candidates(none, none, np.zeros(0), none, ())
    small, cells, logits, offsets = (np.concatenate(values) for values in zip(*parts, strict=True))
    number = np.repeat(np.arange(len(parts)), [len(part[2]) for part in parts])
    steps = _pnet_steps(stage, small, cells, logits, number)
    return Candidates(cells, cells, sigmoid(logits), box.decode_offsets(cells, offsets), steps, number, pyramid)


def _cells(stage: PNetProposer, level: Level) -> tuple[Array, Array, Array, Array]:
    """Cells (N, 4) in pixels of the level and of the image, logits (N,), offsets (N, 4): the whole map, row by row."""
    cells = stage.cells(level.image, -math.inf)
    corner = STRIDE * np.stack([cells.columns, cells.rows], axis=1)
    small = np.concatenate([corner, corner + CELL], axis=1).astype(np.float64)
    return small, small * np.array([level.step_x, level.step_y] * 2), cells.logits, cells.offsets


def _pnet_steps(stage: PNetProposer, small: Array, cells: Array, logits: Array, number: Array) -> tuple[Step, ...]:
    above = np.asarray(logits >= logit(stage.threshold))
    inside: list[Array] = []
    for level in range(int(number.max()) + 1):
        index = np.flatnonzero(above & (number == level))
        inside.append(index[nms(small[index], logits[index], 0.5, limit=stage.per_level)])
    index = np.concatenate(inside)
    across = index[nms(cells[index], logits[index], 0.7)]
    return (
        Step("threshold", above, stage.threshold),
        Step("NMS in its level", _mask(len(cells), index), 0.5, small, number),
        Step("NMS across levels", _mask(len(cells), across), 0.7, cells),
    )


def _look_refiner(stage: NetRefiner, image: NDArray[np.uint8], faces: Faces) -> Candidates:
    squares = box.square(faces.boxes.astype(np.float64))
    touching = np.asarray(box.areas(box.clip(squares, *image.shape[:2])) > 0)
    own, offsets, points = stage.raw(image, squares)
    logits = stage.fused(own, faces.scores)
    moved = box.decode_offsets(squares, offsets)
    above = touching & (logits > logit(stage.threshold))
    index, last = np.flatnonzero(above), points is not None
    places = moved if last else squares
    best = index[nms(places[index], logits[index], 0.7, overlap="ios" if last else "iou")]
    steps = (
        Step("image border", touching),
        Step("threshold", above, stage.threshold),
        Step("NMS", _mask(len(squares), best), 0.7, places, smaller=last),
    )
    return Candidates(squares, faces.boxes, sigmoid(logits), moved, steps)
