"""Which formats are read, the suffixes that files of them have, and the readers that have to be installed."""

from __future__ import annotations

import functools
from importlib.util import find_spec

from PIL import Image

__all__ = ["EXPECTED", "SUFFIXES", "heif_without_reader", "readable_formats"]

SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".j2c", ".j2k",
    ".jfi", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes, lower case, of files to expect images in. For folder listings: `read_image` looks at the content alone."""

EXPECTED = "expected an image (JPEG, PNG, WebP, BMP, TIFF, GIF)"

# Pillow knows more, but some of its readers start other programs (EPS runs Ghostscript) or take anything for an image.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")

# Source: ISO/IEC 23008-12, annex B, and the registry of MP4 brands: still images and sequences coded with HEVC.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read here. HEIC counts where pillow-heif is installed."""
    Image.init()
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # Pillow may be built without some


def heif_without_reader(head: bytes) -> bool:
    """Whether a file that begins like this is HEIC, which nothing that is installed reads."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and "HEIF" not in readable_formats()
