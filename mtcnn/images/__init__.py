"""Reads images of any format as uint8 RGB (H, W, 3), upright.

The result is what a viewer shows: EXIF orientation is applied once, transparent pixels are composited on black (the
outside of an image is zero everywhere in this project), v of N bits becomes v * 255 / (2^N - 1) rounded. Colour
profiles are not applied. Pillow reads headers and most files, OpenCV plain JPEGs. Drawing and writing are in
`pictures`, videos and folders in `stream`.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError
from ..hush import hushed
from ..libraries import library_error
from ..settings import Range, is_one_of, require
from ..types import ImageSize
from .arrays import RGB, as_rgb, upright
from .formats import EXPECTED, SUFFIXES
from .opening import MAX_PIXELS, check_size, name_of, one_line, open_header, open_stream
from .pillow import orientation_of, pillow_to_rgb, pillow_unbound

__all__ = [
    "MAX_PIXELS", "SUFFIXES", "Photo", "Source", "as_rgb", "difference_hash", "image_size", "is_image", "read_image",
    "read_photo",
]  # fmt: skip

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[Any] | Image.Image


_KNOWN = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image.Image)


class Photo(NamedTuple):
    """Pixels, uint8 RGB (H, W, 3), and a warning about them such as "ends early: the last ...", mostly empty."""

    pixels: RGB
    warning: str


def read_image(source: Source, max_pixels: int = MAX_PIXELS) -> RGB:
    """Read an image as uint8 RGB (H, W, 3), upright and C-contiguous.

    source      a path; an image file's content, as bytes or as an open binary file, which is read from its start; an
                array or a tensor (see `as_rgb`); or a Pillow image, whose EXIF orientation is ignored because the
                caller already sees its pixels. Of an animation, only the first frame is read.
    max_pixels  the largest size to decode, see MAX_PIXELS. It is checked against the header, before decoding.

    A JPEG that ends early is read with a warning if at least half of its rows are there. Raises ImageError if the
    source is missing, unreadable, empty, truncated, not an image, larger than max_pixels, or has signed, floating point
    or 32-bit samples; SettingsError for max_pixels below 1; LibraryError if a decoder cannot be loaded.
    """
    pixels, warning = read_photo(source, max_pixels)
    if warning:
        warnings.warn(f"{name_of(source)}: {warning}", stacklevel=2)
    return pixels


def read_photo(source: Source, max_pixels: int = MAX_PIXELS) -> Photo:
    """As `read_image`, but return the warning instead of issuing it."""
    _check_limit(max_pixels)
    source = _plain(source)
    if isinstance(source, np.ndarray):
        return Photo(as_rgb(source), "")
    name = "Pillow image" if isinstance(source, Image.Image) else name_of(source)
    with _one_error(name):
        if isinstance(source, Image.Image):
            return Photo(pillow_to_rgb(source, name), "")
        with open_stream(source, name) as stream:
            return _decode(stream, name, max_pixels)


def image_size(source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """Height and width of the upright picture, as `read_image` returns it, from the file's header.

    Only a PNG without EXIF before its pixels is read to its end, because EXIF may come last. Raises ImageError as
    `read_image` does, but does not notice damage after the header.
    """
    _check_limit(max_pixels)
    name = name_of(source)
    with _one_error(name), open_stream(source, name) as stream:
        layout = _deep_tiff(stream, name, max_pixels)
        if layout is not None:
            width, height, turned = layout.width, layout.height, layout.orientation >= 5
        else:
            with open_header(stream, name, max_pixels) as header:
                width, height = header.size
                # Pillow swaps the sides of a TIFF itself, and only of a TIFF.
                turned = header.format != "TIFF" and orientation_of(header) >= 5
        return ImageSize(width, height) if turned else ImageSize(height, width)


def difference_hash(source: str | os.PathLike[str] | bytes) -> int:
    """64 bits that stay nearly the same when a picture is encoded again or scaled.

    Each says whether a pixel is darker than its right neighbour, after the picture is made gray (Pillow's "L") and
    scaled to 9 x 8 pixels (Lanczos); rows first, the most significant bit first. EXIF orientation is not applied.
    Source: Krawetz 2013, "Kind of Like That" (dHash). Raises ImageError as `read_image` does, for a truncated file too.
    """
    name = name_of(source)
    with _one_error(name), open_stream(source, name) as stream, open_header(stream, name) as header:
        small = np.asarray(header.convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")


def _check_limit(max_pixels: float) -> None:
    """Raise SettingsError for a limit that is none; infinity is."""
    known = max_pixels is MAX_PIXELS or is_one_of(max_pixels, [math.inf]) or Range(min=1).holds(max_pixels)
    require(known, "max_pixels", max_pixels, "a number of at least 1")


@contextmanager
def _one_error(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError, so that one file never ends a batch."""
    try:
        with pillow_unbound(), hushed():
            yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name}: takes more memory than there is; {EXPECTED} that fits into it; shrink it") from None
    except Exception as error:  # decoders raise a dozen types on damaged files
        if (broken := library_error(error)) is not None:  # a decoder that cannot be loaded is not the file's fault
            raise broken from None
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network share, not the content
            raise ImageError(f"{name}: cannot be read ({one_line(error)}); {EXPECTED}; check the disk") from None
        raise ImageError(f"{name}: is damaged ({one_line(error)}); {EXPECTED}; save or download it again") from None


