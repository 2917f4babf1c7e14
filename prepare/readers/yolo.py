"""YOLO: a text file per photo in `labels`, in the folders that the photos have in `images`; and `data.yaml`.

    0 0.498 0.292 0.119 0.108 0.477 0.269 2 0.529 0.271 2 0.503 0.298 2 0.474 0.307 2 0.526 0.311 2

Class, centre, width and height, then key points, `x y` or `x y visibility` (0 for unknown), all as shares of the width
and height of the photo. Either may have a score at the end, as detections do. Other rows are polygons, `x y` of three
corners or more, of which the bounding box is taken. Where no `kpt_shape` tells polygons of 7 or 10 corners from five
key points, most of the rows decide. `data.yaml` has the names of the classes, `kpt_shape`, and the photos of each
split. An empty file, or none, means no face. Source: the documentation of Ultralytics YOLO, "Object detection
datasets", "Pose datasets" and "Instance segmentation datasets".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError, ImageError
from mtcnn.files.text import read_text
from mtcnn.images import image_size
from mtcnn.types import ImageSize

from ..records import ImageRecord, Note, Problem
from .class_names import is_doubtful, noted_classes, taken_classes
from .label_file import Face, Gathering, numbers
from .yolo_layout import YoloLayout, is_class_number, yolo_layout

__all__ = ["read"]

ALIKE = {14: 2, 15: 2, 20: 3}
"""Values that may be a box and five points with so many values each, and a score; or the corners of a polygon."""

LOOKED_AT = 1000  # rows
LOOSE = 0.25  # of the side of a box: so far beyond it may a point be


class _YoloRow(NamedTuple):
    """A row: its class, file and line, and the face or the error."""

    name: str
    where: str
    face: Face | ValueError


def read(
    path: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """Photos of the training split, or of all if there is none, with their boxes and landmarks.

    path    `data.yaml`, the folder with it or with `images` and `labels`, or a folder in or below `labels`.
    images  the folder with the photos, in place of what `data.yaml` or the layout says.
    names   classes that are faces. None: those named "face", if there are any; otherwise all.

    The header of each photo is read for its size. Classes named "doubtful" or "ignore" are ignore regions. A bad row is
    skipped and its image marked incomplete. Raises DataError without photos or label files.
    """
    layout, note = _with_points(yolo_layout(path, images))
    found = Gathering(path, path)
    pages: list[tuple[Path, ImageSize, list[_YoloRow]]] = []
    unlabelled = 0
    for photo in layout.photos:
        labels = layout.labels_of(photo)
        unlabelled += labels is None
        try:
            size = image_size(photo)
        except ImageError as error:
            found.problems.append(Problem(str(photo), f"{error}; left out"))
            continue
        pages.append((photo, size, [] if labels is None else _rows(labels, size, layout)))
    if layout.photos and unlabelled == len(layout.photos):
        raise DataError(f"{path}: no photo has a label file; expected labels/NAME.txt for images/NAME.jpg")
    counts = Counter(row.name for _, _, rows in pages for row in rows)
    taken = taken_classes(path, "yolo", counts, names)
    for photo, size, rows in pages:
        _add_photo(found, photo, size, [row for row in rows if row.name in taken])
    notes = [*layout.notes, noted_classes("yolo", counts, taken), note]
    if unlabelled:
        notes.append(f"{unlabelled} photos without a label file: they show no face, as YOLO has it")
    found.problems += [Note(str(path), note) for note in notes if note]
    return found.result()


def _add_photo(found: Gathering, photo: Path, size: ImageSize, rows: list[_YoloRow]) -> None:
    faces = [row.face for row in rows if isinstance(row.face, Face)]
    bad = [row for row in rows if not isinstance(row.face, Face)]
    found.problems += [Problem(row.where, f"{row.face}; face left out") for row in bad]
    found.add(photo, faces, not bad, size)


def _rows(labels: Path, size: ImageSize, layout: YoloLayout) -> list[_YoloRow]:
    rows = []
    for number, line in enumerate(read_text(labels, "utf-8-sig").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        name = _class_name(words[0], layout.names)
        try:
            face: Face | ValueError = _face(words, size, layout.points, name)
        except ValueError as error:
            face = error
        rows.append(_YoloRow(name, f"{labels}:{number}", face))
    return rows


def _with_points(layout: YoloLayout) -> tuple[YoloLayout, str]:
    """The layout with `points` as most rows have them, where it does not say; and a note if rows that may have points
    are polygons."""
    if layout.points is not None:
        return layout, ""
    rows = list(islice(_long_rows(layout), LOOKED_AT))
    alike = [values for values in rows if len(values) in ALIKE]
    depths = Counter(ALIKE[len(values)] for values in alike if _has_points(values))
    depths[3] += sum(len(values) == 19 for values in rows)  # odd, so no polygon
    depth, count = depths.most_common(1)[0]
    if count and 2 * count >= len(rows):
        return replace(layout, points=(5, depth)), ""
    note = "no kpt_shape in data.yaml, so that rows of 15 or 21 values are read as polygons, as the others are"
    return layout, note if alike else ""


def _long_rows(layout: YoloLayout) -> Iterator[list[float]]:
    """The values, without the class, of rows that are more than a box and a score."""
    for photo in layout.photos:
        labels = layout.labels_of(photo)
        for line in [] if labels is None else read_text(labels, "utf-8-sig").splitlines():
            words = line.split()[1:]
            try:
                if len(words) > 5:
                    yield numbers(" ".join(words))
            except ValueError:  # reported later
                continue


def _has_points(values: list[float]) -> bool:
    """Whether the first four values are a box in the photo with the known ones of five points in it or near it. Of a
    polygon they are two corners: such a box often ends outside."""
    centre, sides = np.array(values[:2]), np.array(values[2:4])
    depth = ALIKE[len(values)]
    points = np.array(values[4 : 4 + 5 * depth]).reshape(5, depth)[:, :2]
    known = points[(points > 0).all(axis=1)]
    edges = np.array([centre - sides / 2, centre + sides / 2])
    inside = (edges > -0.01).all() and (edges < 1.01).all() and (sides > 0).all()
    return bool(inside and (np.abs(known - centre) <= (0.5 + LOOSE) * sides).all())


def _class_name(word: str, names: Mapping[int, str]) -> str:
    return names.get(int(word), word) if is_class_number(word) else word


def _face(words: list[str], size: ImageSize, points: tuple[int, int] | None, name: str) -> Face:
    if not (words[0].isascii() and words[0].isdigit()):
        raise ValueError(f"{words[0][:40]!r} is no class number")
    values = numbers(" ".join(words[1:]))
    count, depth = points or (5, 3 if len(values) == 19 else 2)
    scale = np.array([size.width, size.height], np.float64)
    whole = 4 + count * depth if points or len(values) == 19 else 0  # values of a box with points
    if len(values) in (4, 5) or (whole and len(values) in (whole, whole + 1)):
        centre, sides = np.array(values[:2]) * scale, np.array(values[2:4]) * scale
        score = values[-1] if len(values) in (5, whole + 1) else 1.0
        if not 0 <= score <= 1:
            raise ValueError(f"score is {score:g}, expected a number from 0 to 1")
        five = None if len(values) < 6 or count != 5 else _five(values[4:whole], depth, scale)
        box = [*(centre - sides / 2), *(centre + sides / 2)]
        return Face(box, five, is_doubtful(name), score)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"{len(values) + 1} values in the row, expected 5, 6 with a score, {5 + count * depth} with key points, or "
            "a class and the x and y of a polygon's corners"
        )
    corners = np.array(values).reshape(-1, 2) * scale
    return Face([*corners.min(axis=0), *corners.max(axis=0)], None, is_doubtful(name))


def _five(values: list[float], depth: int, scale: Any) -> Any:
    rows = np.array(values).reshape(5, depth)
    unknown = rows[:, 2] == 0 if depth == 3 else (rows < 0).any(axis=1)
    rows[unknown] = np.nan
    return rows[:, :2] * scale
