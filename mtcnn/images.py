"""Images as the rest of the project wants them: uint8 RGB (H, W, 3), upright, whatever the file was.

What a viewer shows is what comes out: EXIF orientation is applied once, transparent pixels are laid on black (outside
of an image is zero everywhere in this project), 16-bit values become v / 257 rounded. Colour profiles are not applied.
Pillow reads headers and all odd files. OpenCV decodes plain JPEGs, a third faster and with the same pixels, and 16-bit
colour, which Pillow would cut to its high bytes.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from io import BytesIO
from typing import IO, Any, NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import ImageError
from .types import ImageSize

__all__ = ["MAX_PIXELS", "SUFFIXES", "Source", "as_rgb", "image_size", "read_image"]

RGB = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Image.Image

MAX_PIXELS = 2**28 // 3
"""89 Mpx, 256 MiB as RGB. 8K video has 33 Mpx and most cameras less than 64; a small file that claims more is more
likely made to fill the memory. Pillow warns from the same number on."""

SUFFIXES = (
    ".avif", ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""Suffixes, lower case, of files to expect images in. For folder listings: `read_image` looks at the content alone."""

# Pillow knows more, but some of its readers start other programs (EPS runs Ghostscript) or take anything for an image.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
_EXPECTED = "expected an image (JPEG, PNG, WebP, BMP, TIFF, GIF)"
_ORIENTATION = 0x0112  # the EXIF and TIFF tag; values 5 to 8 swap the sides
_BITS_PER_SAMPLE = 258  # TIFF tag
_PNG_DEPTH_AT = 24  # byte of the bit depth: 8 of signature, 8 of chunk head, 4 + 4 of width and height


def read_image(source: Source) -> RGB:
    """The upright picture in a file, in its bytes, or in memory already: uint8 RGB (H, W, 3), C-contiguous.

    source  a path, the content of an image file, an array (see `as_rgb`), or a Pillow image (taken as it stands: its
            pixels are known to the caller, so EXIF is not applied). Of an animation the first frame is read.

    Raises ImageError when the file is missing, unreadable, empty, truncated, no image, of floating point or 32-bit
    pixels, or of more than MAX_PIXELS pixels, which its header tells before anything is decoded.
    """
    if isinstance(source, np.ndarray):
        return as_rgb(source)
    if isinstance(source, Image.Image):
        return _pillow_to_rgb(source, "Pillow image")
    name = _name(source)
    with _open(source, name) as stream, _open_header(stream, name) as header:
        fast = _decode_jpeg(header, stream, name)
        return _decode(header, stream, name) if fast is None else fast


def image_size(source: str | os.PathLike[str] | bytes) -> ImageSize:
    """Height and width of the upright picture, the shape that `read_image` gives, from the header of the file.

    Only a PNG without EXIF before its pixels is read to its end, for EXIF may come last. Raises ImageError as
    `read_image` does, but sees no damage behind the header.
    """
    name = _name(source)
    with _open(source, name) as stream, _open_header(stream, name) as header:
        width, height = header.size
        # Pillow swaps the sides of a TIFF itself, and only of a TIFF.
        turned = header.format != "TIFF" and _orientation(header) >= 5
        return ImageSize(width, height) if turned else ImageSize(height, width)


