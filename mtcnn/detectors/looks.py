"""Multi-scale detection with single-stage detectors: the sizes at which a photo is processed, and the merged result.

A net finds faces up to about the size of its largest anchor; in a larger face it finds eyes and noses that look like
faces. So a photo with room for larger faces is also processed at smaller sizes, as often as necessary (`views`), and
`merge` combines the results. Each size is called a look. Photos of many megapixels are cut into overlapping tiles, to
bound memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..candidates import Candidates, Step
from ..nms import nms
from ..settings import Range
from ..types import ImageSize

__all__ = ["ENLARGE", "MAX_SIDE", "View", "confirmed", "covered", "merge", "views"]

Array = NDArray[Any]

COARSER = 4  # scale between looks: the next has a sixteenth of the pixels, and takes a sixteenth of the time
# A look is responsible for boxes of up to FINER times the side of the largest anchor, the next, coarser look for boxes
# from BEGINS times on. At larger sizes, smooth parts of faces and backgrounds look like faces to a net.
FINER, BEGINS = 0.75, 0.5
REACH = math.sqrt(2)  # a net finds squares of up to this many sides of its largest anchor: their IoU is 0.5
LONGEST = 1.5  # height of a face over its width, rarely more

INSIDE = 0.5  # a box with this share inside a face is a part of that face
PART = 0.5  # maximum area of a part, as a share of the face's: a larger box may be the face itself, left to NMS
CONFIDENT = 0.0  # minimum logit of a face that may have parts
SAME = 0.3  # minimum IoU of the boxes of one face in two looks

MAX_SIDE = Range(min=32)  # pixels; a smaller image shows no face
ENLARGE = Range(min=1, max=8)  # times; the eightfold of a face of two pixels is still none

TILED = 25_000_000  # a look with more pixels is cut into tiles
TILE = 3072  # side of a tile, pixels
GRID = 128  # tiles begin at multiples of the largest stride, so that a net computes the same as on the whole image


class Span(NamedTuple):
    """A tile along one axis: its pixels, and the range of face centres that it is responsible for."""

    start: int
    end: int
    first: float
    last: float


@dataclass(frozen=True)
class View:
    """One input of the net: a look, or a tile of it.

    look            its number, 0 for the finest.     size  of the whole photo in this look, pixels.
    rows, columns   the tile, pixels of the look.
    smallest, largest  range of the longer side of boxes, pixels of the photo.
    """

    look: int
    size: ImageSize
    rows: Span
    columns: Span
    smallest: float = 0.0
    largest: float = math.inf

    def of(self, look: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view's part of its look (H, W, 3)."""
        part = look[self.rows.start : self.rows.end, self.columns.start : self.columns.end]
        return part if part.shape == look.shape else np.ascontiguousarray(part)

    def in_photo(self, seen: Candidates, photo: ImageSize) -> Candidates:
        """Convert candidates from pixels of the view to pixels of the photo."""
        if self.size == photo and not self.rows.start and not self.columns.start:
            return seen
        corner = np.array([self.columns.start, self.rows.start], np.float32)
        step = np.array([photo.width / self.size.width, photo.height / self.size.height], np.float32)
        moved = (seen.boxes + np.tile(corner, 2)) * np.tile(step, 2)

        def landmarks(index: Array) -> Array | None:
            points = seen.landmarks(index)
            return None if points is None else (points + corner) * step

        return Candidates(moved, moved, seen.logits, None, seen.steps, landmarks)

    def owns(self, boxes: Array, photo: ImageSize) -> NDArray[np.bool_]:
        """Whether the centres of boxes (N, 4), pixels of the photo, are nearer to this tile's centre than to others."""
        x = (boxes[:, 0] + boxes[:, 2]) / 2 * (self.size.width / photo.width)
        y = (boxes[:, 1] + boxes[:, 3]) / 2 * (self.size.height / photo.height)
        rows, columns = self.rows, self.columns
        return np.asarray((columns.first <= x) & (x < columns.last) & (rows.first <= y) & (y < rows.last))


def views(
    photo: ImageSize, max_face: float, max_side: float | None = None, coarse: bool = True, enlarge: float = 1.0
) -> list[View]:
    """The inputs for a photo of this size, for a net whose largest anchor has sides of `max_face` pixels.

    The first look is the photo, its sides `enlarge` times as long, but at most `max_side`. If `coarse`, each further
    look has a quarter of the sides of the one before, until the largest face for which the photo has room is within
    REACH. The size ranges of consecutive looks overlap.
    """
    return list(_views(photo, max_face, max_side, coarse, enlarge, TILED, TILE))


@lru_cache(maxsize=8)  # a folder, or a video, has photos of a few sizes
def _views(
    photo: ImageSize, max_face: float, max_side: float | None, coarse: bool, enlarge: float, tiled: int, tile: int
) -> tuple[View, ...]:
    """See `views`, TILED and TILE."""
    factor = enlarge if max_side is None else min(enlarge, max_side / max(photo))
    room = min(max(photo), LONGEST * min(photo))
    found: list[View] = []
    look, smallest = 0, 0.0
    while True:
        last = not coarse or room * factor <= REACH * max_face
        sizes = smallest, math.inf if last else FINER * max_face / factor
        found += _tiles(look, _scaled(photo, factor), max_face, *sizes, tiled, tile)
        if last:
            return tuple(found)
        look, smallest, factor = look + 1, BEGINS * max_face / factor, factor / COARSER


def _scaled(size: ImageSize, factor: float) -> ImageSize:
    return ImageSize(*(max(1, round(side * factor)) for side in size))


