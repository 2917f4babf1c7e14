"""The labels of RetinaFace and SCRFD: WIDER FACE boxes with five landmarks.

RetinaFace, `label.txt`; a row is `x y w h`, five times `x y flag`, and the sharpness; or `x y w h` alone (validation):

    # 0--Parade/0_Parade_marchingband_1_849.jpg
    449 330 122 149 488.9 373.6 0.0 542.1 376.4 0.0 515.0 412.8 0.0 485.2 425.9 0.0 538.4 431.5 0.0 0.82

SCRFD, `labelv2.txt`; a row is `x1 y1 x2 y2`, then nothing, 1 for a face to ignore, or five times `x y flag`, and behind
these a score where a teacher labelled the face (`mtcnn label`):

    # 0--Parade/0_Parade_marchingband_1_849.jpg 1024 1385
    449 330 571 479 488.9 373.6 0.0 542.1 376.4 0.0 515.0 412.8 0.0 485.2 425.9 0.0 538.4 431.5 0.0

A point of -1 -1 -1 is unknown. Other flags mark occluded points, whose position is known all the same.
Source: the annotations published with Deng et al. 2020 (RetinaFace) and Guo et al. 2021 (SCRFD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.types import ImageSize

from ..records import ImageRecord, Problem
from .label_file import Block, Face, Gathering, image_folder, known_size, numbers, read_blocks

__all__ = ["read", "read_labelv2"]

Array = NDArray[Any]


def read(labels: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """Images of a RetinaFace `label.txt`, their boxes and landmarks (NaN where unknown).

    images  the folder that names are relative to; default: `images` beside the label file.

    A bad row is left out and its image marked incomplete. Raises DataError when the file or the folder is missing.
    """
    return _read(labels, images, lambda name: (name, None), _face)


def read_labelv2(labels: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """The same for an SCRFD `labelv2.txt`, which also marks faces to ignore."""
    return _read(labels, images, _name_and_size, _face_v2)


def _read(
    labels: Path,
    images: Path | None,
    name_in: Callable[[str], tuple[str, ImageSize | None]],
    parse: Callable[[str], Face],
) -> tuple[list[ImageRecord], list[Problem]]:
    blocks, problems = read_blocks(labels, lambda line: line[1:].strip() if line.startswith("#") else None)
    found = Gathering(labels, image_folder(labels, images, [labels.parent / "images"]), problems)
    for line, header, rows in blocks:
        try:
            name, size = name_in(header)
        except ValueError as error:
            found.report(line, f"{error}; image left out")
            continue
        found.add_rows(Block(line, name, rows), rows, parse, size)
    return found.result()


def _name_and_size(header: str) -> tuple[str, ImageSize | None]:
    words = header.rsplit(maxsplit=2)
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words[1:]):
        raise ValueError(f"{header[:80]!r} after the #, expected the path, width and height of an image")
    return words[0], known_size(int(words[2]), int(words[1]))


def _face(text: str) -> Face:
    values = numbers(text)
    if len(values) not in (4, 20):
        raise ValueError(f"{len(values)} values in the row, expected 20 (or 4, a box alone)")
    x, y, width, height = values[:4]
    return Face((x, y, x + width, y + height), _landmarks(values[4:19]))


def _face_v2(text: str) -> Face:
    values = numbers(text)
    if len(values) not in (4, 5, 19, 20):
        raise ValueError(
            f"{len(values)} values in the row, expected 19 (or 4, a box alone, 5 with the ignore mark, or 20 with a "
            "score)"
        )
    if len(values) == 5:
        return Face(values[:4], ignore=values[4] == 1)
    score = values[19] if len(values) == 20 else 1.0
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}, expected a number from 0 to 1")
    return Face(values[:4], _landmarks(values[4:19]), score=score)


def _landmarks(values: Sequence[float]) -> Array | None:
    """Points (5, 2) of five times x y flag. All three are -1 where a point is unknown; x or y alone may be outside."""
    if not values:
        return None
    points = np.array(values).reshape(5, 3)
    points[(points == -1).all(axis=1)] = np.nan
    return points[:, :2]
