"""Images with more than 8 bits a sample: in any layout equal to the same image with 8 bits, or an error."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import image_size, read_image

tifffile = pytest.importorskip("tifffile")  # scikit-image brings it

HEIGHT, WIDTH = 70, 50
CHANCE = np.random.default_rng(0)
RGB = CHANCE.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
RGB[0, :2] = [[255, 255, 255], [0, 0, 0]]
GRAY = RGB[..., 1]
ALPHA = np.repeat(np.repeat([0, 100, 255], [10, 10, 30])[None], HEIGHT, axis=0).astype(np.uint8)
INKS = CHANCE.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
GRAY_RGB = np.repeat(GRAY[..., None], 3, axis=2)


def on_black(colour: NDArray[Any]) -> NDArray[Any]:
    return np.round(colour * (ALPHA[..., None] / 255.0)).astype(np.uint8)


def planes(*parts: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.dstack(parts).transpose(2, 0, 1))


STRAIGHT, MULTIPLIED, UNSAID = ["unassalpha"], ["assocalpha"], ["unspecified"]
# Name -> samples of 8 bits, how TIFF says what they are, and the picture.
KINDS: dict[str, tuple[NDArray[Any], dict[str, Any], NDArray[Any]]] = {
    "gray": (GRAY, {"photometric": "minisblack"}, GRAY_RGB),
    "white is zero": (255 - GRAY, {"photometric": "miniswhite"}, GRAY_RGB),
    "gray and alpha": (
        np.dstack([GRAY, ALPHA]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": STRAIGHT},
        on_black(GRAY_RGB),
    ),
    "rgb": (RGB, {"photometric": "rgb"}, RGB),
    "rgba": (np.dstack([RGB, ALPHA]), {"photometric": "rgb", "extrasamples": STRAIGHT}, on_black(RGB)),
    "rgb times alpha": (
        np.dstack([on_black(RGB), ALPHA]),
        {"photometric": "rgb", "extrasamples": MULTIPLIED},
        on_black(RGB),
    ),
    "rgb and something": (np.dstack([RGB, ALPHA]), {"photometric": "rgb", "extrasamples": UNSAID}, RGB),
    "inks": (INKS, {"photometric": "separated"}, np.asarray(Image.fromarray(INKS, "CMYK").convert("RGB"))),
    "planes": (planes(RGB), {"photometric": "rgb", "planarconfig": "separate"}, RGB),
    "planes with alpha": (
        planes(RGB, ALPHA),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": STRAIGHT},
        on_black(RGB),
    ),
    "planes and something": (
        planes(RGB, ALPHA),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": UNSAID},
        RGB,
    ),
    "planes of inks": (
        planes(INKS),
        {"photometric": "separated", "planarconfig": "separate"},
        np.asarray(Image.fromarray(INKS, "CMYK").convert("RGB")),
    ),
}


def tiff(samples: NDArray[Any], **settings: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **settings)
    return stream.getvalue()


def arrangements() -> Iterator[dict[str, Any]]:
    for order in "<>":
        for cut in ({}, {"rowsperstrip": 7}, {"tile": (16, 32)}):
            for packed in ({}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}):
                yield {"byteorder": order, **cut, **packed}
    yield {"byteorder": "<", "bigtiff": True}
    yield {"byteorder": "<", "bigtiff": True, "tile": (16, 16), "compression": "lzma"}


@pytest.mark.parametrize("kind", KINDS)
def test_tiff_of_16_bits(kind: str) -> None:
    samples, meaning, expected = KINDS[kind]
    for arrangement in arrangements():
        deep = samples.astype(arrangement["byteorder"] + "u2") * np.uint16(257)
        data = tiff(deep, **meaning, **arrangement)
        found = read_image(data)
        assert np.abs(found.astype(int) - expected).max() <= (1 if "alpha" in kind else 0), arrangement
        assert image_size(data) == (HEIGHT, WIDTH)


def test_tiff_rounds_all_16_bits() -> None:
    values = CHANCE.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
    expected = np.round(values / 257.0)
    assert np.array_equal(read_image(tiff(values, photometric="rgb")), expected)
    apart = np.ascontiguousarray(values.transpose(2, 0, 1))
    assert np.array_equal(read_image(tiff(apart, photometric="rgb", planarconfig="separate")), expected)


def by_hand(samples: NDArray[Any], bits: int, order: str, photometric: int, compression: int) -> bytes:
    """A TIFF of samples (H, W, C) of so many bits, packed without gaps. Source: TIFF 6.0, sections 2 and 8."""
    height, width, channels = samples.shape
    one_by_one = (samples.reshape(height, -1, 1) >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(one_by_one.astype(np.uint8).reshape(height, -1), axis=1).tobytes()
    data = zlib.compress(rows) if compression == 8 else rows
    tags = [(256, [width]), (257, [height]), (258, [bits] * channels), (259, [compression]), (262, [photometric])]
    tags += [(273, [8]), (277, [channels]), (278, [height]), (279, [len(data)])]
    at = 8 + len(data)
    behind, table, extra = at + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in tags:
        short = tag in (258, 259, 262, 277)
        content = struct.pack(f"{order}{len(values)}{'H' if short else 'I'}", *values)
        if len(content) > 4:
            content, extra = struct.pack(order + "I", behind + len(extra)), extra + content
        table += struct.pack(order + "HHI", tag, 3 if short else 4, len(values)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + data + struct.pack(order + "H", len(tags)) + table + bytes(4) + extra


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15, 16])
def test_tiff_of_odd_depths(bits: int) -> None:
    largest = (1 << bits) - 1
    for order in "<>":
        for compression in (1, 8):
            for photometric, shown in ((0, 255 - GRAY_RGB[..., :1]), (1, GRAY_RGB[..., :1]), (2, RGB)):
                samples = np.round(shown.astype(float) * largest / 255).astype(np.int64)
                if bits == 16 and order == "<":
                    samples = samples.astype(np.uint16).byteswap().astype(np.int64)  # packed here high byte first
                found = read_image(by_hand(samples, bits, order, photometric, compression))
                assert np.array_equal(found, RGB if photometric == 2 else GRAY_RGB)


def test_tiff_palette_of_16_bits() -> None:
    colours = np.stack([np.arange(65535, -1, -1), np.arange(65536), np.arange(65536)]).astype(np.uint16)
    data = tiff(GRAY.astype(np.uint16) * 257, photometric="palette", colormap=colours)
    assert np.array_equal(read_image(data), np.dstack([255 - GRAY, GRAY, GRAY]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation_as_of_8_bits(orientation: int) -> None:
    turned = [(274, 3, 1, orientation, True)]
    expected = read_image(tiff(RGB, photometric="rgb", extratags=turned))
    deep = RGB.astype(np.uint16) * 257
    apart = np.ascontiguousarray(deep.transpose(2, 0, 1))
    for data in (
        tiff(deep, photometric="rgb", extratags=turned),
        tiff(apart, photometric="rgb", planarconfig="separate", extratags=turned),
    ):
        assert np.array_equal(read_image(data), expected)
        assert image_size(data) == expected.shape[:2]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("dtype", "said"), [
    ("i1", "8-bit signed"), ("i2", "16-bit signed"), ("f2", "16-bit float"), ("f4", "32-bit float"),
    ("u4", "32-bit samples"), ("f8", "64-bit float"),
])  # fmt: skip
def test_samples_of_unknown_range(order: str, dtype: str, said: str) -> None:
    for samples in (GRAY, RGB):
        photometric = "minisblack" if samples.ndim == 2 else "rgb"
        data = tiff((samples // 2).astype(order + dtype), byteorder=order, photometric=photometric)
        with pytest.raises(ImageError, match=rf"has {said}.*; expected .*; save it with 8 bits"):
            read_image(data)


def test_rejected_tiff_layouts() -> None:
    deep = tiff(RGB.astype(np.uint16) * 257, photometric="rgb")

    def changed(tag: int, value: int) -> bytes:
        at = deep.index(struct.pack("<HH", tag, 3))
        return deep[: at + 8] + struct.pack("<I", value) + deep[at + 12 :]

    for data, said in (
        (changed(262, 6), "photometric interpretation 6"),
        (changed(262, 32803), "photometric interpretation 32803"),
        (changed(259, 7), "compression 7"),
        (changed(277, 5), "extra samples"),
        (deep[:-100], "damaged"),
    ):
        with pytest.raises(ImageError, match=said) as caught:
            read_image(data)
        assert "\n" not in str(caught.value)


def test_a_raw_photo_is_not_its_thumbnail() -> None:
    """The first image of DNG and NEF files is a small one, the photo is in a directory below."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(RGB[::4, ::4], photometric="rgb", subfiletype=1, subifds=1)
        file.write(RGB, photometric="rgb")
    with pytest.raises(ImageError, match="is a raw photo, of which only the thumbnail"):
        read_image(stream.getvalue())
    assert np.array_equal(read_image(tiff(RGB, photometric="rgb", subfiletype=1)), RGB)


