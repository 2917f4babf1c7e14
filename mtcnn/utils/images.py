"""`load_image` of ipazc's mtcnn 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import read_image

__all__ = ["load_image", "load_images_batch"]


def load_image(image: Any, dtype: Any = np.float32, device: str = "CPU:0") -> NDArray[Any]:
    """An image as an array (H, W, 3), RGB from 0 to 255, float32 unless `dtype` says otherwise.

    image   a path, the bytes of an image file, or an array, which comes back as it is.
    dtype   of NumPy or TensorFlow.      device  is of no effect: images are read on the CPU.

    Raises ImageError for what cannot be read.
    """
    if hasattr(image, "shape"):
        return image  # type: ignore[no-any-return]
    return read_image(image).astype(getattr(dtype, "as_numpy_dtype", dtype))


def load_images_batch(images: Iterable[Any], dtype: Any = np.float32, device: str = "CPU:0") -> list[NDArray[Any]]:
    """`load_image` of each."""
    return [load_image(image, dtype, device) for image in images]
