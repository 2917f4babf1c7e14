"""Reading images: every kind of file and array to upright uint8 RGB, or an error of one line."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import SUFFIXES, as_rgb, image_size, read_image

ORIENTATION = 0x0112
# What undoes each EXIF orientation, in rotations that anyone can check, unlike the flips of mtcnn.images.
UNDO: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.fliplr(a), -1),
    8: lambda a: np.rot90(a),
}


def drawing(height: int = 40, width: int = 56) -> NDArray[np.uint8]:
    """Smooth, so that JPEG keeps it, and different under every flip and rotation."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, (x * y) // 9], axis=2).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def tiff_16(pixels: NDArray[np.uint16], orientation: int) -> bytes:
    """A 16-bit RGB TIFF by hand, since no available library writes its orientation. Source: TIFF 6.0, section 2."""
    height, width, _ = pixels.shape
    data = pixels.astype("<u2").tobytes()
    first = 8 + 2 + 10 * 12 + 4  # behind the header and one directory of ten entries
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, first), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, first + 6), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 4, 1, height)]
    entries += [(279, 4, 1, len(data))]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + struct.pack("<I3H", 0, 16, 16, 16) + data


def assert_rgb(image: NDArray[np.uint8], shape: tuple[int, int]) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (*shape, 3)
    assert image.flags.c_contiguous


# ------------------------------------------------------------------------------------------------- kinds of files


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "JPEG"])
def test_colour_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file-without-suffix"  # the content decides
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    path.write_bytes(encoded(Image.fromarray(drawing()), kind, **lossless))
    image = read_image(path)
    assert_rgb(image, (40, 56))
    tolerance = {"JPEG": 12, "GIF": 40}.get(kind, 0)  # a palette of 256 colours
    assert np.abs(image.astype(int) - drawing()).max() <= tolerance
    assert np.array_equal(read_image(str(path)), image)
    assert np.array_equal(read_image(path.read_bytes()), image)
    assert image_size(path) == (40, 56)


def test_plain_jpeg_equals_pillow(photos: dict[str, NDArray[np.uint8]]) -> None:
    """The fast path uses another decoder, which must give the same pixels in the same colour order."""
    for settings in ({"quality": 90}, {"quality": 60, "progressive": True}, {"quality": 90, "subsampling": 0}):
        data = encoded(Image.fromarray(photos["astronaut"]), "JPEG", **settings)
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert np.abs(read_image(data).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_gray(kind: str) -> None:
    gray = drawing()[..., 0]
    image = read_image(encoded(Image.fromarray(gray), kind))
    assert_rgb(image, gray.shape)
    assert np.abs(image.astype(int) - gray[..., None]).max() <= (6 if kind == "JPEG" else 0)


def test_one_bit() -> None:
    mask = drawing()[..., 0] > 100
    image = read_image(encoded(Image.fromarray(mask), "PNG"))
    assert np.array_equal(image, np.repeat(mask[..., None], 3, axis=2) * 255)


def test_transparent_pixels_lie_on_black() -> None:
    alpha = np.zeros((40, 56), np.uint8)
    alpha[:, 20:] = 255
    alpha[:, 40:] = 100
    rgba = np.dstack([drawing(), alpha])
    expected = np.round(drawing() * (alpha[..., None] / 255.0))
    for image in (read_image(encoded(Image.fromarray(rgba), "PNG")), read_image(rgba)):
        assert_rgb(image, (40, 56))
        assert np.array_equal(image, expected)
    gray = np.dstack([drawing()[..., 0], alpha])
    assert np.array_equal(read_image(encoded(Image.fromarray(gray), "PNG"))[..., 2], expected[..., 0])
    assert np.array_equal(as_rgb(gray)[..., 2], expected[..., 0])


def test_palette_with_and_without_transparency() -> None:
    flat = Image.fromarray((drawing() // 128) * 128).quantize(8)
    expected = np.asarray(flat.convert("RGB"))
    assert np.array_equal(read_image(encoded(flat, "PNG")), expected)
    index = int(np.asarray(flat)[0, 0])
    clear = read_image(encoded(flat, "PNG", transparency=index))
    hidden = np.asarray(flat) == index
    assert hidden.any() and not hidden.all()
    assert (clear[hidden] == 0).all()
    assert np.array_equal(clear[~hidden], expected[~hidden])


def test_cmyk_jpeg() -> None:
    red = Image.new("RGB", (32, 24), (220, 30, 40))
    image = read_image(encoded(red.convert("CMYK"), "JPEG", quality=95))
    assert_rgb(image, (24, 32))
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (220, 30, 40)).max() < 6


def test_16_bit_gray_and_colour() -> None:
    deep = np.arange(40 * 56 * 3, dtype=np.uint32).reshape(40, 56, 3) * 9 % 65536
    deep[0, 0], deep[0, 1] = 65535, 255  # 255 / 257 is 0.99: the high byte alone would be 0
    deep = deep.astype(np.uint16)
    expected = np.round(deep / 257.0).astype(np.uint8)
    assert expected[0, 1, 0] == 1
    gray = Image.fromarray(np.ascontiguousarray(deep[..., 0]))
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_image(encoded(gray, kind)), np.repeat(expected[..., :1], 3, axis=2))
    for suffix in (".png", ".tiff"):
        ok, data = cv2.imencode(suffix, deep[..., ::-1])
        assert ok
        assert np.array_equal(read_image(data.tobytes()), expected)
    alpha = np.full((40, 56, 1), 65535, np.uint16)
    ok, data = cv2.imencode(".png", np.concatenate([deep[..., ::-1], alpha], axis=2))
    assert np.array_equal(read_image(data.tobytes()), expected)


def test_jpeg_with_data_after_its_end() -> None:
    """Phones append videos; the picture before them is whole."""
    data = encoded(Image.fromarray(drawing()), "JPEG", quality=95)
    assert np.array_equal(read_image(data + bytes(range(256)) * 40), read_image(data))
    assert np.array_equal(read_image(data + b"\0" * 7), read_image(data))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "TIFF"):
        settings: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        image = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **settings))
        assert np.array_equal(image, np.full((10, 20, 3), (255, 0, 0)))


