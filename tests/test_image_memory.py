"""Memory of reading, by the size in the header: a small file must neither exhaust memory nor end a batch."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import MAX_PIXELS, image_size, read_image, read_photo
from mtcnn.images.arrays import as_rgb

ROOT = Path(__file__).resolve().parent.parent
SIDE = 4000  # 16 Mpx
BESIDES = 32 << 20  # bytes of a band, of what is compressed, and of code

MEASURE = """
import re, sys
from pathlib import Path
from mtcnn.images import read_image
def peak():  # unlike ru_maxrss, not that of the process it was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
read_image(sys.argv[2])  # what is loaded once
before = peak()
read_image(sys.argv[1])
print(peak() - before)
"""


def png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A black PNG of any kind, a few kilobytes however large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = bytes(1 + width * samples * depth // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("depth", "colour", "most"), [(8, 2, 8), (8, 6, 8), (16, 2, 8), (16, 6, 12), (16, 4, 8)])
def test_bytes_a_pixel(tmp_path: Path, depth: int, colour: int, most: int) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    large.write_bytes(png(SIDE, SIDE, depth, colour))
    small.write_bytes(png(40, 40, depth, colour))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, large, small], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 3 * SIDE**2 <= int(done.stdout) <= most * SIDE**2 + BESIDES


def test_costly_formats_may_have_a_third() -> None:
    for depth, colour, weight in ((8, 2, 1), (16, 2, 3), (16, 0, 3)):
        data = png(100, 100, depth, colour)
        assert read_image(data, max_pixels=10_000 * weight).shape == (100, 100, 3)
        with pytest.raises(ImageError, match=f"100 x 100 pixels; .*set `max_pixels` to {10_000 * weight}$"):
            read_image(data, max_pixels=10_000 * weight - 1)
    assert MAX_PIXELS >= 200_000_000  # the largest that phones take


def test_the_limit_can_be_raised() -> None:
    """Also beyond Pillow's own limit."""
    data = png(40_000, 1, 8, 0)
    with pytest.raises(ImageError, match="40000 x 1 pixels"):
        image_size(data, max_pixels=39_999)
    assert image_size(data, max_pixels=40_000) == (1, 40_000)
    huge = png(1, 1, 8, 0).replace(struct.pack(">II", 1, 1), struct.pack(">II", 1 << 15, 1 << 15))
    huge = huge[:29] + struct.pack(">I", zlib.crc32(huge[12:29])) + huge[33:]
    assert image_size(huge, max_pixels=1 << 30) == (1 << 15, 1 << 15)


def test_lack_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("mtcnn.images.pillow_to_rgb", full)
    with pytest.raises(ImageError, match=r"image of .* takes more memory than there is; expected .*; shrink it"):
        read_photo(png(9, 9, 8, 2))


def test_bands_have_no_seams() -> None:
    """Images of several bands, at their borders too."""
    chance = np.random.default_rng(0)
    deep = chance.integers(0, 65536, (2100, 1030, 4), np.uint16)
    wide = np.round(deep / 257.0)
    expected = np.round(wide[..., :3] * wide[..., 3:] / 255)
    assert np.array_equal(as_rgb(deep), expected)
    rgba = wide.astype(np.uint8)
    assert np.array_equal(read_image(Image.fromarray(rgba)), expected)
