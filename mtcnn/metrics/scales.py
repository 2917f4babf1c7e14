"""Test scales: any detector at other image sizes, with flips, or at several scales with box voting.

AP on small faces differs by tens of points between these, so a figure must be quoted with its scale:

    original  the image as it is.
    N         scaled, up or down, so that its longest side has N pixels; "vga" is 640, as in the tables of SCRFD.
    AxB       scaled, up or down, as large as it fits: its shorter side into the smaller number, its longer side into
              the larger one, as 1100x1650 of SCRFD's test program.
    letterbox:N  as N, but sampled and extended as SCRFD's programs do it: by plain bilinear interpolation, at the right
              or at the bottom with black to a square. For figures of others; the rule of this project finds more.
    multi     several runs, merged by `voting.vote`, after the test code of S3FD: as it is; at half size, of which only
              boxes with a long side above 30 pixels count; at 2 and 4 times its size, of which only boxes with a
              short side under 100 pixels count. Enlarged images have at most 3.7 megapixels, that code's limit of
              memory; where twice is too much, the factor is what the limit leaves. Sides are those in the original.

A detector is anything that takes an image, uint8 RGB (H, W, 3), and returns Faces. Its settings in pixels, such as
the smallest face to find, refer to the scaled image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import FLIP_ORDER
from mtcnn.detectors.single_stage import pad
from mtcnn.metrics.voting import vote
from mtcnn.resample import resample
from mtcnn.types import Faces, ImageSize

from ..errors import SettingsError
from ..settings import check_flag, is_one_of, shown

__all__ = ["Pass", "ScaledDetector", "check_scale", "mirror", "passes", "stretch"]

Detect = Callable[[NDArray[np.uint8]], Faces]

VGA = 640
SIDES = (12, 10_000)  # longest side: below, no face is visible; above, memory runs to gigabytes

# wider_test.py of S3FD: keep rules in pixels of the original image, and 2147483647 / 577 pixels of memory.
_SHRUNK_ABOVE, _ENLARGED_BELOW = 30.0, 100.0
_ENLARGED_PIXELS = 2147483647 / 577
_ENLARGED = (2.0, 4.0)  # beyond it, a face of 20 scaled pixels has fewer than 5 in the photo


@dataclass(frozen=True)
class Pass:
    """One run: the factor that the image is scaled by, and which boxes count, by their sides in the original image.

    square  side of the black square that the scaled image is put into, its upper left corner; 0 for none.
    """

    factor: float
    long_side_above: float = -math.inf
    short_side_below: float = math.inf
    square: int = 0

    def scaled(self, size: ImageSize) -> ImageSize:
        return ImageSize(*(max(1, round(side * self.factor)) for side in size))


def check_scale(scale: str, setting: str = "scale") -> str:
    """Returns `scale`, a value of `setting`. Raises SettingsError unless it is original, vga, multi or numbers of
    pixels."""
    sides = _sides(scale) or (0,)
    if is_one_of(scale, ("original", "vga", "multi")) or all(SIDES[0] <= side <= SIDES[1] for side in sides):
        return scale
    raise SettingsError(
        f"{setting} is {shown(scale)}; expected original, vga, multi, or pixels of the longest side, such as 1024, of "
        "the shorter and the longer one, such as 1100x1650, or of a square, such as letterbox:640"
    )


def _sides(scale: str) -> tuple[int, ...]:
    """The numbers in `scale`, smallest first: one of N and letterbox:N, two of AxB; none of anything else."""
    pattern = r"(?:letterbox:)?([0-9]{1,6})|([0-9]{1,6})x([0-9]{1,6})"
    found = re.fullmatch(pattern, scale) if isinstance(scale, str) else None
    return tuple(sorted(int(side) for side in found.groups() if side)) if found else ()


def passes(scale: str, size: ImageSize) -> list[Pass]:
    """The runs over an image of `size` pixels. Raises SettingsError as `check_scale` does."""
    if check_scale(scale) == "original":
        return [Pass(1.0)]
    if scale == "multi":
        return list(_many(size))
    sides = _sides(scale) or (VGA,)
    if len(sides) == 2:
        return [Pass(min(sides[0] / min(size), sides[1] / max(size)))]
    return [Pass(sides[0] / max(size), square=sides[0] if scale.startswith("letterbox") else 0)]


def _many(size: ImageSize) -> Iterator[Pass]:
    yield Pass(1.0)
    yield Pass(0.5, long_side_above=_SHRUNK_ABOVE)
    limit = math.sqrt(_ENLARGED_PIXELS / (size.height * size.width))
    factors = [factor for factor in _ENLARGED if factor <= limit] or [limit]
    yield from (Pass(factor, short_side_below=_ENLARGED_BELOW) for factor in factors if factor > 1)


def mirror(faces: Faces, width: float) -> Faces:
    """Faces of an image `width` pixels wide, flipped horizontally; its own inverse."""
    x1, y1, x2, y2 = faces.boxes.T
    points = None
    if faces.landmarks is not None:
        points = faces.landmarks[:, list(FLIP_ORDER)] * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
    return Faces(np.stack([width - x2, y1, width - x1, y2], axis=1), faces.scores, points)


def stretch(faces: Faces, x: float, y: float) -> Faces:
    """Faces with coordinates scaled by `x` and `y`."""
    factors = np.array([x, y], np.float32)
    points = None if faces.landmarks is None else faces.landmarks * factors
    return Faces(faces.boxes * np.tile(factors, 2), faces.scores, points)


class ScaledDetector:
    """A detector at one scale or several, itself a detector.

    detect  finds faces in one image.
    scale   see the top of this file. Raises SettingsError for another.
    flip    also run each pass on the mirror image.

    Faces are in pixels of the image given. Several runs are merged by box voting; a single one is returned as it is.
    """

    def __init__(self, detect: Detect, scale: str = "original", flip: bool = False) -> None:
        check_flag("flip", flip)
        self.detect, self.scale, self.flip = detect, check_scale(scale), flip

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces in image (H, W, 3) uint8, by falling score."""
        size = ImageSize(*image.shape[:2])
        runs = [(step, flip) for step in passes(self.scale, size) for flip in ([False, True] if self.flip else [False])]
        found = [self._run(image, size, step, flip) for step, flip in runs]
        if len(found) == 1:
            return found[0]
        # An empty part may lack landmarks; concat would then drop those of all.
        return vote(Faces.concat([faces for faces in found if len(faces)] or found[:1]))

    def _run(self, image: NDArray[np.uint8], size: ImageSize, step: Pass, flip: bool) -> Faces:
        scaled = step.scaled(size)
        pixels = image if scaled == size else _resized(image, scaled, bool(step.square))
        pixels = np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels
        faces = self.detect(pad(pixels, step.square, (0, 0, 0)) if step.square else pixels)
        if flip:
            faces = mirror(faces, scaled.width)
        if scaled != size:
            faces = stretch(faces, size.width / scaled.width, size.height / scaled.height)
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        kept = (sides.max(axis=1) > step.long_side_above) & (sides.min(axis=1) < step.short_side_below)
        return faces[kept]


def _resized(image: NDArray[np.uint8], size: ImageSize, plain: bool) -> NDArray[np.uint8]:
    """image (H, W, 3) at another size; `plain`: by bilinear interpolation, which skips pixels where it shrinks."""
    if not plain:
        return resample(image, *size)
    return np.asarray(cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_LINEAR), np.uint8)
