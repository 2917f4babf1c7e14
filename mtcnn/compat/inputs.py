"""Images of any kind, one or a batch, as both packages take them."""

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

OVERSHOOT = 25.5  # beyond 0 and 255, what is cut off without a word
DARK = 32  # an image with a pixel above it is from 0 to 255, however far it overshoots, and not standardised

__all__ = ["as_batch", "loaded", "objects", "pixels_of", "stacked"]


def as_batch(images: Any) -> tuple[list[Any], bool]:
    """Images as a list, and whether they were a batch: a list, a tuple, or an array or tensor (B, H, W, 3)."""
    batch = isinstance(images, list | tuple) or (
        (isinstance(images, np.ndarray) or _is_tensor(images)) and images.ndim == 4
    )
    return list(images) if batch else [images], batch


def _is_tensor(value: Any) -> bool:
    """Whether it is torch's; whoever made it has loaded torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def loaded(image: Any) -> NDArray[np.uint8] | Image.Image:
    """A Pillow image in RGB as it is, anything else as uint8 RGB (H, W, 3)."""
    return image if isinstance(image, Image.Image) and image.mode == "RGB" else pixels_of(image)


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of whatever `read_image` takes, of tensors, and of arrays of other types from 0 to 255.

    Floating point numbers of which none is above 1 are taken for shares of 255, with a warning, and such that only
    overshoot, as generated images do, are cut to the range.

    Raises ImageError for what cannot be read, and for values of another range.
    """
    if _is_tensor(image):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()  # NumPy knows no bfloat16
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
            warnings.warn("image array: no value is above 1; taken as shares of 255; multiply it by 255", stacklevel=2)
            image = image * 255
        image = np.round(np.clip(image, 0, 255)).astype(np.uint8)
    return read_image(image)


def stacked(values: Iterable[Any]) -> NDArray[Any]:
    """Results of the images of a batch as one array (B, ...) where all have one shape, otherwise an object array (B,).

    None stands for an image without faces, and is never joined; [None] is.
    """
    listed = list(values)
    shapes = {None if value is None else np.shape(value) for value in listed}
    return np.stack(listed) if len(shapes) == 1 and None not in shapes else objects(listed)


def objects(values: Iterable[Any]) -> NDArray[Any]:
    """An object array (B,), of whatever shapes its elements have: NumPy would join those of one shape."""
    listed = list(values)
    column = np.empty(len(listed), object)
    for i, value in enumerate(listed):
        column[i] = value
    return column
