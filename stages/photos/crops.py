"""Training pictures of single-stage detectors: square windows of photos, with the faces in them.

Sources: the random square crops of Pytorch_Retinaface, and of SCRFD, whose largest ones reach out of the photo; the
data-anchor sampling of S3FD's PyTorch code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import FLIP_ORDER, areas
from mtcnn.resample import resample_many
from mtcnn.settings import Range, Settings, check, require, setting
from prepare.records import ImageRecord

from ..scene import Scene

__all__ = ["PictureSettings", "anchored_crop", "crop", "fill", "mirrored", "square_crop"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

TRIES = 50  # maximum draws to find a crop with a face
LARGEST = 4096  # side of a picture: a batch of one has 50 MB


@dataclass(frozen=True)
class PictureSettings(Settings):
    """Section [pictures] of a detector's recipe.

    sizes      sides of the pictures; each batch uses a random one, larger sides with smaller batches.
    crop       min and max side of a crop, in units of the photo's shorter side; above 1 it extends outside.
    anchored   share of pictures in which a random face is scaled to the size of an anchor.
    min_face   faces below this size (root of the area, in pixels of the picture) are ignored.
    brightness contrast saturation hue   largest changes: share of the range, factors, factors, degrees of 360.
    points     share of pictures that are pages of faces with known points, used only for landmarks.
    unlabelled share of pictures from photos without labels, for objectives with a teacher.
    min_landmark_face  landmarks of smaller faces (measured in the same way) are not trained.
    shares     name of a folder -> share of the pictures from the photos below it, with labels or without; other photos
               share the rest.
    """

    sizes: tuple[float, ...] = (640,)
    crop: tuple[float, ...] = (0.3, 1.0)
    anchored: float = setting(0.0, min=0, max=1)
    min_face: float = setting(7.0, min=0)
    brightness: float = setting(0.125, min=0, max=1)
    contrast: float = setting(0.5, min=0, max=1)
    saturation: float = setting(0.5, min=0, max=1)
    hue: float = setting(18.0, min=0, max=180)
    points: float = setting(0.0, min=0, max=1)
    unlabelled: float = setting(0.0, min=0, max=1)
    min_landmark_face: float = setting(0.0, min=0, added=True)
    shares: dict[str, float] = field(default_factory=dict, metadata={"added": True})

    renamed: ClassVar[dict[str, str]] = {"smallest": "min_face"}

    def __post_init__(self) -> None:
        super().__post_init__()
        good = bool(self.sizes) and all(32 <= size <= LARGEST and size % 32 == 0 for size in self.sizes)
        require(good, "sizes", list(self.sizes), f"multiples of 32, up to {LARGEST}")
        good = len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[1]
        require(good, "crop", list(self.crop), "the smallest and the largest side, such as [0.3, 1.0]")
        for name, share in self.shares.items():
            check(f"shares.{name}", share, Range(min=0, max=1))
        total = math.fsum(self.shares.values())
        require(total <= 1 + 1e-9, "shares", round(total, 6), "at most 1 in all")


def crop(
    photo: RGB, record: ImageRecord, window: Array, size: int, min_face: float = 0.0, min_landmark_face: float = 0.0
) -> Scene:
    """The square `window` (4,) of a photo as a picture of `size` pixels, black outside the photo.

    A face belongs to the picture if its centre does; its box is clipped. Faces whose centre lies outside, and those
    below `min_face`, are ignored. Landmarks of faces below `min_landmark_face` become unknown.
    """
    scale = size / (window[2] - window[0])
    image = resample_many(photo, window[None], size)[0]
    boxes = (record.boxes - np.tile(window[:2], 2)) * scale
    landmarks = (record.landmarks - window[:2]) * scale
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = boxes[:, 2:] - boxes[:, :2]
    outside = ~((centres > 0) & (centres < size)).all(axis=1)
    lengths = np.sqrt(np.maximum(sides, 0).prod(axis=1))
    landmarks[lengths < min_landmark_face] = np.nan
    boxes = np.clip(boxes, 0, size)
    seen = (boxes[:, 2:] - boxes[:, :2] > 0).all(axis=1)  # NaN for unknown boxes, which compare False
    ignore = record.ignore | outside | (lengths < min_face)
    scores = None if record.scores is None else record.scores[seen]
    boxes, landmarks = boxes[seen].astype(np.float32), landmarks[seen].astype(np.float32)
    return Scene(image, boxes, landmarks, ignore[seen], record.complete, scores)


def square_crop(
    record: ImageRecord, height: int, width: int, sides: tuple[float, ...], rng: np.random.Generator
) -> Array:
    """A random window (4,) of a photo, its side between `sides` of the shorter side of the photo, all ratios alike.

    It contains the centre of a face if TRIES draws find one, and lies inside the photo as far as it fits.
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


