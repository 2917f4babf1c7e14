"""Shared parts of the label formats: lines, the block of an image, and faces collected into records.

A reader never stops at a bad row: it adds a `Problem` with file and line, and continues.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.files.text import read_text
from mtcnn.images import SUFFIXES
from mtcnn.types import ImageSize

from ..records import ImageRecord, Problem

__all__ = [
    "LARGEST",
    "POINT_NAMES",
    "Block",
    "Face",
    "Gathering",
    "find_image",
    "folder_with",
    "image_folder",
    "known_size",
    "numbers",
    "read_blocks",
]

Array = NDArray[Any]
Row = tuple[int, str]

USUAL_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".JPG", ".JPEG", ".PNG")
POINT_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # the viewer's left
UNKNOWN = np.full((5, 2), np.nan, np.float32)
NOTHING = 3.0  # pixels; a shorter box is too small to be a face
LARGEST = 1e6  # larger than any image; beyond it float32 loses pixel precision, then overflows


class Face(NamedTuple):
    """One labelled face: box x1 y1 x2 y2 in pixels, landmarks (5, 2) or None, whether to ignore it, and its score,
    below 1 where a teacher labelled it."""

    box: Sequence[float]
    landmarks: Array | None = None
    ignore: bool = False
    score: float = 1.0


class Block(NamedTuple):
    """The lines that belong to one image. `line` is the line of the name, counted from 1."""

    line: int
    name: str
    rows: list[Row]


def numbers(text: str) -> list[float]:
    """The numbers of a row split at white space. Raises ValueError for the first that is invalid or out of range."""
    values = []
    for word in text.split():
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"{word!r} is not a number") from None
        if not abs(value) <= LARGEST:  # NaN fails too
            raise ValueError(f"{word!r} is no number of pixels")
        values.append(value)
    return values


def read_blocks(path: Path, name_of: Callable[[str], str | None]) -> tuple[list[Block], list[Problem]]:
    """Splits a label file at the lines in which `name_of` sees an image name, so no bad row can shift the next image.

    Raises DataError when the file is missing or names no image at all.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such label file; give the path of an existing one")
    # Undecodable bytes end up in a row or name, which is then reported with its line like any other bad one.
    text = read_text(path, "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    blocks: list[Block] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        name = name_of(line)
        if name is not None:
            blocks.append(Block(number, name, []))
        elif line and blocks:
            blocks[-1].rows.append((number, line))
        elif line:
            problems.append(Problem(f"{path}:{number}", f"{line[:40]!r} stands before the first image name"))
    if not blocks:
        raise DataError(f"{path}: names no image; expected the label file of another format, or a whole one")
    return blocks, problems


def _counted_rows(block: Block) -> list[Row]:
    """The rows of a block whose first row is their count. Raises ValueError if the count is wrong."""
    if not block.rows:
        raise ValueError("no face count after the image name")
    word, rows = block.rows[0][1], block.rows[1:]
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise ValueError(f"{word[:40]!r} is not a face count")
    count = int(word)
    if count == 0 and len(rows) == 1 and not any(numbers(rows[0][1])):
        return []  # WIDER FACE gives an image without faces one row of zeros
    if count != len(rows):
        raise ValueError(f"{count} faces announced, {len(rows)} rows found")
    return rows


def find_image(folder: Path, name: str) -> Path | None:
    """The file `folder/name`, else the same name with another image suffix (data sets get re-encoded), or with its
    accents composed or not (macOS splits them in archives), else None."""
    names = [name] if name.isascii() else [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    return next((path for each in dict.fromkeys(names) if (path := _found(folder, each)) is not None), None)


def _found(folder: Path, name: str) -> Path | None:
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        return Path(path)
    stem, suffix = os.path.splitext(path)
    stem = stem if suffix.lower() in SUFFIXES else path  # a dot in a name without suffix, as in "img.007"
    for suffix in USUAL_SUFFIXES:
        if os.path.isfile(stem + suffix):
            return Path(stem + suffix)
    return None


def known_size(height: int, width: int) -> ImageSize | None:
    """The image size given in a label file, or None; some tools write 0 for an unknown size."""
    return ImageSize(height, width) if height > 0 and width > 0 else None


def image_folder(labels: Path, images: Path | None, candidates: Sequence[Path]) -> Path:
    """`images` where given, else the first of `candidates` that exists. Raises DataError without one."""
    for folder in candidates if images is None else [images]:
        if folder.is_dir():
            return folder
    if images is not None:
        raise DataError(f"{images}: no such image folder; give the folder that the names in {labels} are relative to")
    tried = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"{labels}: found no image folder beside it (tried {tried}); give it as FORMAT:PATH:IMAGES")


def folder_with(labels: Path, images: Path | None, candidates: Sequence[Path], names: Sequence[str]) -> Path:
    """`images` where given, else the first of `candidates` that has the first image, or another, of `names`.

    Raises DataError without one.
    """
    if images is None and names:
        for name in (names[0], names[-1], names[len(names) // 2]):
            for folder in candidates:
                if name and folder.is_dir() and find_image(folder, name):
                    return folder
    return image_folder(labels, images, candidates)


@dataclass
class Gathering:
    """Collects records and problems from the label file `source`."""

    source: Path
    images: Path
    problems: list[Problem] = field(default_factory=list)
    records: list[ImageRecord] = field(default_factory=list)
    empty_boxes: int = 0

    def report(self, line: int, why: str) -> None:
        """Adds a problem at a line of the source."""
        self.problems.append(Problem(f"{self.source}:{line}", why))

    def add_rows(
        self, block: Block, rows: Iterable[Row], parse: Callable[[str], Face], size: ImageSize | None = None
    ) -> None:
        """Adds the image of `block`, labelled at `size`, with the faces that `parse` makes of its rows (ValueError: a
        bad row)."""
        path = find_image(self.images, block.name)
        if path is None:
            self.report(block.line, f"no image {block.name!r} in {self.images}, with this or another suffix; left out")
            return
        faces: list[Face] = []
        complete = True
        for number, text in rows:
            try:
                faces.append(parse(text))
            except ValueError as error:
                self.report(number, f"{error}; face left out")
                complete = False  # its place is unknown
        self.add(path, faces, complete, size)

    def add_counted(self, blocks: Iterable[Block], parse: Callable[[str], Face]) -> None:
        """Adds the images of blocks that begin with the number of their faces. One whose number is wrong is left out:
        the missing rows are unknown; if another block names it too, that one is incomplete."""
        lost: set[Path | None] = set()
        for block in blocks:
            try:
                rows = _counted_rows(block)
            except ValueError as error:
                self.report(block.line, f"{error}; image left out")
                lost.add(find_image(self.images, block.name))
                continue
            self.add_rows(block, rows, parse)
        if lost:
            self.records = [replace(each, complete=each.complete and each.path not in lost) for each in self.records]

    def add(self, path: Path, faces: Sequence[Face], complete: bool = True, size: ImageSize | None = None) -> None:
        """Adds an image, without those of its boxes that have no width or no height.

        If the other side of such a box is longer than NOTHING, a face of unknown extent is there, and the image is
        incomplete. Inverted boxes stay: `fit` handles them.
        """
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        points = np.array([UNKNOWN if face.landmarks is None else face.landmarks for face in faces], np.float32)
        ignore = np.array([face.ignore for face in faces], bool)
        scores = np.array([face.score for face in faces], np.float32)
        sides = np.abs(boxes[:, 2:] - boxes[:, :2])
        keep = ~(sides == 0).any(axis=1)  # a box of NaN is unknown, not empty
        self.empty_boxes += int((~keep).sum())
        complete = complete and not (sides[~keep] > NOTHING).any()
        points = points.reshape(-1, 5, 2)[keep]
        self.records.append(ImageRecord(path, boxes[keep], points, ignore[keep], complete, size, scores[keep]))

    def result(self) -> tuple[list[ImageRecord], list[Problem]]:
        """The return value of a reader; boxes without width or height are reported in one line."""
        summary = Problem(str(self.source), f"{self.empty_boxes} boxes without width or height dropped")
        return self.records, self.problems + ([summary] if self.empty_boxes else [])
