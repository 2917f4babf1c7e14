"""JPEG 2000 colour of more than 8 bits, whose brightest values overflow to zero in Pillow.

Source: ISO/IEC 15444-1, annex A.5.1: the SIZ segment at the start of each codestream has the depth of each component.
"""

from __future__ import annotations

import struct
from typing import IO

import cv2
from PIL import Image

from ..errors import ImageError
from .arrays import RGB, on_black, to_8_bit, upright
from .opening import read_all
from .pillow import orientation_of

__all__ = ["decode_deep_jpeg2000", "depth_of"]

_START = b"\xff\x4f\xff\x51"  # of a codestream: its marker and that of the SIZ segment
_HEAD = 1 << 16  # bytes to search for it: only boxes with metadata precede it
_COUNT_AT, _DEPTHS_AT = 40, 42  # offsets from the start: the number of components, then three bytes for each
_SIGNED = 0x80


def depth_of(header: Image.Image, stream: IO[bytes], name: str) -> int:
    """Bits a sample of a JPEG 2000 colour image; 8 for every other image, which Pillow reads correctly.

    Raises ImageError for more than 8 bits if samples are signed or components differ in depth.
    """
    if header.format != "JPEG2000" or header.mode in ("1", "L", "P", "I;16"):
        return 8
    stream.seek(0)
    head = stream.read(_HEAD)
    start = head.find(_START)
    if start < 0 or len(head) < start + _DEPTHS_AT:
        return 8
    (count,) = struct.unpack_from(">H", head, start + _COUNT_AT)
    depths = head[start + _DEPTHS_AT : start + _DEPTHS_AT + 3 * count : 3]
    bits = max((depth & ~_SIGNED) + 1 for depth in depths) if depths else 8
    if bits > 8 and (len(set(depths)) > 1 or depths[0] & _SIGNED or bits > 16):
        raise ImageError(f"{name}: has samples of {bits} bits, signed or not all alike; expected 8 bits; save it so")
    return bits


def decode_deep_jpeg2000(header: Image.Image, stream: IO[bytes], name: str, bits: int) -> RGB:
    """Upright pixels, decoded by OpenCV."""
    samples = cv2.imdecode(read_all(stream, name), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3 or samples.shape[2] not in (3, 4) or samples.dtype.itemsize != 2:
        raise ImageError(f"{name}: has {bits}-bit colour that cannot be read; expected 8 bits; save it with 8 bits")
    pixels = to_8_bit(samples, bits)
    colour = pixels[..., 2::-1]  # from BGR
    return upright(on_black(colour, pixels[..., 3:]) if pixels.shape[2] == 4 else colour, orientation_of(header))
