"""PNG of 16 bits a sample. Pillow reads only the high bytes of colour, and ignores transparency.

Pillow unpacks 16-bit colour as "RGB;16B", which drops the low bytes. Unpacked as "RGB;16L" it drops the high bytes
instead, so two passes give both.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .arrays import RGB, on_black, to_8_bit, upright
from .pillow import orientation_of, pillow_rows

__all__ = ["decode_deep_png", "is_deep_png"]

_DEPTH_AT = 24  # byte of the bit depth: 8 of signature, 8 of chunk head, 4 + 4 of width and height
GRAY, COLOUR, GRAY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6  # the colour type, the byte after the depth


def _kind(stream: IO[bytes]) -> tuple[int, int]:
    """Bit depth and colour type. The stream's position is unchanged, since Pillow continues from it."""
    where = stream.tell()
    stream.seek(_DEPTH_AT)
    depth, colour = stream.read(2)
    stream.seek(where)
    return depth, colour


def is_deep_png(stream: IO[bytes]) -> bool:
    """Whether a PNG has 16 bits a sample."""
    return _kind(stream)[0] == 16


def scale_hidden(header: Image.Image, stream: IO[bytes]) -> None:
    """Scale the transparent gray value to 8 bits: for 2 and 4 bits Pillow scales only the pixels."""
    depth, colour = _kind(stream)
    hidden = header.info.get("transparency")
    if colour == GRAY and depth in (2, 4) and isinstance(hidden, int):
        header.info["transparency"] = (hidden & (1 << depth) - 1) * (255 // ((1 << depth) - 1))


def decode_deep_png(stream: IO[bytes]) -> RGB:
    """Upright pixels. Raises what Pillow raises for damaged files."""
    colour = _kind(stream)[1]
    if colour == GRAY:
        image = _loaded(stream)
        pixels = _gray(image)
    elif colour == GRAY_ALPHA:
        image = _loaded(stream, "RGBA")
        pixels = _gray_alpha(image)
    else:
        mode = "RGBA" if colour == COLOUR_ALPHA else "RGB"
        high = _bytes_of(_loaded(stream, f"{mode};16B"))
        image = _loaded(stream, f"{mode};16L")
        pixels = _colour(high, image)
    return upright(pixels, orientation_of(image))  # last: EXIF may follow the pixels, and asking would decode them


def _loaded(stream: IO[bytes], unpack: str | None = None) -> Image.Image:
    """The loaded image, unpacked by Pillow's raw mode `unpack`."""
    stream.seek(0)
    image: Any = Image.open(stream, formats=("PNG",))
    if unpack is not None:
        image.tile = [tile._replace(args=unpack) for tile in image.tile]
    image.load()
    return image  # type: ignore[no-any-return]


def _gray(image: Image.Image) -> RGB:
    hidden = image.info.get("transparency")  # a 16-bit value
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in pillow_rows(image):
        samples = np.asarray(band).astype(np.uint16)[..., None]
        pixels[rows] = to_8_bit(samples)
        if isinstance(hidden, int):
            pixels[rows][samples[..., 0] == hidden] = 0
    return pixels


def _gray_alpha(image: Image.Image) -> RGB:
    """RGB of an image (H, W, 4) that has the high and low bytes of gray, then of alpha."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in pillow_rows(image):
        samples = to_8_bit(np.ascontiguousarray(band).view(">u2"))
        pixels[rows] = on_black(samples[..., :1], samples[..., 1:])
    return pixels


def _colour(high: NDArray[np.uint8], low: Image.Image) -> RGB:
    """RGB of the high bytes (H, W, 3 or 4), which are overwritten, and an image of the low bytes."""
    hidden = low.info.get("transparency")  # a colour with 16 bits a sample
    for rows, band in pillow_rows(low):
        samples = high[rows].astype(np.uint16) << 8 | np.asarray(band)
        high[rows] = to_8_bit(samples)
        if isinstance(hidden, tuple):
            high[rows][(samples == np.asarray(hidden, np.uint16)).all(axis=2)] = 0
    return on_black(high[..., :3], high[..., 3:]) if high.shape[2] == 4 else high


def _bytes_of(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for rows, band in pillow_rows(image):
        pixels[rows] = np.asarray(band)
    return pixels
