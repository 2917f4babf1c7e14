"""TIFF with more than 8 bits a sample. Pillow and OpenCV each misread some layouts silently.

The tags describe the layout: planes, strips or tiles, byte order, 9 to 16 bits, predictor. The compressed strips or
tiles are copied into an 8-bit file, which Pillow only has to decompress, and the samples are unpacked from its rows.
An unknown layout is an error.

Source: TIFF 6.0, with the predictor of section 14; BigTIFF.
"""

from __future__ import annotations

from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .arrays import RGB, on_black, to_8_bit, upright
from .pillow import pillow_rows
from .tiff_bytes import as_bytes
from .tiff_layout import CMYK, GRAY, PALETTE, WHITE_IS_ZERO, Layout

__all__ = ["decode_deep_tiff"]


def decode_deep_tiff(layout: Layout, stream: IO[bytes]) -> RGB:
    """Upright pixels of a file with the layout from `tiff_layout.deep_layout`. Damaged files raise Pillow's errors."""
    if layout.planes == 1:
        pixels = _colours(layout, stream)
    else:
        planes = [_plane(layout, stream, plane) for plane in range(layout.colours + layout.has_alpha)]
        pixels = _finished(layout, np.concatenate(planes, axis=2))
    return upright(pixels, layout.orientation)


def _colours(layout: Layout, stream: IO[bytes]) -> RGB:
    """RGB of interleaved samples."""
    image = as_bytes(layout, stream)
    pixels = np.empty((layout.height, layout.width, 3), np.uint8)
    for rows, band in pillow_rows(image):
        samples = _samples(layout, np.asarray(band))
        if layout.photometric == PALETTE:
            pixels[rows] = to_8_bit(layout.palette[samples[..., 0]])
        else:
            pixels[rows] = _finished(layout, to_8_bit(samples, layout.bits))
    return pixels


def _plane(layout: Layout, stream: IO[bytes], plane: int) -> RGB:
    """8-bit samples (H, W, 1) of one plane of a planar image."""
    image = as_bytes(layout, stream, plane)
    samples = np.empty((layout.height, layout.width, 1), np.uint8)
    for rows, band in pillow_rows(image):
        samples[rows] = to_8_bit(_samples(layout, np.asarray(band)), layout.bits)
    return samples


def _samples(layout: Layout, rows: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Unpack rows of bytes (h, B) to uint16 (h, W, C)."""
    many = layout.width * layout.in_row
    if layout.bits == 16:
        samples = np.ascontiguousarray(rows).view(layout.order + "u2").astype(np.uint16)
    else:  # packed without gaps, high bits first in either byte order
        bits = np.unpackbits(rows, axis=1, count=many * layout.bits).reshape(len(rows), many, layout.bits)
        samples = bits @ (1 << np.arange(layout.bits, dtype=np.uint16)[::-1])
    samples = samples.reshape(len(rows), layout.width, layout.in_row)
    if layout.differences:
        for first in range(0, layout.width, layout.across):
            part = samples[:, first : first + layout.across]
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return samples


def _finished(layout: Layout, samples: RGB) -> RGB:
    """RGB (h, W, 3) of 8-bit samples (h, W, C)."""
    colour, alpha = samples[..., : layout.colours], samples[..., layout.colours : layout.colours + 1]
    if layout.photometric == WHITE_IS_ZERO:
        colour = 255 - colour
    if layout.photometric == CMYK:
        height, width, _ = colour.shape
        return np.asarray(Image.frombytes("CMYK", (width, height), colour.tobytes()).convert("RGB"))
    if layout.alpha == "straight":
        colour = on_black(colour, alpha)
    return np.repeat(colour, 3, axis=2) if layout.photometric in (GRAY, WHITE_IS_ZERO) else colour
