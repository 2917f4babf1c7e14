"""Composes images of given size and number of faces from photos; deterministic, and never stored.

With a data folder (CONTRIBUTING.md), scenes without faces are laid side by side and face photos set into them in rows;
without one, photos that scikit-image ships, with a single face many times. Both have what a cascade meets: texture that
PNet proposes and the others reject, and faces among it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn import read_image
from mtcnn.images import SUFFIXES
from mtcnn.resample import resample

Image = NDArray[np.uint8]

TILE = 512  # pixels: the longest side of the scenes without faces, so that they are hardly ever enlarged
FACE = 256  # pixels: the longest side of the face photos
ASTRONAUT = (slice(30, 240), slice(120, 330))  # rows and columns of the face in scikit-image's photo


class Sources:
    """Photos to build from.

    empty   scenes without faces.        faces  square photos of one face each.      label  what they are, in words.
    """

    def __init__(self, data: Path | None) -> None:
        if data is None:
            self.empty, self.faces = _skimage_photos()
            self.label = "scenes put together from scikit-image's photos, one face many times"
        else:
            self.empty = [image for image in _photos(data / "negatives") if min(image.shape[:2]) >= TILE // 2]
            self.faces = _face_photos(data / "landmarks" / "faces_test.csv")
            self.label = "scenes put together from photos of the data folder"

    def compose(self, width: int, height: int, faces: int) -> Image:
        """uint8 (height, width, 3) with `faces` faces in a grid; their photos take a square of at most FACE pixels."""
        image = self._background(width, height)
        for place, photo in zip(grid(width, height, faces), _spread(self.faces, faces), strict=True):
            x, y, side = place
            image[y : y + side, x : x + side] = resample(photo, side, side)
        return image

    def _background(self, width: int, height: int) -> Image:
        columns, rows = math.ceil(width / TILE), math.ceil(height / TILE)
        image = np.zeros((height, width, 3), np.uint8)
        photos = iter(_spread(self.empty, columns * rows))
        for row in range(rows):
            for column in range(columns):
                y1, y2 = (height * part // rows for part in (row, row + 1))
                x1, x2 = (width * part // columns for part in (column, column + 1))
                image[y1:y2, x1:x2] = _covering(next(photos), x2 - x1, y2 - y1)
        return image


def _photos(folder: Path) -> Iterator[Image]:
    return (read_image(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _face_photos(labels: Path, most: int = 120) -> list[Image]:
    """Square middles of the photos that a list of landmarks names, evenly taken from all of it."""
    with labels.open(encoding="utf-8") as file:
        paths = [labels.parent / row["path"] for row in csv.DictReader(file)]
    return [_covering(read_image(path), FACE, FACE) for path in _spread(paths, min(most, len(paths)))]


def _skimage_photos() -> tuple[list[Image], list[Image]]:
    from skimage import data

    load: Any = data  # its functions have no types
    face = load.astronaut()[ASTRONAUT]
    lights = [np.clip(face * gain, 0, 255).astype(np.uint8) for gain in (1.0, 0.8, 1.15)]
    return [load.coffee(), load.rocket(), load.chelsea()], [turn for one in lights for turn in (one, one[:, ::-1])]


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    """`count` of the values at equal distances; again from the start when there are fewer."""
    whole, rest = divmod(count, len(values))
    return [*values] * whole + [values[i * len(values) // rest] for i in range(rest)]


def _covering(image: Image, width: int, height: int) -> Image:
    """The middle of an image at (height, width), as large as its shape allows."""
    scale = max(width / image.shape[1], height / image.shape[0])
    cut_width, cut_height = (
        min(round(side / scale), most) for side, most in ((width, image.shape[1]), (height, image.shape[0]))
    )
    x, y = (image.shape[1] - cut_width) // 2, (image.shape[0] - cut_height) // 2
    return resample(np.ascontiguousarray(image[y : y + cut_height, x : x + cut_width]), height, width)


def grid(width: int, height: int, count: int) -> Iterator[tuple[int, int, int]]:
    """x, y and side of `count` squares in rows, nine tenths as large as their cells, or FACE pixels."""
    columns = max(round(math.sqrt(count * width / height)), 1)
    rows = max(math.ceil(count / columns), 1)
    cell_width, cell_height = width / columns, height / rows
    side = int(min(0.9 * cell_width, 0.9 * cell_height, FACE))
    for number in range(count):
        row, column = divmod(number, columns)
        yield int((column + 0.5) * cell_width - side / 2), int((row + 0.5) * cell_height - side / 2), side
