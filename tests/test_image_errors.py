"""Unreadable images: every rejection is an ImageError of one line."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import MAX_PIXELS, as_rgb, image_size, read_image

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, kind)
    return stream.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, without pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def assert_refused(path: Path, *said: str, by: tuple[Callable[[Any], Any], ...] = (read_image, image_size)) -> None:
    for read in by:
        with pytest.raises(ImageError) as caught:
            read(path)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(path)), message
        assert "expected" in message
        assert message.count(";") >= 2, f"value; expectation; fix: {message}"
        for words in said:
            assert words in message


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.jpg", "no such file")
    (tmp_path / "empty.jpg").touch()
    assert_refused(tmp_path / "empty.jpg", "empty")
    assert_refused(tmp_path, "folder")
    assert_refused(tmp_path / "empty.jpg" / "below.jpg", "cannot be opened")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    assert_refused(path, "may not be read")


def test_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for tests that run as root."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert_refused(tmp_path / "secret.png", "may not be read")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that can be opened and not read")
def test_disk_errors(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("/proc/self/mem")
    assert_refused(tmp_path / "link.jpg", "cannot be read", "Input/output error", "check the disk")


def test_files_that_are_not_images(tmp_path: Path) -> None:
    for name, content in {"text.jpg": b"hello\n" * 99, "noise.png": bytes(range(256)), "one": b"\xff"}.items():
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, "not an image")
    postscript = tmp_path / "program.eps"  # Pillow would start Ghostscript for it
    postscript.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert_refused(postscript, "not an image")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_truncated(tmp_path: Path, kind: str, part: float) -> None:
    """Except JPEGs with at least half of their rows, see test_jpeg_ends.py."""
    whole = encoded(kind)
    part = min(part, 0.4) if kind == "JPEG" else part
    path = tmp_path / "part"
    path.write_bytes(whole[: int(len(whole) * part)])
    assert_refused(path, by=(read_image,))


def test_truncated_16_bit_colour(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), np.uint16)
    _, data = cv2.imencode(".png", noise)
    path = tmp_path / "part.png"
    path.write_bytes(data.tobytes()[: len(data) // 2])
    assert_refused(path, "damaged", by=(read_image,))


def test_32_bit_pixels_are_rejected(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int32):
        path = tmp_path / "deep.tiff"
        Image.fromarray(NOISE[..., 0].astype(dtype)).save(path)
        assert_refused(path, "32-bit", by=(read_image,))


def test_too_many_pixels(tmp_path: Path) -> None:
    assert MAX_PIXELS >= 36_000_000  # 8K, 7680 x 4320, and some more
    path = tmp_path / "bomb.png"
    for height in (MAX_PIXELS // 1000 + 1, 2**31 - 1):  # a little over, and where Pillow itself refuses
        path.write_bytes(png_of_size(1000, height))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_refused(path, "pixels", "shrink", f"{MAX_PIXELS}")


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_of_size(1000, MAX_PIXELS // 1000))
    assert image_size(path) == (MAX_PIXELS // 1000, 1000)
    assert_refused(path, "damaged", by=(read_image,))  # beyond the limit's check, for want of pixels


def test_wrong_types_are_reported() -> None:
    for source in (None, 3, [[1, 2]], {"a": 1}, object()):
        with pytest.raises(ImageError, match=rf"{type(source).__name__}; expected .*; ") as caught:
            read_image(source)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32.*255"),
        (np.zeros((4, 4, 3), bool), "bool.*expected uint8"),
        (np.zeros((4, 4, 3), np.int64), "int64.*expected uint8"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
        (np.zeros((4, 4, 0), np.uint8), r"\(4, 4, 0\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((3, 40, 50), np.uint8), "channels last"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one image"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
    ],
)
def test_arrays_that_are_not_images(array: NDArray[Any], said: str) -> None:
    for read in (read_image, as_rgb):
        with pytest.raises(ImageError, match=said) as caught:
            read(array)
        assert "\n" not in str(caught.value)
