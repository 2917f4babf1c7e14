"""`load_image` of ipazc's mtcnn 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import read_image

__all__ = ["load_image", "load_images_batch"]


def load_image(image: Any, dtype: Any = np.float32, device: str = "CPU:0") -> NDArray[Any]:
    """Load an image as an array (H, W, 3) of type `dtype`, RGB from 0 to 255.

    image   a path, the bytes of an image file, or an array, which is returned unchanged.
    dtype   of NumPy or TensorFlow.      device  has no effect: images are read on the CPU.

    Raises ImageError for an unreadable image.
    """
    if hasattr(image, "shape"):
        return image  # type: ignore[no-any-return]
    return read_image(image).astype(getattr(dtype, "as_numpy_dtype", dtype))


def load_images_batch(images: Iterable[Any], dtype: Any = np.float32, device: str = "CPU:0") -> list[NDArray[Any]]:
    """`load_image` of each image."""
    return [load_image(image, dtype, device) for image in images]
