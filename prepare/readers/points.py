"""Five points per face in a CSV file, with or without a box.

Columns: `path` (relative to the folder of the file), `x1 y1 x2 y2` (empty where unknown), then x and y of the left
eye, right eye, nose, left and right mouth corner, the viewer's left first. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mtcnn.errors import DataError
from mtcnn.files.text import read_text

from ..records import ImageRecord, Problem
from .label_file import POINT_NAMES, Face, Gathering, find_image, image_folder, numbers

__all__ = [
    "BOX_COLUMNS",
    "POINT_COLUMNS",
    "check_once",
    "csv_rows",
    "header_of",
    "open_table",
    "plain_names",
    "read",
    "separator_of",
]

BOX_COLUMNS = ("x1", "y1", "x2", "y2")
SHOWN = 80  # letters of line 1 in a message
POINT_COLUMNS = tuple(f"{axis}_{point}" for point in POINT_NAMES for axis in "xy")


def read(labels: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """One record per row: one face, `complete=False` (others may be visible), its box NaN where unknown.

    images  the folder that paths are relative to; default: the folder of `labels`.

    Raises DataError when the file or the folder is missing, or a column is.
    """
    if not labels.is_file():
        raise DataError(f"{labels}: no such file of points; give the path of an existing CSV file")
    found = Gathering(labels, image_folder(labels, images, [labels.parent]))
    rows, given = open_table(labels)
    columns = ("path", *BOX_COLUMNS, *POINT_COLUMNS)
    missing = set(columns) - set(given)
    if missing:
        names = " ".join(columns)
        raise DataError(
            f"{labels}: has no column {sorted(missing)[0]!r} in line 1, {header_of(labels)!r}; expected {names}; "
            "name them in line 1"
        )
    check_once(labels, given, columns)
    for row in csv_rows(rows, found):
        _add_row(found, rows.line_num, row)
    return found.result()


def separator_of(text: str) -> str:
    """The separator of a table, by its first line: a comma, else ; or a tab."""
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    return next((each for each in ",;\t" if each in head), ",")


def header_of(labels: Path) -> str:
    """The beginning of line 1 of a table, for a message."""
    return "".join(read_text(labels, "utf-8-sig").splitlines()[:1])[:SHOWN]


def plain_names(names: Iterable[str]) -> list[str]:
    """Names of columns without the spaces around them, in lower case."""
    return [name.strip().lower() for name in names]


def open_table(labels: Path) -> tuple[csv.DictReader[str], list[str]]:
    """The rows of a table under the plain names of its columns, and these. Raises DataError if line 1 is no row."""
    text = read_text(labels, "utf-8-sig")
    lines = io.StringIO(text, newline="")
    rows = csv.DictReader(lines, restval="", strict=True, delimiter=separator_of(text))
    try:
        names = plain_names(rows.fieldnames or ())
    except csv.Error as error:
        raise DataError(f"{labels}: {error}; expected a table whose line 1 names its columns") from error
    rows.fieldnames = names
    return rows, names


def check_once(labels: Path, names: Sequence[str], used: Iterable[str]) -> None:
    """Raises DataError if a column that is read comes twice: the later would replace the earlier."""
    if name := next((name for name in used if names.count(name) > 1), ""):
        raise DataError(f"{labels}: has {names.count(name)} columns {name!r}; expected each name once in line 1")


def csv_rows(rows: csv.DictReader[str], found: Gathering) -> Iterator[dict[str, str]]:
    """All valid CSV rows. An unterminated quote swallows the rest of the file."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            found.report(rows.reader.line_num, f"{error}; the row that ends here left out")


def _add_row(found: Gathering, line: int, row: dict[str, str]) -> None:
    path = find_image(found.images, row["path"])
    if path is None:
        found.report(line, f"no image {row['path']!r} in {found.images}, with this or another suffix; left out")
        return
    try:
        face = _face(row)
    except ValueError as error:
        found.report(line, f"{error}; left out")
        return
    found.add(path, [face], complete=False)


def _face(row: dict[str, str]) -> Face:
    points = np.array(_values(row, POINT_COLUMNS), np.float32).reshape(5, 2)
    if np.isnan(points).all():
        raise ValueError("no point in the row")
    return Face(_values(row, BOX_COLUMNS), points)


def _values(row: dict[str, str], columns: Sequence[str]) -> list[float]:
    """The numbers of these columns, or NaN if all are empty."""
    values = numbers(" ".join(row[column] for column in columns))
    if not values:
        return [float("nan")] * len(columns)
    if len(values) != len(columns):
        raise ValueError(f"{len(values)} of the {len(columns)} values {columns[0]} to {columns[-1]} given")
    return values
