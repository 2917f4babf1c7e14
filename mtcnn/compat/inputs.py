"""Reads images of all kinds that the two packages accept, one or a batch."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError
from ..images import read_image

OVERSHOOT = 25.5  # values this far below 0 or above 255 are clipped silently
DARK = 32  # an image with a value above this has the range 0 to 255, and is not a standardised one that overshoots

__all__ = ["as_batch", "loaded", "objects", "pixels_of", "stacked"]


def as_batch(images: Any) -> tuple[list[Any], bool]:
    """The images as a list, and whether they are a batch: a list, a tuple, or an array or tensor (B, H, W, 3)."""
    batch = isinstance(images, list | tuple) or (
        (isinstance(images, np.ndarray) or _is_tensor(images)) and images.ndim == 4
    )
    return list(images) if batch else [images], batch


def _is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, without loading torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def loaded(image: Any) -> NDArray[np.uint8] | Image.Image:
    """An RGB Pillow image unchanged, anything else as uint8 RGB (H, W, 3)."""
    return image if isinstance(image, Image.Image) and image.mode == "RGB" else pixels_of(image)


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of whatever `read_image` takes, of tensors, and of arrays of other dtypes from 0 to 255.

    A floating point image without a value above 1 is multiplied by 255, with a warning. One that slightly exceeds 0 to
    255, as generated images do, is clipped.

    Raises ImageError for an unreadable image, and for values in another range.
    """
    if _is_tensor(image):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()  # NumPy has no bfloat16
    elif hasattr(image, "__array__") and not isinstance(image, np.ndarray | Image.Image):
        image = np.asarray(image)  # of another library, such as TensorFlow
    if isinstance(image, np.ndarray) and image.dtype.kind == "b":
        image = image.astype(np.float32)
    if isinstance(image, np.ndarray) and image.dtype.kind in "fi" and image.size:
        low, high = float(image.min()), float(image.max())
        overshoots = image.dtype.kind == "f" and low >= -OVERSHOOT and DARK < high <= 255 + OVERSHOOT
        if not 0 <= low <= high <= 255 and not overshoots:
            raise ImageError(f"image array: has values from {low:g} to {high:g}; expected 0 to 255; scale it first")
        if image.dtype.kind == "f" and 0 < high <= 1:
            warnings.warn("image array: no value is above 1; read as 0 to 1; multiply it by 255", stacklevel=2)
            image = image * 255
        image = np.round(np.clip(image, 0, 255)).astype(np.uint8)
    return read_image(image)


def stacked(values: Iterable[Any]) -> NDArray[Any]:
    """Stack the results of a batch: one array (B, ...) if all have the same shape, otherwise an object array (B,).

    None, for an image without faces, always gives an object array; [None] is stacked.
    """
    listed = list(values)
    shapes = {None if value is None else np.shape(value) for value in listed}
    return np.stack(listed) if len(shapes) == 1 and None not in shapes else objects(listed)


def objects(values: Iterable[Any]) -> NDArray[Any]:
    """An object array (B,) of elements of any shapes. `np.array` would stack those of equal shape."""
    listed = list(values)
    column = np.empty(len(listed), object)
    for i, value in enumerate(listed):
        column[i] = value
    return column
