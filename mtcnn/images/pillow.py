"""Converts Pillow images to uint8 RGB, a band of rows at a time: full copies at each step would take gigabytes."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from .arrays import RGB, as_rgb, bands

__all__ = ["orientation_of", "pillow_rows", "pillow_to_rgb", "pillow_unbound"]

_ORIENTATION = 0x0112  # the EXIF and TIFF tag; values 5 to 8 swap the sides
_SILENCE: Any = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filterwarnings` makes it


class _Reading:
    """Changes Pillow's global settings while any thread reads, and restores them after the last."""

    def __init__(self) -> None:
        self.lock, self.readers = threading.Lock(), 0
        self.limit: int | None = None

    def begin(self) -> None:
        with self.lock:
            self.readers += 1
            if self.readers == 1:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def end(self) -> None:
        with self.lock:
            self.readers -= 1
            if self.readers == 0:
                Image.MAX_IMAGE_PIXELS = self.limit
                with suppress(ValueError):  # the program may have changed the filters meanwhile
                    warnings.filters.remove(_SILENCE)  # type: ignore[attr-defined]


_reading = _Reading()


def _forget_threads() -> None:
    """Reset the count in a forked process, which lacks the threads that were reading."""
    _reading.lock = threading.Lock()  # another thread may have held it
    if _reading.readers:
        _reading.readers = 1
        _reading.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def pillow_unbound() -> Iterator[None]:
    """A context in which Pillow neither warns nor rejects large images: this package checks sizes itself."""
    _reading.begin()
    try:
        yield
    finally:
        _reading.end()


def pillow_rows(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Split a loaded image into bands: pairs of rows and their pixels."""
    for rows in bands(image.height, image.width):
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def pillow_to_rgb(image: Image.Image, name: str) -> RGB:
    """Pixels of any Pillow image as uint8 RGB (H, W, 3), in stored orientation."""
    if image.mode in ("I", "F"):
        raise ImageError(f"{name}: has 32-bit pixels (mode {image.mode}); expected 8 or 16 bits; save it with 8 bits")
    try:
        image.load()
        mode = "RGBA" if image.has_transparency_data else "RGB"
        result = np.empty((image.height, image.width, 3), np.uint8)
        for rows, band in pillow_rows(image):
            if image.mode.startswith("I;16"):
                result[rows] = as_rgb(np.asarray(band).astype(np.uint16), name)  # astype: either byte order
            else:
                result[rows] = as_rgb(np.asarray(band if band.mode == mode else band.convert(mode)), name)
        return result
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: mode {image.mode} ({why}); expected an image; save it as RGB") from None


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or invalid."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF is common and no reason to reject a good picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
