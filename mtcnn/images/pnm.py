"""PNM with any maximum value. NumPy reads the binary ones that Pillow reads in a Python loop or as 32 bits.

Source: netpbm's ppm(5) and pgm(5): samples are big-endian, and have two bytes if the maximum is above 255.
"""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np
from PIL import Image

from .arrays import RGB, as_rgb, bands

__all__ = ["decode_pnm"]


def decode_pnm(header: Image.Image, stream: IO[bytes]) -> RGB | None:
    """uint8 RGB (H, W, 3) of gray or colour; None for files that Pillow reads well. Raises ValueError if truncated."""
    codec, _, start, settings = cast(Any, header).tile[0]
    channels = 3 if header.mode == "RGB" else 1
    if codec == "ppm_plain" and header.mode == "I":  # decimal text, which Pillow scales to 16 bits
        header.load()
        return as_rgb(np.asarray(header).astype(np.uint16))
    if codec == "ppm":
        largest = int(settings[1])
    elif codec == "raw" and header.mode == "I":
        largest = 65535
    else:
        return None
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    kind: Any = np.dtype(">u2" if largest > 255 else "u1")
    stream.seek(start)
    for rows in bands(header.height, header.width):
        many = (rows.stop - rows.start) * header.width * channels
        content = stream.read(many * kind.itemsize)
        if len(content) < many * kind.itemsize:
            raise ValueError("it ends early")
        samples = np.frombuffer(content, kind).reshape(-1, header.width, channels)
        # Round half to even, as Pillow does.
        pixels[rows] = np.minimum(np.rint(samples / largest * 255), 255)
    return pixels
