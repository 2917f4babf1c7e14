"""YOLO: a text file per photo in `labels`, in the folders that the photos have in `images`; and `data.yaml`.

    0 0.498 0.292 0.119 0.108 0.477 0.269 2 0.529 0.271 2 0.503 0.298 2 0.474 0.307 2 0.526 0.311 2

Class, centre, width and height, then key points, `x y` or `x y visibility` (0 for unknown), all as shares of the width
and height of the photo. A row of five values and a score is a detection. Other rows are polygons, of which the bounding
box is taken. `data.yaml` has the names of the classes, `kpt_shape`, and the photos of each split. An empty file, or
none, means no face. Source: the documentation of Ultralytics YOLO, "Object detection datasets" and "Pose datasets".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
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
from .yolo_layout import YoloLayout, yolo_layout

__all__ = ["read"]


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
    layout = yolo_layout(path, images)
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
    notes = [*layout.notes, noted_classes("yolo", counts, taken)]
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


def _class_name(word: str, names: Mapping[int, str]) -> str:
    if not (word.isascii() and word.isdigit() and len(word) < 7):
        return word
    return names.get(int(word), word)


def _face(words: list[str], size: ImageSize, points: tuple[int, int] | None, name: str) -> Face:
    if not (words[0].isascii() and words[0].isdigit()):
        raise ValueError(f"{words[0][:40]!r} is no class number")
    values = numbers(" ".join(words[1:]))
    count, depth = points or (5, 3 if len(values) == 19 else 2)
    scale = np.array([size.width, size.height], np.float64)
    if len(values) in (4, 5) or len(values) == 4 + count * depth:
        centre, sides = np.array(values[:2]) * scale, np.array(values[2:4]) * scale
        score = values[4] if len(values) == 5 else 1.0
        if not 0 <= score <= 1:
            raise ValueError(f"score is {score:g}, expected a number from 0 to 1")
        five = None if len(values) < 6 or count != 5 else _five(values[4:], depth, scale)
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
