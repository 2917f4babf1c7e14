"""CSV: a table with a row per face.

    path,x1,y1,x2,y2,score,x_left_eye,y_left_eye,...,ignore
    a/1.jpg,449,330,571,479,,488.9,373.6,...,

The first line names the columns, in any order. The photo is `path`, `image`, `filename`, `file_name` or `image_id`; the
box `x1 y1 x2 y2`, `xmin ymin xmax ymax`, `x y w h` or `x y width height`; landmarks, `score` and `ignore` (1 for an
ignore region) may be missing; `class` or `label` names the object. Names may be in any case, with spaces around them,
and the separator ; or a tab if line 1 has no comma. A row with a photo alone says that it shows no face. `mtcnn detect`
writes such tables, with `image` for `path`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from mtcnn.errors import DataError

from ..records import ImageRecord, Note, Problem
from .class_names import is_doubtful, noted_classes, taken_classes
from .label_file import Face, Gathering, find_image, folder_with, numbers
from .points import POINT_COLUMNS, check_once, csv_rows, header_of, open_table

__all__ = ["NAME_COLUMNS", "find_columns", "read"]

NAME_COLUMNS = ("path", "image", "filename", "file_name", "image_id")
CLASS_COLUMNS = ("class", "label")
BOXES = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
)


def find_columns(names: Collection[str]) -> tuple[str, tuple[str, ...]] | None:
    """The columns of the photo and of the box; None where one of them is missing."""
    photo = next((name for name in NAME_COLUMNS if name in names), None)
    box = next((columns for columns in BOXES if set(columns) <= set(names)), None)
    return None if photo is None or box is None else (photo, box)


def read(
    labels: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """The photos of a table, each once, in the order of their first rows.

    images  the folder that names are relative to; default: `images` beside the table, or its folder.
    names   classes that are faces, if the table has them. None: those named "face", or all.

    A bad row is skipped and its image marked incomplete. Raises DataError if the table, a column or the folder is
    missing, or two columns have the same name.
    """
    if not labels.is_file():
        raise DataError(f"{labels}: no such table; give the path of an existing CSV file")
    reader, (photo, box) = _opened(labels)
    table = Gathering(labels, labels.parent)
    rows = [(reader.line_num, row) for row in csv_rows(reader, table)]
    table.images = folder_with(
        labels, images, [labels.parent / "images", labels.parent], [row[photo] for _, row in rows]
    )
    kind = next((name for name in CLASS_COLUMNS if name in (reader.fieldnames or ())), None)
    counts = Counter(row[kind] for _, row in rows if any(row[c] for c in box)) if kind else Counter[str]()
    taken = taken_classes(labels, "csv", counts, names)
    of: dict[Path, list[Face]] = {}
    bad: set[Path] = set()
    for line, row in rows:
        path = find_image(table.images, row[photo].removeprefix("'"))  # which `mtcnn detect` puts before a formula
        if path is None:
            table.report(line, f"no image {row[photo]!r} in {table.images}, with this or another suffix; left out")
            continue
        faces = of.setdefault(path, [])
        if kind and row[kind] not in taken:
            continue
        try:
            faces += _faces(row, box, row[kind] if kind else "")
        except ValueError as error:
            table.report(line, f"{error}; face left out")
            bad.add(path)
    for path, faces in of.items():
        table.add(path, faces, path not in bad)
    if note := noted_classes("csv", counts, taken):
        table.problems.append(Note(str(labels), note))
    return table.result()


def _opened(labels: Path) -> tuple[csv.DictReader[str], tuple[str, tuple[str, ...]]]:
    """The rows of a table, and its columns of the photo and of the box."""
    reader, names = open_table(labels)
    columns = find_columns(names)
    if columns is None:
        raise DataError(
            f"{labels}: has no columns of a photo and its boxes in line 1, {header_of(labels)!r}; "
            "expected path x1 y1 x2 y2"
        )
    check_once(labels, names, (columns[0], *columns[1], *POINT_COLUMNS, *CLASS_COLUMNS, "score", "ignore"))
    return reader, columns


def _faces(row: dict[str, str], box: Sequence[str], name: str) -> list[Face]:
    """The face of a row; none if all its numbers are empty."""
    points = [column for column in POINT_COLUMNS if column in row]
    if not any((row[column] or "").strip() for column in (*box, *points)):
        return []
    x, y, far_x, far_y = _values(row, box)
    far = (x + far_x, y + far_y) if box[2].startswith("w") else (far_x, far_y)
    five = None
    if len(points) == len(POINT_COLUMNS) and any(row[column].strip() for column in points):
        five = np.array([_number(row[column]) for column in POINT_COLUMNS], np.float32).reshape(5, 2)
    score = _number(row.get("score") or "1")
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}, expected a number from 0 to 1")
    ignore = row.get("ignore", "").strip().lower()
    if ignore not in ("", "0", "1", "true", "false"):
        raise ValueError(f"ignore is {ignore[:20]!r}, expected 0 or 1")
    return [Face((x, y, *far), five, ignore in ("1", "true") or is_doubtful(name), score)]


def _values(row: dict[str, str], columns: Sequence[str]) -> list[float]:
    values = [_number(row[column]) for column in columns]
    if any(np.isnan(values)):
        given = int(np.isfinite(values).sum())
        if given:
            raise ValueError(f"{given} of the {len(columns)} values {columns[0]} to {columns[-1]} given")
    return values


def _number(text: str) -> float:
    """The number in a cell, NaN if it is empty."""
    values = numbers(text)
    if len(values) > 1:
        raise ValueError(f"{text[:40]!r} is not a number")
    return values[0] if values else float("nan")
