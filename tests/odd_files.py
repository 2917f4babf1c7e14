"""Files as found in people's folders: unusual ones that must be read, and bad ones that must be reported."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["BAD", "GOOD", "make_odd_files"]

GOOD = {
    "one-pixel.png": (1, 1),
    "panorama.png": (20000, 20),
    "deep.png": (40, 30),
    "print.jpg": (40, 30),
    "palette.png": (40, 30),
    "animated.gif": (40, 30),
    "jpeg-inside.png": (40, 30),
    "no-jpeg.JPG": (40, 30),
    "größe 日本 🙂.jpg": (40, 30),
    "two\nlines.png": (40, 30),
    "[x]*?.png": (40, 30),
    "turned.jpg": (30, 40),
    "deep.tif": (40, 30),
}
"""Name -> width and height as a viewer sees them."""

BAD = {
    "truncated.jpg": "is damaged",
    "truncated.png": "is damaged",
    "truncated.gif": "",
    "empty.jpg": "is empty",
    "text.png": "is not an image that can be read",
    "page.jpg": "is not an image that can be read",
    "header.jpg": "",
    "folder.jpg": "is a folder",
    "link.jpg": "no such file",
    "ring.jpg": "cannot be opened",
    "bomb.png": "60000 x 60000 pixels; expected at most",
    "float.tif": "has 32-bit float samples",
    "no-video.mp4": "is not a video that can be read",
}
"""Name -> what its problem is said to be; empty where the words are Pillow's."""


def make_odd_files(folder: Path) -> None:
    """All files of GOOD and BAD, and one that nobody may read (`locked.jpg`: of root, who may, it is good)."""
    _good(folder)
    _bad(folder)
    _image().save(folder / "locked.jpg")
    (folder / "locked.jpg").chmod(0)


def _image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).convert(mode)


def _bytes(kind: str, **settings: Any) -> bytes:
    stream = BytesIO()
    _image().save(stream, kind, **settings)
    return stream.getvalue()


def _good(folder: Path) -> None:
    Image.new("RGB", (1, 1)).save(folder / "one-pixel.png")
    Image.new("RGB", (20000, 20)).save(folder / "panorama.png")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(folder / "deep.png")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(folder / "deep.tif")
    _image("CMYK").save(folder / "print.jpg")
    _image("P").save(folder / "palette.png", transparency=3)
    _image("P").save(folder / "animated.gif", save_all=True, append_images=[_image("P").rotate(180)])
    (folder / "jpeg-inside.png").write_bytes(_bytes("jpeg"))
    (folder / "no-jpeg.JPG").write_bytes(_bytes("webp"))
    for name in ("größe 日本 🙂.jpg", "two\nlines.png", "[x]*?.png"):
        _image().save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    _image().save(folder / "turned.jpg", exif=exif)


def _bad(folder: Path) -> None:
    for kind, name in (("jpeg", "truncated.jpg"), ("png", "truncated.png"), ("gif", "truncated.gif")):
        content = _bytes(kind)
        (folder / name).write_bytes(content[: len(content) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("Dear Sir or Madam\n")
    (folder / "page.jpg").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "header.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4)
    (folder / "folder.jpg").mkdir()
    (folder / "link.jpg").symlink_to("gone.jpg")
    os.symlink("ring.jpg", folder / "ring.jpg")
    (folder / "bomb.png").write_bytes(_claim(60000, 60000))
    Image.fromarray(np.zeros((30, 40), np.float32)).save(folder / "float.tif")
    (folder / "no-video.mp4").write_text("no video")


def _claim(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
