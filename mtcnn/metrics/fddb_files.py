"""FDDB's files: folds with ellipses, image sizes, detections, ROC curves.

Sources: the README of the data set (Jain and Learned-Miller 2010) and the file output of its C++ evaluation.
Shapes are rows of numbers: a rectangle `x y w h score` or an ellipse `major minor angle cx cy score`, with half axes
in pixels and the angle in radians between the major axis and the x axis.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError, ImageError
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.text_files import csv_rows, numbers, read_lines, write_text
from mtcnn.types import ImageSize

from ..terminal import short

__all__ = [
    "load_folds",
    "load_results",
    "load_sizes",
    "read_roc",
    "sizes_of_images",
    "write_results",
    "write_roc",
]

Array = NDArray[Any]

FOLDS = 10
LONGEST_SIDE = 1 << 14  # pixels of a photo; those of FDDB have 450
RECTANGLE, ELLIPSE = 5, 6  # numbers in a row


def load_folds(folder: str | Path, problems: Problems | None = None) -> dict[str, NDArray[np.float64]]:
    """The labelled faces of all folds: image name -> float64 (G, 6) ellipses, in the order of the folds.

    Reads FDDB-fold-XX-ellipseList.txt. Raises DataError when there is none; fewer than ten folds are reported.
    """
    problems = Problems.default(problems)
    files = sorted(Path(folder).glob("FDDB-fold-*-ellipseList.txt"))
    if not files:
        raise DataError(f"{folder}: no FDDB-fold-01-ellipseList.txt in it; expected the folder FDDB-folds")
    if len(files) != FOLDS:
        problems.add(folder, f"{len(files)} folds; the protocol has {FOLDS}, figures cannot be compared")
    faces: dict[str, NDArray[np.float64]] = {}
    for file in files:
        for name, rows, line in _blocks(file, (ELLIPSE,), problems):
            if name in faces:
                problems.add(file, f"{short(name)} is listed twice; the first is taken", line)
            else:
                faces[name] = rows
    if not faces:
        raise DataError(f"{folder}: no image in its folds; expected image path, face count, then rows of ellipses")
    return faces


def load_sizes(path: str | Path, problems: Problems | None = None) -> dict[str, ImageSize]:
    """Image sizes from a CSV file with the columns path, width, height."""
    problems = Problems.default(problems)
    lines = read_lines(path)
    reader = csv.reader(lines)
    header = [column.strip() for column in next(csv_rows(path, reader, problems), [])]
    if not {"path", "width", "height"} <= set(header):
        raise DataError(f"{path}:1: columns are {','.join(header)!r}; expected path,width,height")
    sizes: dict[str, ImageSize] = {}
    for row in csv_rows(path, reader, problems):
        values = dict(zip(header, row, strict=False))
        try:
            name, size = values["path"], ImageSize(int(values["height"]), int(values["width"]))
        except (KeyError, ValueError):
            name, size = "", ImageSize(0, 0)
        if not 0 < min(size) <= max(size) <= LONGEST_SIDE:
            got = ",".join(row)[:80]
            problems.add(path, f"expected a path and two sizes in pixels, got {got!r}", reader.line_num)
        else:
            sizes[_image_name(name)] = size
    return sizes


def sizes_of_images(folder: str | Path, names: Iterable[str]) -> dict[str, ImageSize]:
    """Sizes of the existing photos `<folder>/<name>.jpg`, from their headers.

    Raises DataError for a file that is not an image.
    """
    from mtcnn.images import image_size

    sizes: dict[str, ImageSize] = {}
    for name in names:
        path = Path(folder) / f"{name}.jpg"
        if path.is_file():
            try:
                sizes[name] = image_size(path)
            except ImageError as error:
                raise DataError(str(error)) from None
    return sizes


def load_results(path: str | Path, problems: Problems | None = None) -> dict[str, NDArray[np.float64]]:
    """Detections: image name -> float64 (N, 5) rectangles or (N, 6) ellipses, score last, in the order of the file.

    path  one file for all images, or a folder whose .txt files are read in order (fold-01-out.txt and so on).
    Raises DataError if nothing can be read.
    """
    problems = Problems.default(problems)
    path = Path(path)
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    found: dict[str, NDArray[np.float64]] = {}
    for file in files:
        for name, rows, line in _blocks(file, (RECTANGLE, ELLIPSE), problems):
            if name in found:
                problems.add(file, f"{short(name)} has detections twice; the first are taken", line)
            else:
                found[name] = rows
    if not found:
        raise DataError(f"{path}: no detections in it; expected image name, count, then rows 'x y w h score'")
    return found


def write_results(path: str | Path, detections: Mapping[str, Array]) -> None:
    """Writes rows (N, 5) or (N, 6), score last, in the format that `load_results` and the original tool read.

    Raises MtcnnError if the file cannot be written; so does `write_roc`.
    """
    lines = []
    for name, rows in detections.items():
        lines += [name, str(len(rows))]
        lines += [" ".join([*(f"{value:.6g}" for value in row[:-1]), f"{row[-1]:.9g}"]) for row in np.asarray(rows)]
    write_text(path, "\n".join(lines) + "\n")


def _image_name(text: str) -> str:
    return text.strip().removesuffix(".jpg")


def _blocks(path: Path, widths: tuple[int, ...], problems: Problems) -> Iterator[tuple[str, NDArray[np.float64], int]]:
    """(image name, rows, line of the name) of each image in a file. A line that is not all numbers is a name."""
    lines = read_lines(path)
    starts = [i for i, line in enumerate(lines) if line.strip() and numbers(line) is None]
    if any(line.strip() for line in lines[: starts[0] if starts else None]):
        problems.add(path, "numbers before the first image name; left out", 1)
    for start, end in pairwise([*starts, len(lines)]):
        body = [(i + 1, row) for i in range(start + 1, end) if (row := numbers(lines[i]))]
        if not body or len(body[0][1]) != 1:
            problems.add(path, "no count after the image name; the rows that follow are taken", start + 2)
        else:
            count, body = body[0][1][0], body[1:]
            if count != len(body):
                problems.add(path, f"count is {count:g}, but {len(body)} rows follow; the rows are taken", start + 2)
        yield _image_name(lines[start]), _checked_rows(path, body, widths, problems), start + 1


def _checked_rows(
    path: Path, body: list[tuple[int, list[float]]], widths: tuple[int, ...], problems: Problems
) -> NDArray[np.float64]:
    kept: list[list[float]] = []
    width = len(body[0][1]) if body and len(body[0][1]) in widths else widths[0]
    for line, row in body:
        if len(row) != width:
            problems.add(path, f"{len(row)} numbers in a row; expected {width}; row left out", line)
        elif not np.isfinite(row).all():
            problems.add(path, "NaN or infinity; row left out", line)
        elif width == ELLIPSE and min(row[:2]) < 0:
            problems.add(path, f"half axes {row[0]:g} x {row[1]:g} are negative; row left out", line)
        else:
            if width == RECTANGLE and min(row[2:4]) < 0:
                problems.add(path, f"size {row[2]:g} x {row[3]:g} is negative; drawn mirrored, as the tool does", line)
            kept.append(row)
    return np.array(kept, np.float64).reshape(len(kept), width)


def write_roc(prefix: str | Path, discrete: Array, continuous: Array, false: Array, scores: Array) -> list[Path]:
    """Writes <prefix>DiscROC.txt (`rate false score`) and <prefix>ContROC.txt (`rate false`); returns their paths.

    All arrays (K,), by ascending score. Six digits, the default of C++ streams.
    """
    disc = [f"{rate:g} {count:d} {score:g}\n" for rate, count, score in zip(discrete, false, scores, strict=True)]
    cont = [f"{rate:g} {count:d}\n" for rate, count in zip(continuous, false, strict=True)]
    return [write_text(f"{prefix}DiscROC.txt", "".join(disc)), write_text(f"{prefix}ContROC.txt", "".join(cont))]


def read_roc(path: str | Path) -> NDArray[np.float64]:
    """A ROC file as float64 (K, 3) rate, false positives, score, or (K, 2) without score. Raises DataError."""
    rows = [numbers(line) for line in read_lines(path) if line.strip()]
    widths = {len(row) if row else 0 for row in rows}
    if len(widths) != 1 or not widths <= {2, 3}:
        raise DataError(f"{path}: not a ROC file; expected rows 'rate false-positives [score]'")
    return np.array(rows, np.float64)
