"""CelebA: lists of boxes and of five landmarks, one face a photo.

    202599                                    202599
    image_id x_1 y_1 width height             lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x ...
    000001.jpg  95  71 226 313                000001.jpg  165 184  244 176  196 249  194 271  266 260

`Anno/list_bbox_celeba.txt`, `Anno/list_landmarks_celeba.txt`, and the photos of `img_celeba`; the points are the
viewer's left first. The lists are also published as .csv, without the number of rows. Other faces in the photos have
no label. Source: the readme of CelebA (Liu et al. 2015).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn.errors import DataError
from mtcnn.files.text import read_text

from ..records import ImageRecord, Problem
from .label_file import Face, Gathering, find_image, folder_with, numbers

__all__ = ["BOXES", "LANDMARKS", "read"]

BOXES, LANDMARKS = "list_bbox_celeba", "list_landmarks_celeba"


def read(path: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """The photos of the list of boxes, with landmarks where the other list has them; all are incomplete.

    path    the folder with `Anno`, or with the lists; or the list of boxes.
    images  default: `img_celeba`, `images` or the folder itself.

    A bad row is skipped: with the face in the list of boxes, with its landmarks in the other one. Raises DataError if
    the list of boxes or the images are missing.
    """
    boxes = path if path.is_file() else _list_of(path, BOXES)
    if boxes is None:
        raise DataError(f"{path}: holds no {BOXES}.txt; give the folder of CelebA, with Anno and img_celeba")
    above = boxes.parent.parent
    places = [folder / name for folder in (boxes.parent, above) for name in ("img_celeba", "Img/img_celeba", "images")]
    rows = list(_rows(boxes))
    found = Gathering(boxes, folder_with(boxes, images, [*places, boxes.parent], [name for _, name, _ in rows]))
    other = _list_of(boxes.parent, LANDMARKS)
    points = {} if other is None else _points(found, other)
    for number, name, text in rows:
        image = find_image(found.images, name)
        if image is None:
            found.report(number, f"no image {name!r} in {found.images}, with this or another suffix; left out")
            continue
        try:
            x, y, width, height = _numbers(text, 4)
        except ValueError as error:
            found.report(number, f"{error}; left out")
            continue
        found.add(image, [Face((x, y, x + width, y + height), points.get(name))], complete=False)
    return found.result()


def _list_of(folder: Path, stem: str) -> Path | None:
    files = [folder / part / f"{stem}{suffix}" for part in ("", "Anno") for suffix in (".txt", ".csv")]
    return next((file for file in files if file.is_file()), None)


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Line, name and numbers of each row; the head has no file name with a suffix in front."""
    for number, line in enumerate(read_text(file, "utf-8-sig").splitlines(), 1):
        words = (line.replace(",", " ") if file.suffix == ".csv" else line).split()  # names may have commas
        if len(words) < 2 or (number <= 2 and not any(word[:1].isdigit() or word[:1] == "-" for word in words[1:])):
            continue
        count = 4 if file.stem.startswith(BOXES) else 10
        at = max(1, len(words) - count)  # names may have spaces
        yield number, " ".join(words[:at]), " ".join(words[at:])


def _numbers(text: str, count: int) -> list[float]:
    values = numbers(text)
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers in the row, expected {count}")
    return values


def _points(found: Gathering, file: Path) -> dict[str, Any]:
    points: dict[str, Any] = {}
    for number, name, text in _rows(file):
        try:
            points[name] = np.array(_numbers(text, 10), np.float32).reshape(5, 2)
        except ValueError as error:
            found.problems.append(Problem(f"{file}:{number}", f"{error}; landmarks left out"))
    return points
