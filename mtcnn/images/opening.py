"""Opens files and bytes as images, checks headers and sizes, and names sources in messages."""

from __future__ import annotations

import os
from io import BytesIO
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from .formats import EXPECTED, heif_reader, is_heif, readable_formats

__all__ = ["MAX_PIXELS", "check_size", "name_of", "one_line", "open_header", "open_stream", "read_all"]

MAX_PIXELS = 1 << 28
"""268 Mpx, 768 MiB as RGB. Phones take 200 Mpx; a small file that claims more is probably a decompression bomb.

Reading takes at most 8 bytes a pixel. The decoders of WebP, AVIF, HEIC, JPEG 2000 and of more than 8 bits a sample take
up to three times as much, so their limit is a third of this."""

_COSTLY = ("WEBP", "AVIF", "HEIF", "JPEG2000")


def name_of(source: Any) -> str:
    """Name of the source, for error messages."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    return os.fsdecode(source) or "''"


def open_stream(source: Any, name: str) -> IO[bytes]:
    """Open a path, or bytes, as a seekable stream."""
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesIO(source)
    try:
        stream = open(source, "rb")  # noqa: SIM115 - the caller closes it
        if stream.seekable():
            return stream
        with stream:  # a pipe, such as /dev/stdin
            return BytesIO(stream.read())
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; {EXPECTED}; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder; {EXPECTED}; name a file in it") from None
    except PermissionError:
        raise ImageError(f"{name}: may not be read; {EXPECTED}; check its permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{name}: cannot be opened ({one_line(error)}); {EXPECTED}; check the path") from None


def open_header(stream: IO[bytes], name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image with its header read and its size checked, not yet decoded. Call it within `pillow_unbound`."""
    try:
        stream.seek(0)
        header = Image.open(stream, formats=readable_formats(stream.read(16)))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises a dozen types on damaged files
        _fail_open(stream, name, error)
    costly = header.format in _COSTLY or header.mode.startswith("I;16")
    check_size(header.width, header.height, name, max_pixels, costly)
    return header


def check_size(width: int, height: int, name: str, max_pixels: int, costly: bool = False) -> None:
    """Raise ImageError for a size of 0 or above the limit, which for `costly` formats is a third of max_pixels."""
    if width * height == 0:
        raise ImageError(f"{name}: {width} x {height} pixels; expected at least 1 x 1; save it again")
    weight = 3 if costly else 1
    if width * height * weight > max_pixels:
        kind = " of this format" if costly else ""
        raise ImageError(
            f"{name}: {width} x {height} pixels; expected at most {max_pixels // weight} pixels{kind} in all; shrink "
            f"it, or set `max_pixels` to {width * height * weight}"
        )


def _fail_open(stream: IO[bytes], name: str, error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno is not None:  # the disk or the network share, not the content
        raise ImageError(f"{name}: cannot be read ({one_line(error)}); {EXPECTED}; check the disk") from None
    if stream.seek(0, os.SEEK_END) == 0:
        raise ImageError(f"{name}: is empty; {EXPECTED}; save or download it again") from None
    stream.seek(0)
    if is_heif(stream.read(16)):
        if not heif_reader():
            raise ImageError(f"{name}: is HEIC (HEIF); {EXPECTED}; pip install pillow-heif to read it") from None
        raise ImageError(f"{name}: is a damaged HEIC (HEIF) image; {EXPECTED}; copy it again") from None
    why = "is not an image that can be read" if isinstance(error, UnidentifiedImageError) else one_line(error)
    raise ImageError(f"{name}: {why}; {EXPECTED}; convert it or save it again") from None


def read_all(stream: IO[bytes], name: str) -> NDArray[np.uint8]:
    """All bytes of the file."""
    try:
        stream.seek(0)
        return np.frombuffer(stream.read(), np.uint8)
    except OSError as error:  # the disk or the network share, not the content
        raise ImageError(f"{name}: cannot be read ({one_line(error)}); {EXPECTED}; check the disk") from None


def one_line(error: BaseException) -> str:
    """A library's error message, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