def test_non_ascii_paths(tmp_path: Path) -> None:
    folder = tmp_path / "фото 写真"
    folder.mkdir()
    for suffix in ("jpg", "png"):
        path = folder / f"Gesichter – ñ.{suffix}"
        Image.fromarray(drawing()).save(path)
        assert read_image(path).shape == (40, 56, 3)


def test_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = encoded(Image.fromarray(drawing()), "PNG")
    writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
    writer.start()
    assert np.array_equal(read_image(pipe), drawing())


def test_suffixes_are_those_of_readable_formats() -> None:
    known = {suffix for suffix, kind in Image.registered_extensions().items()}
    by_others = {".heic", ".heics", ".heif", ".heifs", ".hif", ".jfi", ".jif", ".mpo"}  # pillow-heif's, and JPEG's
    assert set(SUFFIXES) <= known | by_others
    formats = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF")
    registered = {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats}
    assert registered <= set(SUFFIXES)
    assert list(SUFFIXES) == sorted(SUFFIXES)


# ---------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_once(kind: str, orientation: int) -> None:
    settings: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(drawing()), kind, exif=with_orientation(orientation), **settings)
    expected = UNDO[orientation](drawing())
    image = read_image(data)
    assert_rgb(image, expected.shape[:2])
    assert np.abs(image.astype(int) - expected).mean() < 4  # another flip would differ by 50 and more
    assert image_size(data) == expected.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bit_and_odd_files(orientation: int) -> None:
    expected = UNDO[orientation](drawing())
    deep = tiff_16(drawing().astype(np.uint16) * 257, orientation)
    assert np.array_equal(read_image(deep), expected)
    assert image_size(deep) == expected.shape[:2]
    cmyk = encoded(Image.fromarray(drawing()).convert("CMYK"), "JPEG", exif=with_orientation(orientation), quality=95)
    assert read_image(cmyk).shape == expected.shape
    assert np.abs(read_image(cmyk).astype(int) - expected).mean() < 8


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_invalid_orientation_is_upright(value: int) -> None:
    data = encoded(Image.fromarray(drawing()), "JPEG", exif=with_orientation(value))
    assert read_image(data).shape == (40, 56, 3)


@pytest.mark.filterwarnings("error")
def test_broken_exif_is_ignored() -> None:
    data = encoded(Image.fromarray(drawing()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert read_image(data).shape == (40, 56, 3)
    assert image_size(data) == (40, 56)


def test_pillow_images_are_not_rotated() -> None:
    opened = Image.open(io.BytesIO(encoded(Image.fromarray(drawing()), "PNG", exif=with_orientation(6))))
    assert np.array_equal(read_image(opened), drawing())
    assert np.array_equal(read_image(Image.fromarray(drawing()).convert("RGBA")), drawing())


# ---------------------------------------------------------------------------------------------------------- arrays


def test_arrays() -> None:
    rgb = drawing()
    assert np.array_equal(read_image(rgb), rgb)
    gray = rgb[..., 0]
    for array in (gray, gray[..., None]):
        assert np.array_equal(as_rgb(array), np.repeat(gray[..., None], 3, axis=2))
    assert_rgb(as_rgb(rgb[::-1, ::2]), (40, 28))
    assert np.array_equal(as_rgb(rgb[::-1, ::2]), rgb[::-1, ::2])
    assert_rgb(as_rgb(np.zeros((1, 1), np.uint8)), (1, 1))
    deep = np.array([[0, 128, 129, 256, 257, 65406, 65407, 65535]], np.uint16)
    assert as_rgb(deep)[0, :, 0].tolist() == np.round(deep[0] / 257.0).astype(int).tolist()
    assert as_rgb(deep.astype(">u2")).tolist() == as_rgb(deep).tolist()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_subclasses_of_arrays_are_plain_arrays() -> None:
    """A matrix keeps two dimensions whatever is done to it; repeating its columns ended the process."""
    plane = drawing()[..., 0]
    assert np.array_equal(read_image(np.asmatrix(plane)), read_image(plane))
    assert np.array_equal(read_image(np.ma.masked_array(drawing())), drawing())


def test_arrays_of_other_libraries() -> None:
    class Elsewhere:
        def __array__(self, *_: object, **__: object) -> NDArray[np.uint8]:
            raise TypeError("Implicit conversion to a NumPy array is not allowed.\nUse .get()")  # as CuPy does

    with pytest.raises(ImageError, match=r"^image of type Elsewhere: Implicit .* Use .get\(\); expected an array .*$"):
        read_image(cast(Any, Elsewhere()))