def test_strips_longer_than_the_image() -> None:
    """What is decompressed is bounded by the size in the header, however many strips name the same bytes."""
    data = bytearray(tiff(RGB.astype(np.uint16) * 257, photometric="rgb", compression="zlib", rowsperstrip=HEIGHT))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        at = file.pages[0].tags["StripByteCounts"].valueoffset
    struct.pack_into("<I", data, at, 1 << 20)
    with pytest.raises(ImageError, match="strips are longer"):
        read_image(bytes(data) + bytes(1 << 20))


# ----------------------------------------------------------------------------------------------------------- PNG


def png(rows: NDArray[Any], depth: int, colour: int, hidden: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = rows.astype(">u2") if depth == 16 else rows
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + (chunk(b"tRNS", hidden) if hidden else b"") + data + chunk(b"IEND", b"")


def test_png_of_16_bits() -> None:
    deep = CHANCE.integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(">u2")
    rounded = np.round(deep / 257.0)
    colour, alpha = rounded[..., :3], rounded[..., 3:]
    assert np.array_equal(read_image(png(deep[..., 0], 16, 0)), np.repeat(colour[..., :1], 3, axis=2))
    assert np.array_equal(read_image(png(deep[..., :3], 16, 2)), colour)
    assert np.array_equal(read_image(png(deep, 16, 6)), np.round(colour * alpha / 255))
    gray = np.round(colour[..., :1] * colour[..., 1:2] / 255)
    assert np.array_equal(read_image(png(deep[..., :2], 16, 4)), np.repeat(gray, 3, axis=2))


def test_png_transparent_colour_of_16_bits() -> None:
    deep = RGB.astype(">u2") * 257
    deep[0, 2] = deep[0, 1] + 1  # differs in the low byte alone
    key = struct.pack(">3H", *deep[5, 5].tolist())
    expected = np.where((RGB[5, 5] == RGB).all(axis=2, keepdims=True), 0, np.round(deep / 257.0))
    assert np.array_equal(read_image(png(deep, 16, 2, key)), expected)
    high = struct.pack(">3H", *(deep[5, 5] >> 8).tolist())  # as the high bytes, and no colour of the image
    assert np.array_equal(read_image(png(deep, 16, 2, high)), np.round(deep / 257.0))
    hidden = np.where(GRAY[5, 5] == GRAY, 0, GRAY)
    found = read_image(png(GRAY.astype(">u2") * 257, 16, 0, struct.pack(">H", int(GRAY[5, 5]) * 257)))
    assert np.array_equal(found, np.repeat(hidden[..., None], 3, axis=2))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_transparent_gray(depth: int) -> None:
    values = GRAY >> (8 - depth)
    one_by_one = (values[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(one_by_one.reshape(HEIGHT, -1), axis=1)
    hidden = int(values[5, 5])
    expected = np.where(values == hidden, 0, np.round(values * (255 / ((1 << depth) - 1))))
    found = read_image(png(rows, depth, 0, struct.pack(">H", hidden)))
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


# --------------------------------------------------------------------------------------------- PNM and JPEG 2000


@pytest.mark.parametrize("largest", [1, 100, 255, 256, 1023, 4095, 65535])
def test_pnm_of_any_largest_value(largest: int) -> None:
    kind = ">u2" if largest > 255 else "u1"
    for letter, shown in ((5, GRAY), (6, RGB)):
        values = np.round(shown.astype(float) * largest / 255).astype(kind)
        expected = np.round(values / largest * 255)
        data = b"P%d\n# a comment\n%d %d\n%d\n" % (letter, WIDTH, HEIGHT, largest) + values.tobytes()
        found = read_image(data)
        assert np.array_equal(found, expected if letter == 6 else np.repeat(expected[..., None], 3, axis=2))
        with pytest.raises(ImageError, match="damaged"):
            read_image(data[:-1])
    values = GRAY.astype(int) * largest // 255
    written = b"P2 %d %d %d\n" % (WIDTH, HEIGHT, largest) + " ".join(map(str, values.ravel().tolist())).encode()
    assert np.abs(read_image(written)[..., 0] - np.round(values / largest * 255)).max() <= 1


def jpeg2000(samples: NDArray[np.uint16], bits: int) -> bytes:
    """Lossless. OpenCV writes 8 or 16 bits: for others the depth in the headers is lowered, and with it the middle."""
    shifted = (samples + (32768 - (1 << (bits - 1)))).astype(np.uint16)
    shifted = np.ascontiguousarray(shifted[..., ::-1]) if samples.ndim == 3 else shifted
    ok, encoded = cv2.imencode(".jp2", shifted, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    assert ok
    data = bytearray(encoded.tobytes())
    data[data.index(b"ihdr") + 14] = bits - 1
    start = data.index(b"\xff\x4f\xff\x51") + 42
    for component in range(3 if samples.ndim == 3 else 1):
        data[start + 3 * component] = bits - 1
    return bytes(data)


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg2000_of_more_than_8_bits(bits: int) -> None:
    """Pillow turns white into black."""
    for shown, expected in ((GRAY, GRAY_RGB), (RGB, RGB)):
        samples = np.round(shown.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint16)
        assert np.array_equal(read_image(jpeg2000(samples, bits)), expected)