def _tiles(
    look: int, size: ImageSize, max_face: float, smallest: float, largest: float, tiled: int, tile: int
) -> Iterator[View]:
    # Each face that this look is responsible for lies completely within some tile.
    overlap = math.ceil(REACH * max_face) if size.height * size.width > tiled else None
    rows, columns = (_spans(side, overlap, tile) for side in size)
    yield from (View(look, size, row, column, smallest, largest) for row in rows for column in columns)


def _spans(side: int, overlap: int | None, tile: int) -> list[Span]:
    """Tiles along an axis of `side` pixels, with an overlap of `overlap` pixels; None for a single tile."""
    if overlap is None or side <= tile:
        return [Span(0, side, -math.inf, math.inf)]
    step = max((tile - overlap) // GRID * GRID, GRID)
    starts = list(range(0, side - overlap, step))
    ends = [min(start + tile, side) for start in starts]
    cuts = [-math.inf, *((end + start) / 2 for end, start in zip(ends, starts[1:], strict=False)), math.inf]
    return [
        Span(start, end, first, last) for start, end, (first, last) in zip(starts, ends, pairwise(cuts), strict=True)
    ]


# ---- merging

_OF_LOOKS = ("smallest", "largest", "look")


def merge(parts: Sequence[Candidates], seen: Sequence[View], photo: ImageSize, nms_iou: float) -> Candidates:
    """Merge the candidates of all views `seen`, in pixels of the photo.

    After the steps of each view, boxes of a neighbouring tile, boxes of a size outside the look's range, boxes that the
    coarser look does not confirm (`confirmed`), and parts of faces (`covered`) are dropped; then NMS keeps the best box
    of each face.
    """
    counts = [len(part.logits) for part in parts]
    starts = np.cumsum([0, *counts])
    view = np.repeat(np.arange(len(parts)), counts)
    boxes, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "logits"))
    steps = [_joined(each, starts, view) for each in zip(*(part.steps for part in parts), strict=True)]

    def keep(name: str, among: Array, mask: Array, limit: float = 0.0) -> Array:
        left = among[mask]
        steps.append(Step(name, left, len(logits), limit))
        return left

    left = steps[-1].left
    if any(math.isfinite(edge) for each in seen for edge in (*each.rows[2:], *each.columns[2:])):
        own = [each.owns(part.boxes, photo) for each, part in zip(seen, parts, strict=True)]
        left = keep("tile", left, np.concatenate(own)[left])
    sides = (boxes[left, 2:] - boxes[left, :2]).max(axis=1, initial=0)
    smallest, largest, look = (np.array([getattr(each, name) for each in seen]) for name in _OF_LOOKS)
    right = (smallest[view[left]] <= sides) & (sides <= largest[view[left]])
    sure = confirmed(boxes[left], look[view[left]], smallest[np.searchsorted(look, range(look.max() + 1))])
    left, sure = keep("size for its look", left, right), sure[right]
    left = keep("coarser look", left, sure, SAME)
    left = keep("parts of faces", left, ~covered(boxes[left], logits[left], look[view[left]]), INSIDE)
    left = left[nms(boxes[left], logits[left], nms_iou)]
    steps.append(Step("NMS across looks", left, len(logits), nms_iou, "boxes"))
    points = partial(_landmarks, parts, starts, view)
    return Candidates(boxes, boxes, logits, None, tuple(steps), points)


def confirmed(boxes: Array, look: Array, smallest: Array) -> NDArray[np.bool_]:
    """Which of boxes (N, 4) the next coarser look has too, if it sees faces of their size.

    look  int (N,).    smallest  (L,), the side of the smallest faces that each look sees. In photos without detail, as
    of enlarged faces, the finer look finds faces in smooth parts, the coarser one does not.
    """
    found = np.ones(len(boxes), bool)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    for level in range(1, len(smallest)):
        finer = np.flatnonzero((look == level - 1) & (sides >= smallest[level]))
        found[finer] = (box.iou(boxes[finer], boxes[look == level]) >= SAME).any(axis=1)
    return found


def covered(boxes: Array, logits: Array, look: Array) -> NDArray[np.bool_]:
    """Which of boxes (N, 4) are parts of a face from a coarser look: a share of at least INSIDE lies in a CONFIDENT
    face of a coarser look, and the area is at most PART of that face's. look  int (N,)."""
    found = np.zeros(len(boxes), bool)
    areas = box.areas(boxes)
    for level in range(1, int(look.max(initial=0)) + 1):
        faces, finer = np.flatnonzero((look == level) & (logits >= CONFIDENT)), np.flatnonzero(look < level)
        overlap = box.ios(boxes[finer], boxes[faces])
        small = areas[finer, None] <= PART * areas[None, faces]
        found[finer] |= (small & (overlap >= INSIDE)).any(axis=1)
    return found


def _joined(steps: Sequence[Step], starts: Array, view: Array) -> Step:
    """Combine the same step of all views; boxes only compete within their view."""
    left = np.concatenate([start + step.left for start, step in zip(starts, steps, strict=False)])
    one = steps[0]
    return Step(one.name, left, len(view), one.limit, one.rivals, view if one.rivals else None, one.smaller)


def _landmarks(parts: Sequence[Candidates], starts: Array, view: Array, index: Array) -> Array | None:
    found: Array | None = None
    for number, part in enumerate(parts):
        mine = view[index] == number
        points = part.landmarks(index[mine] - starts[number])
        if points is None:
            return None
        if found is None:
            found = np.empty((len(index), *points.shape[1:]), points.dtype)
        found[mine] = points
    return found
