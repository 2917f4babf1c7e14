"""Detections in WIDER FACE's format: one text file per image, `<event>/<image>.txt`, in a folder or an archive.

A file has the image's name (not used), the number of faces, then rows `x y w h score`. Malformed files are handled like
in the official reader, and reported: unsorted rows are sorted, rows beyond the count are not read, a file with fewer
rows than its count is read as empty, negative sizes stay (such a box matches nothing). Only rows with NaN or infinity
are dropped; the official code would sort them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn.errors import DataError
from mtcnn.files.archives import text_files
from mtcnn.files.atomic_write import Before
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.text_files import write_text
from mtcnn.types import Faces

__all__ = ["faces_to_rows", "load_detections", "parse_detections", "sort_rows", "write_detections"]

Array = NDArray[Any]

DIGITS = 9  # of a face count; parsing a longer number could take any time


def load_detections(
    path: str | Path, problems: Problems | None = None, progress: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Detections of every image: "<event>/<image>" -> float64 (N, 5) x y w h score, by descending score.

    path  a folder, .tar, .tar.xz, .tar.gz, .tgz or .zip; only the last two parts of each file's path matter.
    Raises DataError if `path` cannot be read or holds no detection file.
    """
    problems = Problems.default(problems)
    found: dict[str, NDArray[np.float64]] = {}
    for name, content in tqdm(_members(Path(path)), desc="reading", unit=" images", disable=not progress):
        parts = name.removesuffix(".txt").split("/")[-2:]
        key, where = "/".join(parts), f"{path}/{name}"
        if len(parts) < 2:
            problems.add(where, "is not in an event's folder; expected <event>/<image>.txt; left out")
        elif key in found:
            problems.add(where, f"is a second file for {key}; the first one is taken")
        else:
            found[key] = parse_detections(content.decode("utf-8", "replace"), where, problems)
    if not found:
        raise DataError(f"{path}: no detection file in it; expected <event>/<image>.txt")
    return found


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(relative path, content) of the .txt files of a folder or an archive, without hidden ones."""
    for name, content in text_files(path):
        name = name.removeprefix("./")
        # macOS archives hold a "._name" beside each file; published ones hold the checkpoints of notebooks.
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, content


def parse_detections(text: str, where: str, problems: Problems) -> NDArray[np.float64]:
    """The detections (N, 5) of one file's text, by descending score; `where` names the file in messages."""
    lines = text.rstrip().splitlines()
    count = lines[1].strip() if len(lines) > 1 else ""
    if not count.isdecimal() or len(count) > DIGITS:
        problems.add(where, f"second line is {count[:40]!r}, expected the number of faces; read as empty", 2)
        return np.zeros((0, 5))
    body = lines[2 : 2 + int(count)]
    if len(lines) - 2 > len(body):
        problems.add(where, f"count is {count}, but {len(lines) - 2} rows follow; the rest is not read", 2)
    elif len(body) < int(count):
        problems.add(where, f"count is {count}, but {len(body)} rows follow; read as empty", 2)
        return np.zeros((0, 5))
    rows = _parse_rows(body, where, problems)
    return sort_rows(_check_rows(rows, where, problems), where, problems)


def _parse_rows(body: list[str], where: str, problems: Problems) -> NDArray[np.float64]:
    """Float64 (N, 5); rows that are not five numbers become NaN, which `_check_rows` drops."""
    rows = np.full((len(body), 5), np.nan)
    for i, line in enumerate(body):
        try:
            x, y, w, h, score = (float(word) for word in line.split()[:5])
            rows[i] = x, y, w, h, score
        except ValueError:
            problems.add(where, f"expected 'x y w h score', got {line.strip()[:80]!r}; row left out", i + 3)
            rows[i, 4] = -np.inf  # already reported
    return rows


def _check_rows(rows: NDArray[np.float64], where: str, problems: Problems) -> NDArray[np.float64]:
    finite = np.isfinite(rows).all(axis=1)
    for i in np.flatnonzero(~finite & ~np.isneginf(rows[:, 4])):
        problems.add(where, f"NaN or infinity in {rows[i].tolist()}; row left out", int(i) + 3)
    for i in np.flatnonzero(finite & (rows[:, 2:4] < 0).any(axis=1)):
        size = f"{rows[i, 2]:g} x {rows[i, 3]:g}"
        problems.add(where, f"size {size} is negative; it counts as a false positive", int(i) + 3)
    return rows if finite.all() else rows[finite]


def sort_rows(rows: NDArray[np.float64], where: str, problems: Problems) -> NDArray[np.float64]:
    """Rows (N, 5) by descending score, ties in input order; reports unsorted ones."""
    rising = np.flatnonzero(rows[1:, 4] > rows[:-1, 4])
    if not len(rising):
        return rows
    problems.add(where, "scores are not falling; sorted, as the official reader does", int(rising[0]) + 4)
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def faces_to_rows(faces: Faces) -> NDArray[np.float64]:
    """Rows (N, 5) x y w h score of a detector's faces, with w = x2 - x1 as in most published detection files."""
    boxes = faces.boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], faces.scores[:, None]], axis=1)


def write_detections(folder: str | Path, detections: Mapping[str, Array], before: Before | None = None) -> None:
    """Writes `<folder>/<event>/<image>.txt` for "<event>/<image>" -> (N, 5) x y w h score, see `write_whole`.

    Two decimals for pixels: integers cost up to two points of AP on small faces. Seven digits for scores.
    Raises MtcnnError if the folder cannot be written to.
    """
    for name, rows in detections.items():
        path = Path(folder) / f"{name}.txt"
        lines = [
            f"{x:.2f} {y:.2f} {w:.2f} {h:.2f} {score:.7g}" for x, y, w, h, score in np.asarray(rows).reshape(-1, 5)
        ]
        write_text(path, "\n".join([path.stem.replace("\n", " "), str(len(lines)), *lines]) + "\n", before)
