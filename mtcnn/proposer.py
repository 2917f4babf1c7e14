"""The cascade's first stage: PNet over a pyramid of the image.

Source: Zhang et al. 2016, section II, and `detect_face.m` of the authors' code for the order of the steps. Boxes
are real numbers throughout; nothing is truncated to whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates, PyramidLevel, Step
from .engine.threads import spread, threads
from .nms import nms
from .pyramid import CELL, STRIDE, LevelImage, level_of, level_sizes, levels, map_size
from .runtimes.cascade import Cells, Net, map_runner
from .scoring import logit
from .types import Faces, ImageSize

__all__ = ["PNetProposer"]

Array = NDArray[Any]

ROUNDED = 1e-6  # more than the error of an overlap
BAND_CELLS = 1 << 13  # of a map per thread task


@dataclass
class PNetProposer:
    """Stage 1: PNet over every level of the pyramid.

    NMS within a level at `level_iou`, across levels at `nms_iou`; then boxes are decoded from their offsets.
    `per_level` caps the proposals of a level, best first, so that a low threshold cannot make NMS quadratic in the
    number of pixels.
    """

    net: Net
    min_face: float = 20.0
    scale_factor: float = 0.709
    threshold: float = 0.6
    device: str = "cpu"
    per_level: int = 4000
    level_iou: float = 0.5
    nms_iou: float = 0.7

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces (not squared, no landmarks) in image (H, W, 3) uint8, by descending score."""
        return self._candidates(image, logit(self.threshold)).faces()

    def candidates(self, image: NDArray[np.uint8]) -> Candidates:
        """All cells of all levels, with the steps from them to the faces that a call returns."""
        return self._candidates(image, -math.inf)

    def _candidates(self, image: NDArray[np.uint8], min_logit: float) -> Candidates:
        """The cells whose logit is at least `min_logit`."""
        # Of the levels only their sizes are left, so that their pixels take memory one after the other.
        found = [(_seen(level), cells) for level, cells in self._cells_by_level(image, min_logit)]
        if not found:
            none = np.zeros((0, 4))
            return Candidates(none, none, np.zeros(0), none, (Step("threshold", np.zeros(0, np.int64), 0),))
        seen, by_level = zip(*found, strict=True)
        counts = [len(cells.logits) for cells in by_level]
        level, count = np.repeat(np.arange(len(found)), counts), sum(counts)
        rows, columns, values, moves = (np.concatenate(parts) for parts in zip(*by_level, strict=True))
        corners = STRIDE * np.stack([columns, rows], axis=1)
        grid = np.concatenate([corners, corners + CELL], axis=1).astype(np.float64)
        above = np.flatnonzero(values.astype(np.float64) >= logit(self.threshold))
        inside = above[nms(grid[above], values[above], self.level_iou, limit=self.per_level, groups=level[above])]
        cells = grid * np.array([[step_x, step_y] * 2 for _, step_x, step_y in seen])[level]
        if self._apart([step_x * step_y for _, step_x, step_y in seen]):
            across = inside[np.argsort(-values[inside].astype(np.float64), kind="stable")]
        else:
            across = inside[nms(cells[inside], values[inside], self.nms_iou)]
        steps = (
            Step("threshold", above, count, self.threshold),
            Step("NMS in its level", inside, count, self.level_iou, "boxes", level),
            Step("NMS across levels", across, count, self.nms_iou, "boxes"),
        )
        pyramid = [size for size, _, _ in seen]
        return Candidates(cells, cells, values, moves, steps, level=level, pyramid=pyramid)

    def _apart(self, areas: Sequence[float]) -> bool:
        """Whether NMS across levels can suppress nothing, given the areas of a pixel of each level: cells of two levels
        overlap by the ratio of their areas at most, those of one level by `level_iou`."""
        most = max((min(a, b) / max(a, b) for a, b in pairwise(sorted(areas))), default=0.0)
        return max(most, self.level_iou) < self.nms_iou - ROUNDED

    def cells(self, level: NDArray[Any], min_logit: float, rows: slice = slice(None)) -> Cells:
        """The cells of level (H, W, 3) whose logit is at least `min_logit`, in these rows of the map, row by row."""
        first, last, _ = rows.indices(map_size(ImageSize(*level.shape[:2])).height)
        return map_runner(self.net, self.device).cells(level, min_logit, first, last)

    def _cells_by_level(self, image: NDArray[np.uint8], min_logit: float) -> Iterator[tuple[LevelImage, Cells]]:
        """The levels of the pyramid, each with its cells whose logit is at least `min_logit`."""
        sizes = level_sizes(ImageSize(*image.shape[:2]), self.min_face, self.scale_factor)
        if self.device != "cpu" and sizes:
            pyramid, run = spread(partial(level_of, image), sizes), cast(Any, map_runner(self.net, self.device))
            yield from zip(pyramid, run.pyramid([level.image for level in pyramid], min_logit), strict=True)
        elif threads() == 1:  # one level at a time takes less memory
            for level in levels(image, self.min_face, self.scale_factor):
                yield level, self.cells(level.image, min_logit)
        else:
            pyramid = spread(partial(level_of, image), sizes)
            parts = [(index, rows) for index, size in enumerate(sizes) for rows in _bands(size)]
            found = spread(lambda part: self.cells(pyramid[part[0]].image, min_logit, part[1]), parts)
            for index, level in enumerate(pyramid):
                mine = [cells for (number, _), cells in zip(parts, found, strict=True) if number == index]
                yield level, Cells(*(np.concatenate(values) for values in zip(*mine, strict=True)))


def _seen(level: LevelImage) -> tuple[PyramidLevel, float, float]:
    """The size of a level, and the image pixels of one of its pixels in x and in y."""
    size = PyramidLevel(CELL * (level.step_x + level.step_y) / 2, *level.image.shape[:2])
    return size, level.step_x, level.step_y


def _bands(size: ImageSize) -> list[slice]:
    """Rows of the map of a level of this size, in parts of about equal work."""
    rows, columns = map_size(size)
    step = max(BAND_CELLS // columns, 16)
    return [slice(row, row + step) for row in range(0, rows, step)]
