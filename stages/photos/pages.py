"""Pages: pictures tiled with crops of single faces with five known points, to train landmarks.

Landmark data sets label one face per photo and leave others unlabelled, so their background cannot be used, and most
of each photo would be wasted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.resample import resample_many
from prepare.points import square_of_points

from ..scene import Scene

__all__ = ["page", "tile"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]


def page(photos: list[tuple[RGB, Array]], size: int) -> Scene:
    """A picture of `size` pixels tiled with square photos of one face each, given with the points (5, 2) of the face.

    Boxes are the squares around the points. The scene is incomplete: other faces may be visible in the photos.
    """
    count = math.isqrt(len(photos))
    side = size // count
    image, points = np.zeros((size, size, 3), np.uint8), []
    for i, (photo, face) in enumerate(photos[: count * count]):
        corner = np.array([i % count, i // count]) * side
        image[corner[1] : corner[1] + side, corner[0] : corner[0] + side] = photo[:side, :side]
        points.append(face + corner)
    landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
    boxes = square_of_points(landmarks).astype(np.float32)
    return Scene(image, boxes, landmarks, np.zeros(len(boxes), bool), complete=False)


def tile(photo: RGB, landmarks: Array, side: int, rng: np.random.Generator) -> tuple[RGB, Array]:
    """One photo of a page: the face with points (5, 2) and 1.1 to 2 times its square around it, as `side` pixels."""
    square = square_of_points(landmarks[None].astype(np.float64))[0]
    half = (square[2] - square[0]) / 2 * math.exp(rng.uniform(math.log(1.1), math.log(2.0)))
    centre = (square[:2] + square[2:]) / 2 + rng.uniform(-0.2, 0.2, 2) * half
    window = np.concatenate([centre - half, centre + half])
    return resample_many(photo, window[None], side)[0], (landmarks - window[:2]) * side / (2 * half)
