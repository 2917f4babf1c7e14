"""The image pyramid that lets the 12-pixel PNet see faces of every size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .resample import resample
from .settings import Range, check
from .types import ImageSize

__all__ = ["CELL", "STRIDE", "LevelImage", "level_of", "level_sizes", "levels", "map_size"]

CELL = 12  # PNet's receptive field, pixels of the level
STRIDE = 2  # from one cell of PNet's map to the next, pixels of the level

MIN_FACE = Range(above=0)
SCALE_FACTOR = Range(above=0, max=0.99)  # closer to 1, a pyramid has thousands of levels
MAX_PIXELS = 1 << 32  # of a level: 12 GiB, more memory than most machines have


class LevelImage(NamedTuple):
    """One pyramid level: uint8 (h, w, 3), and image pixels per level pixel in x and in y."""

    image: NDArray[np.uint8]
    step_x: float
    step_y: float


def level_sizes(size: ImageSize, min_face: float, scale_factor: float) -> list[ImageSize]:
    """Level sizes from the largest: scale 12 / min_face times scale_factor^k, while the short side is 12 or more.

    Sizes are rounded up, as in `detect_face.m` of the MTCNN authors' code. Empty for an image smaller than `min_face`.
    Raises SettingsError for a min_face or scale_factor out of range, ImageError if the largest level would have more
    than MAX_PIXELS pixels.
    """
    check("min_face", min_face, MIN_FACE)
    check("scale_factor", scale_factor, SCALE_FACTOR)
    if size.height * size.width * CELL / min_face > MAX_PIXELS * min_face / CELL and min(size) >= min_face:
        raise ImageError(
            f"{size.width} x {size.height} pixels would be enlarged {CELL / min_face:.3g} times to find faces of "
            f"{min_face:g} pixels; expected at most {MAX_PIXELS >> 20} million pixels; raise `min_face`"
        )
    # `face`: image pixels covered by a cell. Multiplied before dividing: 47 * (12 / 47) is less than 12.
    sizes, face = [], float(min_face)
    while min(size) >= face:
        sizes.append(ImageSize(math.ceil(size.height * CELL / face), math.ceil(size.width * CELL / face)))
        face /= scale_factor
    return sizes


def map_size(level: ImageSize) -> ImageSize:
    """Rows and columns of PNet's map over a level: ceil((side - 2) / 2) - 4, since pooling rounds up."""
    return ImageSize((level.height - 1) // STRIDE - 4, (level.width - 1) // STRIDE - 4)


def level_of(image: NDArray[np.uint8], size: ImageSize) -> LevelImage:
    """Image (H, W, 3) uint8 resized to `size`."""
    height, width = image.shape[:2]
    return LevelImage(resample(image, size.height, size.width), width / size.width, height / size.height)


def levels(image: NDArray[np.uint8], min_face: float, scale_factor: float) -> Iterator[LevelImage]:
    """The levels of image (H, W, 3) uint8, largest first, one at a time."""
    for size in level_sizes(ImageSize(*image.shape[:2]), min_face, scale_factor):
        yield level_of(image, size)
