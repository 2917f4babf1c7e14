"""The file of what teachers found, a line a photo: what a killed run has done is there, and is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import naming, write_whole
from mtcnn.files.stamps import stamp_of
from mtcnn.types import Faces, ImageSize

__all__ = ["FoundFile", "PhotoFaces"]

FORMAT = 1


class PhotoFaces(NamedTuple):
    """The size of a photo, and the regions in it by falling score."""

    size: ImageSize
    faces: Faces


class FoundFile:
    """Photos and what was found in them, appended as they come.

    A photo is known by its absolute path and its stamp: one that has changed since was not looked at.

    key  what the results depend on, plain values. Raises DataError where the file holds results of another key.
    """

    def __init__(self, path: Path, key: Any) -> None:
        self.path, self._head = path, _line({"format": FORMAT, "key": key})
        self._rows: dict[str, tuple[list[int], int]] = {}  # photo -> its stamp, and where its last line begins
        self._begun = path.exists() and self._read_rows()

    def _read_rows(self) -> bool:
        """False where not even the head is whole, after a kill or on a full disk."""
        with self.path.open("r+b") as file:
            head = file.readline()
            if not head.endswith(b"\n"):
                return False
            if head != self._head:
                raise DataError(
                    f"{self.path.parent}: holds labels of other teachers, scales or another calibration; expected the "
                    "same, to go on; name another folder, or delete this one"
                )
            begin = end = file.tell()
            for line in file:
                row = _row(line)
                if row is not None:  # otherwise damaged, or of an older version, without stamp
                    self._rows[row.photo] = row.stamp, begin
                    end = begin + len(line)
                begin += len(line)
            file.truncate(end)  # what a killed run was about to write
        return True

    def __contains__(self, photo: object) -> bool:
        return isinstance(photo, Path) and self._place(photo) is not None

    def _place(self, photo: Path) -> int | None:
        stamp, place = self._rows.get(str(photo.absolute()), ([], 0))
        return place if stamp and stamp == stamp_of(photo) else None

    def add(self, photo: Path, stamp: list[int], found: PhotoFaces) -> None:
        """Append the results of a photo, with its stamp from before it was read."""
        if not self._begun:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, self._head)
            self._begun = True
        name, size = str(photo.absolute()), found.size
        row = {"image": name, "stamp": stamp, "height": size.height, "width": size.width, "faces": _rows(found.faces)}
        with naming(self.path), self.path.open("ab") as file:
            self._rows[name] = stamp, file.tell()
            file.write(_line(row))

    def read(self, photos: Sequence[Path]) -> Iterator[tuple[Path, PhotoFaces]]:
        """Those of `photos` that are there, in this order."""
        if not self._rows:
            return
        with self.path.open("rb") as file:
            for photo in photos:
                place = self._place(photo)
                if place is not None:
                    file.seek(place)
                    row = _row(file.readline())
                    if row is None:
                        raise DataError(f"{self.path}: was changed meanwhile; run the same command again")
                    yield photo, row.found


def _line(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


class _FoundLine(NamedTuple):
    photo: str
    stamp: list[int]
    found: PhotoFaces


def _row(line: bytes) -> _FoundLine | None:
    """What a line says; None where it is torn or damaged."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else {}
        size, faces = ImageSize(row["height"], row["width"]), _faces(row["faces"])
        if not (isinstance(row["image"], str) and isinstance(row["stamp"], list) and _is_size(size)):
            return None
        return _FoundLine(row["image"], row["stamp"], PhotoFaces(size, faces))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _is_size(size: ImageSize) -> bool:
    return all(type(side) is int and side > 0 for side in size)


def _rows(faces: Faces) -> list[list[float | None]]:
    points = np.full((len(faces), 5, 2), np.nan) if faces.landmarks is None else faces.landmarks
    rows = np.concatenate([faces.boxes, points.reshape(-1, 10)], axis=1).astype(np.float64).round(2).tolist()
    scores = [round(float(score), 6) for score in faces.scores]
    return [
        [score, *(None if value != value else value for value in row)] for score, row in zip(scores, rows, strict=True)
    ]


def _faces(rows: list[list[float | None]]) -> Faces:
    values = np.array(rows, np.float32)  # None becomes NaN
    if values.shape[1:] != (15,) and values.shape != (0,):
        raise ValueError("another number of values")
    values = values.reshape(-1, 15)
    return Faces(values[:, 1:5], values[:, 0], values[:, 5:].reshape(-1, 5, 2))
