"""The formats that can be read, their file suffixes, and the optional reader for HEIC."""

from __future__ import annotations

import functools

from PIL import Image

__all__ = ["EXPECTED", "SUFFIXES", "heif_reader", "is_heif", "readable_formats"]

SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".j2c", ".j2k",
    ".jfi", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Lower-case suffixes of image files, for listing folders. `read_image` looks at the content alone."""

EXPECTED = "expected an image (JPEG, PNG, WebP, BMP, TIFF, GIF)"

# Pillow knows more, but some of its readers start other programs (EPS runs Ghostscript) or accept any file.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")

# Source: ISO/IEC 23008-12, annex B: still images and sequences coded with HEVC, and containers of those and others.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1")


def readable_formats(head: bytes) -> tuple[str, ...]:
    """Pillow's names of the supported formats that a file with this head may have."""
    return (*_built_in(), "HEIF") if is_heif(head) and heif_reader() else _built_in()


@functools.cache
def _built_in() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # Pillow may be built without some


def is_heif(head: bytes) -> bool:
    """Whether a file with this head is HEIC or HEIF. (The container may hold AVIF instead.)"""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


@functools.cache
def heif_reader() -> bool:
    """Whether the package pillow-heif is installed. It is loaded and registered with Pillow here."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