def anchored_crop(
    record: ImageRecord, height: int, width: int, size: int, anchors: Sequence[float], rng: np.random.Generator
) -> Array:
    """A random window (4,) around one face, which is scaled to the size of an anchor in a picture of `size` pixels.

    The anchor, a side in pixels, is the one nearest the face's size, the next larger one, or any smaller one, with
    equal probability; the face then gets half to twice that size. Large faces thus become small ones, of which a net
    needs more, and few are enlarged. Ignored faces are not chosen.
    """
    faces = np.flatnonzero(~record.ignore & (areas(record.boxes) > 0))
    if not len(faces):
        return square_crop(record, height, width, (1.0, 1.0), rng)
    box = record.boxes[faces[rng.integers(len(faces))]].astype(np.float64)
    own = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    nearest = int(np.abs(np.asarray(anchors) - own).argmin())
    target = anchors[int(rng.integers(min(nearest + 1, len(anchors) - 1) + 1))] * 2 ** rng.uniform(-1, 1)
    side = size * own / target
    corner = [_around(box[axis], box[axis + 2], side, length, rng) for axis, length in ((0, width), (1, height))]
    return np.array([*corner, corner[0] + side, corner[1] + side])


def _around(low: float, high: float, side: float, length: float, rng: np.random.Generator) -> float:
    """Position of a window of `side` on an axis of `length`: it contains [low, high], or lies within it if shorter.

    If possible, it also lies within the photo, or contains all of it.
    """
    first, last = sorted((high - side, low))
    inner_first, inner_last = sorted((0.0, length - side))
    if max(first, inner_first) <= min(last, inner_last):
        first, last = max(first, inner_first), min(last, inner_last)
    return float(rng.uniform(first, last))


def _offset(room: float, rng: np.random.Generator) -> float:
    """Position of a window with `room` to move; a photo smaller than the window lies anywhere in it."""
    return float(rng.uniform(min(room, 0.0), max(room, 0.0)))


def fill(image: RGB, window: Array, height: int, width: int, colour: float | tuple[float, float, float]) -> RGB:
    """The picture of `window` (4,), padded with `colour` outside the photo of `height` x `width`, as in detection."""
    scale = image.shape[0] / (window[2] - window[0])
    first = np.clip(np.ceil(-window[:2] * scale), 0, image.shape[0]).astype(int)
    last = np.clip(np.floor((np.array([width, height]) - window[:2]) * scale), 0, image.shape[0]).astype(int)
    filled = np.empty_like(image)
    filled[:] = np.round(colour).astype(np.uint8)
    inside = slice(first[1], last[1]), slice(first[0], last[0])
    filled[inside] = image[inside]
    return filled


def mirrored(scene: Scene) -> Scene:
    """The scene flipped horizontally; left and right points are swapped."""
    side = scene.image.shape[1]
    boxes, points = scene.boxes.copy(), scene.landmarks[:, list(FLIP_ORDER)]
    boxes[:, 0], boxes[:, 2] = side - scene.boxes[:, 2], side - scene.boxes[:, 0]
    points[:, :, 0] = side - points[:, :, 0]
    return scene._replace(image=np.ascontiguousarray(scene.image[:, ::-1]), boxes=boxes, landmarks=points)
