"""Training pictures of single-stage detectors: square crops of photos, their colours, and pages of faces with points.

Sources: random square crops of Pytorch_Retinaface and SCRFD, whose largest ones reach out of the photo; the distortion
of colours of Liu et al. 2016, section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.resample import resample_many
from prepare.points import FLIP_ORDER, square_of_points
from prepare.records import ImageRecord

__all__ = ["PictureSettings", "Scene", "colours", "crop", "mirrored", "page", "square_crop", "tile"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

TRIES = 50  # crops drawn in the search for one with a face in it


@dataclass(frozen=True)
class PictureSettings:
    """Section [pictures] of a detector's recipe.

    sizes      sides of the pictures; each batch takes one of them at random, and larger ones make smaller batches.
    crop       least and largest side of a crop, in units of the photo's shorter side; above 1 it reaches outside.
    smallest   faces below this size (root of the area, in pixels of the picture) are neither learned nor background.
    brightness contrast saturation hue   largest changes: share of the range, factors, factors, degrees of 360.
    points     share of pictures that are pages of faces with known points, which teach the landmarks alone.
    """

    sizes: tuple[float, ...] = (640,)
    crop: tuple[float, ...] = (0.3, 1.0)
    smallest: float = 7.0
    brightness: float = 0.125
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 18.0
    points: float = 0.0

    def __post_init__(self) -> None:
        if not self.sizes or any(size != int(size) or size < 32 or size % 32 for size in self.sizes):
            raise ValueError(f"sizes is {list(self.sizes)}; expected multiples of 32")
        if len(self.crop) != 2 or not 0 < self.crop[0] <= self.crop[1]:
            raise ValueError(f"crop is {list(self.crop)}; expected the least and the largest side, such as [0.3, 1.0]")
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 180), ("points", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number from 0 to {most}")


class Scene(NamedTuple):
    """A picture and its faces, in its pixels.

    image uint8 RGB (S, S, 3); boxes float32 (G, 4); landmarks float32 (G, 5, 2), NaN where unknown; ignore bool (G,).
    complete is False where faces may be visible that are not labelled: it then teaches landmarks alone.
    """

    image: RGB
    boxes: Array
    landmarks: Array
    ignore: NDArray[np.bool_]
    complete: bool = True


def crop(photo: RGB, record: ImageRecord, window: Array, size: int, smallest: float = 0.0) -> Scene:
    """The square `window` (4,) of a photo as a picture of `size` pixels, black outside the photo.

    A face belongs to the picture when its centre does, and its box is cut to the picture. Faces whose centre lies
    outside, and those below `smallest`, are to be ignored.
    """
    scale = size / (window[2] - window[0])
    image = resample_many(photo, window[None], size)[0]
    boxes = (record.boxes - np.tile(window[:2], 2)) * scale
    landmarks = (record.landmarks - window[:2]) * scale
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = boxes[:, 2:] - boxes[:, :2]
    outside = ~((centres > 0) & (centres < size)).all(axis=1)
    tiny = np.sqrt(np.maximum(sides, 0).prod(axis=1)) < smallest
    boxes = np.clip(boxes, 0, size)
    seen = (boxes[:, 2:] - boxes[:, :2] > 0).all(axis=1)  # of unknown boxes NaN, and so not seen
    ignore = record.ignore | outside | tiny
    return Scene(image, boxes[seen].astype(np.float32), landmarks[seen].astype(np.float32), ignore[seen])


def square_crop(record: ImageRecord, height: int, width: int, sides: tuple[float, ...], rng: Any) -> Array:
    """A random window (4,) of a photo, its side between `sides` of the shorter side of the photo, all ratios alike.

    It holds the centre of a face where TRIES draws find one, and lies inside the photo as far as it fits.
    """
    faces = record.boxes[~record.ignore]
    faces = (faces[:, :2] + faces[:, 2:]) / 2
    for _ in range(TRIES):
        side = min(height, width) * math.exp(rng.uniform(math.log(sides[0]), math.log(sides[1])))
        corner = [_offset(length - side, rng) for length in (width, height)]
        window = np.array([*corner, corner[0] + side, corner[1] + side])
        if not len(faces) or ((faces > window[:2]) & (faces < window[2:])).all(axis=1).any():
            break
    return window


def _offset(room: float, rng: Any) -> float:
    """A place for a window with `room` to move; of a window larger than the photo, the photo lies anywhere in it."""
    return float(rng.uniform(min(room, 0.0), max(room, 0.0)))


def mirrored(scene: Scene) -> Scene:
    """The scene as a mirror shows it; left and right points change places."""
    side = scene.image.shape[1]
    boxes, points = scene.boxes.copy(), scene.landmarks[:, list(FLIP_ORDER)]
    boxes[:, 0], boxes[:, 2] = side - scene.boxes[:, 2], side - scene.boxes[:, 0]
    points[:, :, 0] = side - points[:, :, 0]
    return scene._replace(image=np.ascontiguousarray(scene.image[:, ::-1]), boxes=boxes, landmarks=points)


def colours(image: RGB, settings: PictureSettings, rng: Any) -> RGB:
    """Brightness, contrast, saturation and hue changed, each half of the time; contrast before or after the others."""
    chance, late = rng.random(4) < 0.5, rng.random() < 0.5
    shift = 255 * rng.uniform(-settings.brightness, settings.brightness) * chance[0]
    contrast, saturation = (
        rng.uniform(1 - most, 1 + most) if used else 1.0
        for most, used in ((settings.contrast, chance[1]), (settings.saturation, chance[2]))
    )
    hue = rng.uniform(-settings.hue, settings.hue) * chance[3]
    if not late:
        image = _linear(image, contrast, shift * contrast)
    if chance[2] or chance[3]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue in half degrees, 0 to 179
        levels = np.arange(256)
        hsv[..., 0] = cv2.LUT(hsv[..., 0], ((levels + round(hue / 2)) % 180).astype(np.uint8))
        hsv[..., 1] = cv2.LUT(hsv[..., 1], np.clip(levels * saturation, 0, 255).astype(np.uint8))
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    return _linear(image, contrast, shift) if late else image


def _linear(image: RGB, factor: float, shift: float) -> RGB:
    table = np.clip(np.arange(256) * factor + shift + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def page(photos: list[tuple[RGB, Array]], size: int) -> Scene:
    """A picture of `size` pixels tiled with square photos of one face each, given with the points (5, 2) of the face.

    Boxes are the squares around the points. It is not complete: other faces may be visible in the photos.
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


def tile(photo: RGB, landmarks: Array, side: int, rng: Any) -> tuple[RGB, Array]:
    """One photo of a page: the face with points (5, 2) and 1.1 to 2 times its square around it, as `side` pixels."""
    square = square_of_points(landmarks[None].astype(np.float64))[0]
    half = (square[2] - square[0]) / 2 * math.exp(rng.uniform(math.log(1.1), math.log(2.0)))
    centre = (square[:2] + square[2:]) / 2 + rng.uniform(-0.2, 0.2, 2) * half
    window = np.concatenate([centre - half, centre + half])
    return resample_many(photo, window[None], side)[0], (landmarks - window[:2]) * side / (2 * half)
