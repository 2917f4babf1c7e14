"""JPEG: OpenCV decodes plain files, a quarter faster than Pillow and with the same pixels; Pillow decodes the others.

A file that ends early, as cameras, crawlers and broken downloads leave them, is read as far as it goes, and how many
rows are missing is said. libjpeg paints those gray, without an error where only an end marker follows.
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
_DATA = 0xDA  # the marker of a scan
_FILL = b"\xff"  # may stand before a marker, any number of times
_GRAY = 128  # of what libjpeg paints where nothing came
_SCALE = 8  # a block of 8 x 8 pixels decodes to one, fast

# The same picture without the turn from BGR to RGB, where OpenCV is new enough.
_AS_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


def decode_jpeg(header: Image.Image, stream: IO[bytes], name: str) -> tuple[RGB, str]:
    """Upright pixels, and what is to be said of them, which is mostly nothing.

    Raises ImageError for a damaged file, and for one that more than half of its rows are missing from.
    """
    data = read_all(stream, name)
    whole = data[-64:].tobytes().rstrip(b"\0\r\n").endswith(_END)
    pixels = _by_opencv(data) if whole and header.mode in ("L", "RGB") else None
    if pixels is None:
        image, whole = _by_pillow(header, data, name)
        pixels = pillow_to_rgb(image, name)
        del image
    said = ""
    if not whole or bool((pixels[-1] == _GRAY).all()):
        missing = _missing_rows(data)
        early = f"ends early: the last {missing} of its {len(pixels)} rows are missing"
        if not missing and header.info.get("progressive"):  # each scan covers all rows, and sharpens them
            early = "ends early: all of its rows are there, the last of its scans may not be whole"
        if missing * 2 > len(pixels):
            raise ImageError(f"{name}: is damaged ({early}); {EXPECTED}; save or download it again")
        said = early if missing or not whole else ""
    return upright(pixels, orientation_of(header)), said


def _by_opencv(data: NDArray[np.uint8]) -> RGB | None:
    """RGB, not turned; None where OpenCV cannot, and Pillow has to say why."""
    colour = cv2.IMREAD_COLOR if _AS_RGB is None else _AS_RGB
    try:
        pixels = cv2.imdecode(data, colour | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # wider than OpenCV takes, or out of memory
        return None
    if pixels is None or pixels.dtype != np.uint8:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if _AS_RGB is None else pixels, np.uint8)


def _by_pillow(header: Image.Image, data: NDArray[np.uint8], name: str) -> tuple[Image.Image, bool]:
    """The loaded image, and whether its data are whole. Data behind the end of the picture are passed over."""
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
    """Whether an end marker follows the first data. Source: ITU-T T.81, annex B: segments with lengths come before."""
    at = 2
    while content[at : at + 1] == _FILL and content[at + 1] != _DATA:
        at += 1 if content[at + 1] == _FILL[0] else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return _END in content[at:]


def _without_zeros(data: NDArray[np.uint8]) -> bytes:
    """A download that broke off may have its whole length already, with zeros where nothing came."""
    return data.tobytes().rstrip(b"\0")


def _opened(content: bytes) -> Any:
    return Image.open(BytesIO(content), formats=("JPEG", "MPO"))


def _missing_rows(data: NDArray[np.uint8]) -> int:
    """How many rows at the end nothing came for, in steps of 8.

    Whatever stands behind the data of the last row does not change a whole picture. Where data are missing, it is taken
    for them: the first row that it changes is the first that is missing.
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
    """Bytes that decode to some picture, and so again behind each restart marker that may be expected."""
    chance = np.random.default_rng(0)
    parts = [chance.integers(0, 255, 1024, np.uint8).tobytes() for _ in range(9)]  # without 255, which begins a marker
    return parts[0] + b"".join(bytes([0xFF, 0xD0 + i]) + part for i, part in enumerate(parts[1:]))
