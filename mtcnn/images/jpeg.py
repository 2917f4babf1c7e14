"""JPEG: OpenCV decodes plain files, a quarter faster than Pillow and with the same pixels; Pillow decodes the others.

Cameras, crawlers and broken downloads leave truncated files. They are read as far as they go, with a warning that
counts the missing rows. libjpeg paints these gray, without an error if an end marker follows.
"""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from ..errors import ImageError
from .arrays import RGB, upright
from .formats import EXPECTED
from .opening import one_line, read_all
from .pillow import orientation_of, pillow_to_rgb

__all__ = ["decode_jpeg"]

_END = b"\xff\xd9"
_DATA = 0xDA  # start-of-scan marker
_FILL = b"\xff"  # any number of these may precede a marker
_GRAY = 128  # the value that libjpeg paints where data are missing
_SCALE = 8  # decode a block of 8 x 8 pixels to one, which is fast

# New OpenCV decodes to RGB itself, which saves the conversion from BGR.
_AS_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


def decode_jpeg(header: Image.Image, stream: IO[bytes], name: str) -> tuple[RGB, str]:
    """Upright pixels, and a warning, mostly empty.

    Raises ImageError for a damaged file, and for one that lacks more than half of its rows.
    """
    data = read_all(stream, name)
    whole = data[-64:].tobytes().rstrip(b"\0\r\n").endswith(_END)
    pixels = _by_opencv(data) if whole and header.mode in ("L", "RGB") else None
    if pixels is None:
        image, whole = _by_pillow(header, data, name)
        pixels = pillow_to_rgb(image, name)
        del image
    warning = ""
    if not whole or bool((pixels[-1] == _GRAY).all()):
        missing = _missing_rows(data)
        early = f"ends early: the last {missing} of its {len(pixels)} rows are missing"
        if not missing and header.info.get("progressive"):  # each scan refines all rows
            early = "ends early: all of its rows are there, the last of its scans may not be whole"
        if missing * 2 > len(pixels):
            raise ImageError(f"{name}: is damaged ({early}); {EXPECTED}; save or download it again")
        warning = early if missing or not whole else ""
    return upright(pixels, orientation_of(header)), warning


def _by_opencv(data: NDArray[np.uint8]) -> RGB | None:
    """RGB in stored orientation; None if OpenCV fails, in which case Pillow reports why."""
    colour = cv2.IMREAD_COLOR if _AS_RGB is None else _AS_RGB
    try:
        pixels = cv2.imdecode(data, colour | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # wider than OpenCV allows, or out of memory
        return None
    if pixels is None or pixels.dtype != np.uint8:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if _AS_RGB is None else pixels, np.uint8)


def _by_pillow(header: Image.Image, data: NDArray[np.uint8], name: str) -> tuple[Image.Image, bool]:
    """The loaded image, and whether its data are complete. Data after the end marker are ignored."""
    content = _without_zeros(data)
    image = _opened(content)
    try:
        image.load()
        return image, _has_end(content)
    except MemoryError:
        raise
    except Exception as error:
        why = one_line(error)
    image = _opened(content + _END)
    try:
        image.load()
        return image, False
    except MemoryError:
        raise
    except Exception:
        raise ImageError(f"{name}: is damaged ({why}); {EXPECTED}; save or download it again") from None


def _has_end(content: bytes) -> bool:
    """Whether an end marker follows the first scan. The segments before it state their lengths: ITU-T T.81, annex B."""
    at = 2
    while content[at : at + 1] == _FILL and content[at + 1] != _DATA:
        at += 1 if content[at + 1] == _FILL[0] else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return _END in content[at:]


def _without_zeros(data: NDArray[np.uint8]) -> bytes:
    """Strip trailing zeros: an interrupted download may have its full length, padded with zeros."""
    return data.tobytes().rstrip(b"\0")


def _opened(content: bytes) -> Any:
    return Image.open(BytesIO(content), formats=("JPEG", "MPO"))


def _missing_rows(data: NDArray[np.uint8]) -> int:
    """Number of rows at the end without data, in steps of 8.

    Bytes appended to a complete image change nothing. In a truncated one they are decoded as the missing data, so the
    first row that they change is the first missing row.
    """
    content = _without_zeros(data).removesuffix(_END).rstrip(_FILL)
    one, other = _small(content + _END), _small(content + _filler() + _END)
    changed = ImageChops.difference(one, other).getbbox()
    if changed is None:
        return 0
    height: int = _opened(content + _END).height
    return height - min(changed[1] * _SCALE, height - 1)


def _small(content: bytes) -> Image.Image:
    image = _opened(content)
    image.draft(None, (-(-image.width // _SCALE), -(-image.height // _SCALE)))
    image.load()
    return image  # type: ignore[no-any-return]


def _filler() -> bytes:
    """Bytes that decode to some picture, repeated after each restart marker that a decoder may be waiting for."""
    chance = np.random.default_rng(0)
    parts = [chance.integers(0, 255, 1024, np.uint8).tobytes() for _ in range(9)]  # no 255, which starts a marker
    return parts[0] + b"".join(bytes([0xFF, 0xD0 + i]) + part for i, part in enumerate(parts[1:]))