def is_image(source: Any) -> bool:
    """Whether `read_image` accepts objects of this type."""
    return isinstance(source, _KNOWN) or _is_tensor(source) or hasattr(source, "read") or hasattr(source, "__array__")


def _is_tensor(source: Any) -> bool:
    torch: Any = sys.modules.get("torch")  # loaded already if there are tensors
    return hasattr(torch, "Tensor") and isinstance(source, torch.Tensor)


def _plain(source: Any) -> Any:
    """Reduce whatever `read_image` accepts to a path, bytes, an array or a Pillow image."""
    if _is_tensor(source):
        try:
            return source.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:  # a dtype that NumPy lacks, or a sparse tensor
            raise ImageError(f"image tensor: {one_line(error)}; expected torch.uint8; use .to(torch.uint8)") from None
    if hasattr(source, "read"):
        return _content(source)
    if isinstance(source, np.ndarray):
        return np.asarray(source)  # subclasses such as np.matrix have other rules of indexing
    if is_image(source):
        return source if isinstance(source, _KNOWN) else _as_array(source)
    raise ImageError(
        f"image of type {type(source).__name__}; expected a path, bytes, an open file, a NumPy array, a tensor or a "
        "Pillow image; convert it first (cv2.imread gives None for a file that it cannot read)"
    )


def _as_array(source: Any) -> NDArray[Any]:
    """What an array of another library is to NumPy."""
    try:
        return np.asarray(source)
    except Exception as error:  # CuPy's, for one, have to be copied from the GPU by the program
        kind = type(source).__name__
        raise ImageError(
            f"image of type {kind}: {one_line(error)}; expected an array that NumPy takes; convert it"
        ) from None


def _content(file: Any) -> bytes:
    """The content of an open file, from its start if it is seekable, as Pillow reads it."""
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        content = file.read()
    except Exception as error:  # any file-like object may raise anything
        raise ImageError(f"open file: cannot be read ({one_line(error)}); {EXPECTED}; open it in mode 'rb'") from None
    if not isinstance(content, bytes):
        kind = type(content).__name__
        raise ImageError(f"open file: gives {kind} instead of bytes; {EXPECTED}; open it in mode 'rb'")
    return content


def _decode(stream: IO[bytes], name: str, max_pixels: int) -> Photo:
    layout = _deep_tiff(stream, name, max_pixels)
    if layout is not None:
        from .tiff import decode_deep_tiff

        return Photo(decode_deep_tiff(layout, stream), "")
    with open_header(stream, name, max_pixels) as header:
        if header.format in ("JPEG", "MPO"):
            from .jpeg import decode_jpeg

            return Photo(*decode_jpeg(header, stream, name))
        return Photo(_other(header, stream, name, max_pixels), "")


def _other(header: Image.Image, stream: IO[bytes], name: str, max_pixels: int) -> RGB:
    from .jpeg2000 import decode_deep_jpeg2000, depth_of
    from .png import decode_deep_png, is_deep_png, scale_hidden
    from .pnm import decode_pnm

    if header.format == "PNG":
        if is_deep_png(stream):
            check_size(*header.size, name, max_pixels, costly=True)
            return decode_deep_png(stream)
        scale_hidden(header, stream)
    elif header.format == "PPM" and (pixels := decode_pnm(header, stream)) is not None:
        return pixels
    elif (bits := depth_of(header, stream, name)) > 8:
        return decode_deep_jpeg2000(header, stream, name, bits)
    header.load()
    # Pillow rotates a TIFF on loading and drops its orientation tag.
    return upright(pillow_to_rgb(header, name), orientation_of(header))


def _deep_tiff(stream: IO[bytes], name: str, max_pixels: int) -> Any:
    """The layout of a TIFF with more than 8 bits a sample; None for any other file."""
    head = stream.read(4)
    stream.seek(0)
    if head[:2] not in (b"II", b"MM"):
        return None
    from .tiff_layout import deep_layout

    layout = deep_layout(stream, name)
    if layout is not None:
        check_size(layout.width, layout.height, name, max_pixels, costly=True)
    return layout
