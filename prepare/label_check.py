"""Checks labels against their photos: boxes that cannot be right are ignored in training, and reported.

Label formats do not state their units. Relative coordinates, pixels of a resized photo, corners instead of a width: all
are plausible rows of numbers, and all would train real faces as background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.errors import DataError
from mtcnn.types import ImageSize

from .photo_sizes import PhotoSizes
from .records import ImageRecord

__all__ = ["Fit", "compare", "fit"]

Array = NDArray[Any]

INSIDE = 0.5  # minimum share of a box inside its photo; of a face cut by the border the visible part is labelled
SMALLEST = 1.0  # pixels of the longer side; smaller boxes are relative coordinates, or nothing
HARDLY_ANY = 0.2  # minimum share of boxes of a source that fit; below it, those fit by chance
MANY, SOME = 0.02, 5  # share and number of boxes that do not fit; of WIDER FACE's it is one in 26,000
ENOUGH, END = 100, 0.55  # of so many boxes one reaches the right or lower end of its photo, if their units are pixels
UNITS = {"wider": "x y w h", "retinaface": "x y w h", "labelv2": "x1 y1 x2 y2", "voc": "xmin ymin xmax ymax",
         "points": "x1 y1 x2 y2", "coco": "x y width height",
         "celeba": "x y width height", "labelme": "points", "fddb": "radii, angle, x and y"}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """The usable records of a source, and a summary of its content.

    records  the input records; boxes that do not fit are ignored, or, if their place is unknown, the whole background.
    faces    boxes, including ignored ones; for points without a box, the rectangle around the points.
    dropped  reason why boxes do not fit -> count.
    sides    float64 (F,): longer sides of the boxes that fit, pixels.
    ignored  bool (F,): those of them that are ignore regions by their labels.
    reach    how far boxes reach into photos of known size: the largest share of a width or a height, 0 without boxes.
    """

    records: list[ImageRecord]
    faces: int
    dropped: dict[str, int]
    photos: str
    sizes: str
    sides: Array
    ignored: Array
    reach: float = 0.0

    @property
    def line(self) -> str:
        """One line about the source."""
        text = f"{len(self.records)} photos{self.photos}, {self.faces} faces{self.sizes}"
        if self.ignored.any():
            text += f", {self.ignored.sum()} of them ignored"
        if not self.dropped:
            return text
        why = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return f"{text}; {sum(self.dropped.values())} do not fit and are left out: {why}"

    def fault(self, spec: str) -> str:
        """Why the source `spec` cannot be used, in one line: hardly any box fits. "" where it can."""
        if not self.faces or len(self.sides) >= HARDLY_ANY * self.faces:
            return ""
        return f"{spec}: {self.line}; {_question(spec)}"

    def doubt(self, spec: str) -> str:
        """What is odd about all labels of the source `spec`, in one line: their units may be others.

        "" where nothing is, or where it is a `fault`.
        """
        dropped = sum(self.dropped.values())
        if dropped >= SOME and dropped > MANY * self.faces and not self.fault(spec):
            return f"{dropped} of {self.faces} boxes do not fit; {_question(spec)}"
        if len(self.sides) >= ENOUGH and 0 < self.reach < END:
            return f"no box reaches beyond {self.reach:.0%} of the width or height of its photo; {_question(spec)}"
        return ""


def _question(spec: str) -> str:
    if spec.partition(":")[0] == "yolo":
        return "are these centre, width and height as shares of these photos?"
    return f"are these {UNITS.get(spec.partition(':')[0], 'the coordinates')} in pixels of these photos?"


def fit(records: Sequence[ImageRecord], spec: str, photo_sizes: PhotoSizes | None = None) -> Fit:
    """`compare` the labels of a source, `spec` in messages. Raises DataError when hardly any box fits."""
    result = compare(records, photo_sizes)
    if fault := result.fault(spec):
        raise DataError(fault)
    return result


def compare(records: Sequence[ImageRecord], photo_sizes: PhotoSizes | None = None) -> Fit:
    """Compare labels with the sizes of their photos.

    photo_sizes  gives these; None opens every photo.

    A box that lies mostly outside its photo, is empty, or has swapped corners becomes an ignore region. If it covers
    nothing of the photo, the photo gives no background at all. Unreadable photos are left unchanged.
    """
    paths = dict.fromkeys(record.path for record in records if len(record.boxes))
    found = (photo_sizes or PhotoSizes()).of(paths)
    sizes = [found.get(record.path) for record in records]
    right, side, ignore, reach = _all_right(records, sizes)
    checked, dropped, sides, ignored = list(records), dict.fromkeys(_REASONS, 0), [side], [ignore]
    for i in np.flatnonzero(~right).tolist():
        checked[i], why, side, ignore = _checked(records[i], sizes[i])
        sides.append(side)
        ignored.append(ignore)
        for reason, count in why.items():
            dropped[reason] += count
    long = np.concatenate(sides)
    known = [size for size in sizes if size is not None]
    dropped = {reason: count for reason, count in dropped.items() if count}
    faces = len(long) + sum(dropped.values())
    return Fit(checked, faces, dropped, _range(known), _span(long), long, np.concatenate(ignored), reach)


_REASONS = ("outside of their photo", "of less than a pixel", "with corners swapped", "for a photo of another size")
_OUTSIDE, _TINY, _SWAPPED, _OTHER = _REASONS


def _all_right(
    records: Sequence[ImageRecord], sizes: Sequence[ImageSize | None]
) -> tuple[NDArray[np.bool_], Array, Array, float]:
    """The records (N,) of which each box is known and fits; the longer sides of these boxes (B,), which of them are
    ignored, and their reach.

    What `_checked` would find, at once for the thousands of photos that need no second look.
    """
    counts = np.array([len(record.boxes) for record in records], np.int64)
    owner = np.repeat(np.arange(len(records)), counts)
    boxes = np.concatenate([np.zeros((0, 4)), *(record.boxes for record in records)]).astype(np.float64)
    height, width = np.array([size or (np.inf, np.inf) for size in sizes]).reshape(-1, 2)[owner].T
    sides = boxes[:, 2:] - boxes[:, :2]
    seen = np.minimum(boxes[:, 2:], np.stack([width, height], axis=1)) - np.maximum(boxes[:, :2], 0)
    fits = (sides >= 0).all(axis=1) & (sides.max(axis=1, initial=0) >= SMALLEST)
    fits &= np.maximum(seen, 0).prod(axis=1) >= INSIDE * sides.prod(axis=1)
    right = np.array([not _of_other(record, size) for record, size in zip(records, sizes, strict=True)], bool)
    right[owner[~fits]] = False
    mine = right[owner]
    reach = (boxes[mine, 2:] / np.stack([width, height], axis=1)[mine]).max(initial=0)
    ignore = np.concatenate([np.zeros(0, bool), *(record.ignore for record in records)])
    return right, sides[mine].max(axis=1, initial=0), ignore[mine], float(reach)


def _checked(record: ImageRecord, size: ImageSize | None) -> tuple[ImageRecord, dict[str, int], Array, Array]:
    """The record, the number of boxes that do not fit by reason, the longer sides of those that do, and which of these
    are ignored."""
    places = _places(record)
    x1, y1, x2, y2 = places.T
    swapped = (x2 < x1) | (y2 < y1)
    places = np.stack([np.minimum(x1, x2), np.minimum(y1, y2), np.maximum(x1, x2), np.maximum(y1, y2)], axis=1)
    known = np.isfinite(places).all(axis=1)
    long = (places[:, 2:] - places[:, :2]).max(axis=1, initial=0)
    tiny = known & ~swapped & (long < SMALLEST)
    if size is None:
        seen, outside = places, np.zeros(len(places), bool)
        other = False
    else:
        seen = box.clip(places, *size)
        outside = known & ~swapped & ~tiny & (box.areas(seen) < INSIDE * box.areas(places))
        other = _of_other(record, size)
    bad = known & (swapped | tiny | outside | other)
    why = {_SWAPPED: swapped, _TINY: tiny, _OUTSIDE: outside}
    counts = (
        {_OTHER: int(known.sum())} if other else {reason: int((mask & known).sum()) for reason, mask in why.items()}
    )
    covers = (seen[:, 2:] - seen[:, :2]).min(axis=1, initial=np.inf) >= SMALLEST
    if not bad.any():
        return record, counts, long[known], record.ignore[known]
    lost = bool((bad & ~(covers & ~tiny)).any()) or other
    boxes = np.where((bad & np.isfinite(record.boxes).all(axis=1))[:, None], places, record.boxes)
    fixed = replace(record, boxes=boxes, ignore=record.ignore | bad, complete=record.complete and not lost)
    return fixed, counts, long[known & ~bad], record.ignore[known & ~bad]


def _of_other(record: ImageRecord, size: ImageSize | None) -> bool:
    """Whether the labels were made for a photo of another size."""
    return record.size is not None and size is not None and set(record.size) != set(size)  # some tools swap the sides


def _places(record: ImageRecord) -> Array:
    """Boxes float64 (G, 4); an unknown box becomes the rectangle around the known points, or NaN."""
    places = record.boxes.astype(np.float64)
    for i in np.flatnonzero(~np.isfinite(places).all(axis=1)):
        points = record.landmarks[i][np.isfinite(record.landmarks[i]).all(axis=1)]
        places[i] = [*points.min(axis=0), *points.max(axis=0)] if len(points) else np.nan
    return places


def _range(sizes: Sequence[ImageSize]) -> str:
    if not sizes:
        return ""
    small, large = min(sizes, key=lambda size: size[0] * size[1]), max(sizes, key=lambda size: size[0] * size[1])
    text = f"{small.width} x {small.height}"
    return f" of {text}" if small == large else f" of {text} to {large.width} x {large.height}"


def _span(long: Array) -> str:
    return f" of {long.min():.0f} to {long.max():.0f} pixels" if len(long) else ""
