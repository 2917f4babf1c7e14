"""HEIC: read if pillow-heif is installed, otherwise an error that names it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import image_size, read_image
from mtcnn.images.formats import heif_reader

HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
ORIENTATION = 0x0112


@pytest.fixture
def no_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # importing it fails
    heif_reader.cache_clear()
    yield
    heif_reader.cache_clear()


@pytest.mark.usefixtures("no_reader")
@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_without_a_reader(brand: bytes) -> None:
    data = HEAD.replace(b"ftypheic", b"ftyp" + brand) + bytes(200)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r": is HEIC \(HEIF\); expected .*; pip install pillow-heif"):
            read(data)


@pytest.mark.usefixtures("no_reader")
def test_avif_needs_no_reader() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 30)).save(stream, "AVIF", quality=95)
    assert read_image(stream.getvalue()).shape == (24, 32, 3)


def photo() -> Image.Image:
    y, x = np.mgrid[:40, :56]
    return Image.fromarray(np.stack([x * 4, y * 6, (x * y) // 9], axis=2).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_once(orientation: int) -> None:
    pytest.importorskip("pillow_heif")
    assert heif_reader()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned, heic, png = photo(), io.BytesIO(), io.BytesIO()
    turned.info["exif"] = exif.tobytes()
    turned.save(heic, "HEIF", quality=100)
    photo().save(png, "PNG", exif=exif)
    found, expected = read_image(heic.getvalue()), read_image(png.getvalue())
    assert found.shape == expected.shape == (*image_size(heic.getvalue()), 3)
    assert np.abs(found.astype(int) - expected).mean() < 4  # another flip would differ by 50 and more


def test_truncated() -> None:
    pytest.importorskip("pillow_heif")
    assert heif_reader()
    stream = io.BytesIO()
    photo().save(stream, "HEIF", quality=90)
    with pytest.raises(ImageError) as caught:
        read_image(stream.getvalue()[:-50])
    assert "pip install" not in str(caught.value)


def test_a_damaged_file_is_reported_with_its_format() -> None:
    pytest.importorskip("pillow_heif")
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r": is a damaged HEIC \(HEIF\) image; expected .*; copy it again"):
            read(HEAD + bytes(200))
