"""Colour augmentation of training pictures.

Source: Liu et al. 2016, section 2.2, after Howard 2013, with the ranges of the SSD code.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .crops import PictureSettings

__all__ = ["distort"]

RGB = NDArray[np.uint8]


def distort(image: RGB, settings: PictureSettings, rng: np.random.Generator) -> RGB:
    """Random brightness, contrast, saturation and hue, each with probability 0.5; contrast first or last."""
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
