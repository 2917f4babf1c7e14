"""Converts arrays to uint8 RGB (H, W, 3): channel layouts, bit depths, transparency, and the eight orientations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

__all__ = ["RGB", "as_rgb", "bands", "on_black", "to_8_bit", "upright"]

RGB = NDArray[np.uint8]

BAND = 1 << 18  # pixels processed at a time, so that temporary arrays take megabytes however large the image is


def as_rgb(array: NDArray[Any], name: str = "image array") -> RGB:
    """An array in memory as uint8 RGB (H, W, 3), C-contiguous. It may share the memory of `array`.

    array  uint8 or uint16 of shape (H, W) or (H, W, 1) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB, or (H, W, 4)
           RGBA, straight alpha. uint16 spans 0 to 65535. The colour order cannot be detected: convert OpenCV's BGR with
           `array[..., ::-1]` first.
    name   of the array, for error messages.

    Raises ImageError for any other dtype or shape, and for an image without pixels.
    """
    _check(array, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype.itemsize == 2:
        array = to_8_bit(array)
    channels = array.shape[2]
    colour = array[..., :1] if channels < 3 else array[..., :3]
    if channels in (2, 4):
        colour = on_black(colour, array[..., -1:])
    if channels < 3:
        colour = np.repeat(colour, 3, axis=2)
    return np.ascontiguousarray(colour, np.uint8)


def _check(array: NDArray[Any], name: str) -> None:
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{name}: is of type {type(array).__name__}; expected a NumPy array, uint8 RGB (H, W, 3)")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:  # either byte order
        fix = "scale values in [0, 1] by 255 and " if array.dtype.kind in "bf" else ""
        raise ImageError(f"{name}: has dtype {array.dtype}; expected uint8 or uint16; {fix}use .astype(np.uint8)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        first = array.shape[0] if array.ndim == 3 else 0
        hint = "; put the channels last: np.moveaxis(array, 0, -1), tensor.permute(1, 2, 0)" if 1 <= first <= 4 else ""
        hint = "; pass the images of a batch as a list" if array.ndim == 4 else hint
        raise ImageError(f"{name}: has shape {array.shape}; expected (H, W) or (H, W, 1 to 4), one image{hint}")
    if array.size == 0:
        raise ImageError(f"{name}: has shape {array.shape} and no pixels; expected at least 1 x 1; pass a real image")


def bands(height: int, width: int) -> Iterator[slice]:
    """Split the rows of an image into slices of about BAND pixels."""
    step = max(1, BAND // max(width, 1))
    return (slice(row, min(row + step, height)) for row in range(0, height, step))


def to_8_bit(samples: NDArray[Any], bits: int = 16) -> RGB:
    """round(v * 255 / (2^bits - 1)) of unsigned samples (H, W, C) of 9 to 16 bits: white stays white."""
    largest = (1 << bits) - 1
    result = np.empty(samples.shape, np.uint8)
    for rows in bands(*samples.shape[:2]):
        # uint32: 65535 * 255 overflows 16 bits. Adding half the divisor rounds; the divisor is odd, so no ties occur.
        result[rows] = (samples[rows].astype(np.uint32) * 255 + largest // 2) // largest
    return result


def on_black(colour: RGB, alpha: RGB) -> RGB:
    """Composite colour (H, W, C) with straight alpha (H, W, 1) on black; the same array if nothing is transparent."""
    if bool((alpha == 255).all()):
        return colour
    result = np.empty(colour.shape, np.uint8)
    for rows in bands(*colour.shape[:2]):
        # 255 * 255 + 127 fits 16 bits.
        result[rows] = (colour[rows].astype(np.uint16) * alpha[rows] + 127) // 255
    return result


def upright(array: RGB, orientation: int) -> RGB:
    """Turn pixels (H, W, 3) upright by their EXIF orientation, 1 to 8. Source: Exif 2.32, 4.6.4, tag Orientation."""
    if orientation >= 5:
        array = array.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
