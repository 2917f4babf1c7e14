"""The file of what teachers found, a line a photo: what a killed run has done is there, and is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError
from mtcnn.types import Faces, ImageSize

__all__ = ["FoundFile", "PhotoFaces"]

FORMAT = 1


class PhotoFaces(NamedTuple):
    """The size of a photo, and the regions in it by falling score."""

    size: ImageSize
    faces: Faces


class FoundFile:
    """Photos and what was found in them, appended as they come.

    key  what the results depend on, plain values. Raises DataError where the file holds results of another key.
    """

    def __init__(self, path: Path, key: Any) -> None:
        self.path, self._places = path, dict[str, int]()  # photo -> where its line begins
        head = _line({"format": FORMAT, "key": key})
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(head)
        with path.open("r+b") as file:
            if file.readline() != head:
                raise DataError(
                    f"{path.parent}: holds labels of other teachers, scales or another calibration; expected the same, "
                    "to go on; name another folder, or delete this one"
                )
            end = file.tell()
            for line in file:
                name = _name(line)
                if name is None:  # a killed run was about to write it
                    break
                self._places[name] = end
                end += len(line)
            file.truncate(end)

    def __contains__(self, photo: object) -> bool:
        return str(photo) in self._places

    def add(self, photo: Path, found: PhotoFaces) -> None:
        """Append the results of a photo."""
        row = {"image": str(photo), "height": found.size.height, "width": found.size.width, "faces": _rows(found.faces)}
        with self.path.open("ab") as file:
            self._places[str(photo)] = file.tell()
            file.write(_line(row))

    def read(self, photos: Sequence[Path]) -> Iterator[tuple[Path, PhotoFaces]]:
        """Those of `photos` that are there, in this order."""
        with self.path.open("rb") as file:
            for photo in photos:
                if photo in self:
                    file.seek(self._places[str(photo)])
                    row = json.loads(file.readline())
                    yield photo, PhotoFaces(ImageSize(row["height"], row["width"]), _faces(row["faces"]))


def _line(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _name(line: bytes) -> str | None:
    """The photo of a line; None where the line is torn."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
        return None if row is None else str(row["image"])
    except (ValueError, KeyError, TypeError):
        return None


def _rows(faces: Faces) -> list[list[float | None]]:
    points = np.full((len(faces), 5, 2), np.nan) if faces.landmarks is None else faces.landmarks
    rows = np.concatenate([faces.boxes, points.reshape(-1, 10)], axis=1).astype(np.float64).round(2).tolist()
    scores = [round(float(score), 6) for score in faces.scores]
    return [
        [score, *(None if value != value else value for value in row)] for score, row in zip(scores, rows, strict=True)
    ]


def _faces(rows: list[list[float | None]]) -> Faces:
    values = np.array(rows, np.float32).reshape(-1, 15)  # None becomes NaN
    return Faces(values[:, 1:5], values[:, 0], values[:, 5:].reshape(-1, 5, 2))