def as_rgb(array: NDArray[Any], name: str = "image array") -> RGB:
    """An array in memory as uint8 RGB (H, W, 3), C-contiguous. It may share the memory of `array`.

    array  uint8 or uint16 of shape (H, W) or (H, W, 1) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB, or (H, W, 4)
           RGBA, straight alpha. uint16 uses its whole range. The colour order cannot be seen, so OpenCV's BGR must be
           turned by the caller: `array[..., ::-1]`.
    name   what an error calls the array.

    Raises ImageError for any other dtype or shape, and for an image without pixels.
    """
    _check_array(array, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype.itemsize == 2:
        array = _to_8_bit(array)
    channels = array.shape[2]
    colour = array[..., :1] if channels < 3 else array[..., :3]
    if channels in (2, 4):
        colour = _on_black(colour, array[..., -1:])
    if channels < 3:
        colour = np.repeat(colour, 3, axis=2)
    return np.ascontiguousarray(colour, np.uint8)


def _check_array(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:  # either byte order
        fix = "scale values in [0, 1] by 255 and " if array.dtype.kind in "bf" else ""
        raise ImageError(f"{name}: has dtype {array.dtype}; expected uint8 or uint16; {fix}use .astype(np.uint8)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        hint = "; move the channels last with .transpose(1, 2, 0)" if array.ndim == 3 and array.shape[0] <= 4 else ""
        raise ImageError(f"{name}: has shape {array.shape}; expected (H, W) or (H, W, 1 to 4), one image{hint}")
    if array.size == 0:
        raise ImageError(f"{name}: has shape {array.shape} and no pixels; expected at least 1 x 1; pass a real image")


def _to_8_bit(array: NDArray[np.uint16]) -> RGB:
    # 65535 = 255 * 257, so v / 257 maps the ends onto the ends; + 128 rounds. uint32, for 65535 + 128 overflows 16.
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_black(colour: RGB, alpha: RGB) -> RGB:
    if bool((alpha == 255).all()):
        return colour
    return ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)  # 255 * 255 + 127 fits 16 bits


def _name(source: Any) -> str:
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source) or "''"
    raise ImageError(
        f"image of type {type(source).__name__}; expected a path, bytes or a NumPy array; convert it first"
    )


def _open(source: Any, name: str) -> IO[bytes]:
    """A seekable stream of the file's bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesIO(source)
    try:
        stream = open(source, "rb")  # noqa: SIM115 - the caller closes it
        if stream.seekable():
            return stream
        with stream:  # a pipe, such as /dev/stdin
            return BytesIO(stream.read())
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; {_EXPECTED}; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder; {_EXPECTED}; name a file in it") from None
    except PermissionError:
        raise ImageError(f"{name}: may not be read; {_EXPECTED}; check its permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{name}: cannot be opened ({_one_line(error)}); {_EXPECTED}; check the path") from None


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # Pillow may be built without some


def _open_header(stream: IO[bytes], name: str) -> Image.Image:
    """The image with its header read and its size found sane, nothing decoded."""
    try:
        with warnings.catch_warnings():  # the size is judged below, so Pillow need not warn of it
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            header = Image.open(stream, formats=_formats())
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))  # Pillow refuses by itself what has twice as many
        pixels = found[0] if found else "too many"
        raise ImageError(f"{name}: {pixels} pixels; expected at most {MAX_PIXELS} pixels in all; shrink it") from None
    except Exception as error:  # on damaged files Pillow raises a dozen types; all of them mean this
        _fail_open(stream, name, error)
    width, height = header.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width} x {height} pixels; expected at most {MAX_PIXELS} pixels in all; shrink it")
    if width * height == 0:
        raise ImageError(f"{name}: {width} x {height} pixels; expected at least 1 x 1; save it again")
    return header


def _fail_open(stream: IO[bytes], name: str, error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno is not None:  # the disk or the network share, not the content
        raise ImageError(f"{name}: cannot be read ({_one_line(error)}); {_EXPECTED}; check the disk") from None
    if stream.seek(0, os.SEEK_END) == 0:
        raise ImageError(f"{name}: is empty; {_EXPECTED}; save or download it again") from None
    why = "is not an image that can be read" if isinstance(error, UnidentifiedImageError) else _one_line(error)
    raise ImageError(f"{name}: {why}; {_EXPECTED}; convert it or save it again") from None


def _read_all(stream: IO[bytes], name: str) -> NDArray[np.uint8]:
    try:
        stream.seek(0)
        return np.frombuffer(stream.read(), np.uint8)
    except OSError as error:  # the disk or the network share, not the content
        raise ImageError(f"{name}: cannot be read ({_one_line(error)}); {_EXPECTED}; check the disk") from None


def _decode_jpeg(header: Image.Image, stream: IO[bytes], name: str) -> RGB | None:
    """A plain JPEG by OpenCV, or None where Pillow has to look: CMYK, no end marker where it should be, no JPEG.

    libjpeg paints what a truncated file lacks in gray; Pillow refuses such a file, and passes over data behind the end.
    """
    if header.format not in ("JPEG", "MPO") or header.mode not in ("L", "RGB"):
        return None
    data = _read_all(stream, name)
    if not data[-64:].tobytes().rstrip(b"\0\r\n").endswith(b"\xff\xd9"):
        return None
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None or bgr.dtype != np.uint8:
        return None
    return _upright(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), _orientation(header))


def _decode(header: Image.Image, stream: IO[bytes], name: str) -> RGB:
    deep = _is_16_bit_colour(header, stream)
    try:
        header.load()
    except Exception as error:  # as in _open_header
        raise ImageError(f"{name}: is damaged ({_one_line(error)}); {_EXPECTED}; save or download it again") from None
    if not deep:
        # Pillow has turned a TIFF on loading, and dropped its tag then.
        return _upright(_pillow_to_rgb(header, name), _orientation(header))
    pixels = cv2.imdecode(_read_all(stream, name), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(f"{name}: is 16-bit colour that OpenCV cannot decode; {_EXPECTED}; save it with 8 bits")
    order = [2, 1, 0, 3][: pixels.shape[2]]  # BGR or BGRA
    # OpenCV turns a TIFF too, and leaves others alone when asked for them unchanged; _orientation is 1 for the first.
    return _upright(as_rgb(pixels[..., order], name), _orientation(header))


def _is_16_bit_colour(header: Image.Image, stream: IO[bytes]) -> bool:
    if header.mode not in ("RGB", "RGBA", "LA"):
        return False
    if header.format == "PNG":
        stream.seek(_PNG_DEPTH_AT)
        depth = stream.read(1)[0]
        stream.seek(0)
        return depth == 16
    tags: Any = getattr(header, "tag_v2", {})
    return 16 in tuple(np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 8)))


def _pillow_to_rgb(image: Image.Image, name: str) -> RGB:
    """The pixels of any Pillow image, as they lie."""
    if image.mode in ("I", "F"):
        raise ImageError(f"{name}: has 32-bit pixels (mode {image.mode}); expected 8 or 16 bits; save it with 8 bits")
    try:
        if image.mode.startswith("I;16"):
            return as_rgb(np.asarray(image).astype(np.uint16), name)  # astype: either byte order
        return as_rgb(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), name)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: mode {image.mode} ({_one_line(error)}); {_EXPECTED}; save it as RGB") from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none, or none that makes sense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF is common and no reason to refuse a good picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(array: RGB, orientation: int) -> RGB:
    """(H, W, 3) as a viewer shows it. Source: Exif 2.32, 4.6.4, tag Orientation: which side row 0 and column 0 are."""
    if orientation >= 5:
        array = array.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
