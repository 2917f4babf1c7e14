"""Cuts boxes to crops, for the input of RNet and ONet and the training of all three nets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .resample import resample_many

__all__ = ["cut"]


def cut(image: NDArray[np.uint8], boxes: NDArray[Any], size: int, exact: bool = False) -> NDArray[Any]:
    """Cut boxes (N, 4) xyxy pixels out of image (H, W, 3) uint8 and scale each to (size, size).

    Returns (N, size, size, 3), uint8 as crops are stored, or float32 from 0 to 255 if `exact`: in detection, where
    a shift of a millionth of a pixel must not change the rounded input. The outside of the image is 0 before
    normalisation, as in `pad.m` of the MTCNN authors' code. Boxes that are empty or not finite give black crops.
    """
    return resample_many(image, boxes, size, exact)
