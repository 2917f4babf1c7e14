"""What commands write to stderr about images: one line per file, and nothing from libraries."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.images import read_image

tifffile = pytest.importorskip("tifffile")  # scikit-image brings it

ROOT = Path(__file__).resolve().parent.parent


def mtcnn(*words: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "mtcnn", *map(str, words)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    return subprocess.run(program, capture_output=True, text=True, env={**os.environ, **paths}, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, NDArray[np.uint8]]) -> Path:
    made = tmp_path_factory.mktemp("words")
    photo = photos["astronaut"][:200, :240]
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=90)
    whole = stream.getvalue()
    broken = b"\xff\xe1\x00\x20Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(16)
    (made / "a-exif.jpg").write_bytes(whole[:2] + broken + whole[2:])
    (made / "b-end.jpg").write_bytes(whole[:-2])
    (made / "c-cut.jpg").write_bytes(whole[: int(len(whole) * 0.9)] + b"\xff\xd9")
    (made / "d-revision.jpg").write_bytes(whole[:11] + b"\x09" + whole[12:])
    lie = bytearray(whole)
    at = lie.index(b"\xff\xc0")
    lie[at + 5 : at + 9] = struct.pack(">HH", 3000, 3000)
    (made / "e-lie.jpg").write_bytes(lie)
    stream = io.BytesIO()
    tifffile.imwrite(stream, photo.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    deep = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(deep)) as file:
        start = file.pages[0].dataoffsets[0]
    deep[start : start + 2] = b"\0\0"  # no head of such data; libtiff writes that
    (made / "f-deep.tif").write_bytes(deep)
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "TIFF")
    tags = bytearray(stream.getvalue())
    directory = struct.unpack_from("<I", tags, 4)[0]
    struct.pack_into("<I", tags, directory + 2 + 4, 0x7FFFFFFF)
    (made / "g-tags.tif").write_bytes(tags)
    Image.fromarray(photo).save(made / "h-good.png")
    return made


def test_detect(random_models: Path, folder: Path) -> None:
    done = mtcnn("detect", folder, "--json", "--models", random_models, "--min-face", 100)
    lines = done.stderr.splitlines()
    assert all(line.startswith("mtcnn: ") for line in lines), done.stderr
    for name, said in {
        "b-end": "ends early: the last 0 of its 200 rows are missing",
        "c-cut": "ends early: the last ",
        "e-lie": "is damaged (ends early: ",
        "f-deep": "is damaged",
        "g-tags": "is not an image",
    }.items():
        found = [line for line in lines if name in line]
        assert len(found) == 1 and said in found[0], (name, done.stderr)
    assert not any(name in done.stderr for name in ("a-exif", "d-revision", "h-good"))
    assert all(name in done.stdout for name in ("a-exif", "b-end", "c-cut", "d-revision", "h-good"))
    assert not any(name in done.stdout for name in ("e-lie", "f-deep", "g-tags"))
    assert done.returncode == 1


def test_libraries_are_silenced_and_python_is_not(tmp_path: Path) -> None:
    """File descriptor 2 is redirected while something decodes, then restored; Python still writes meanwhile."""
    program = (
        "import os, sys, threading\n"
        "from mtcnn.hush import hushed, take_stderr\n"
        "def word(text): os.write(2, text)\n"
        "with hushed(): word(b'1 before\\n')\n"
        "take_stderr(); take_stderr()\n"
        "word(b'2 between\\n')\n"
        "with hushed():\n"
        "    word(b'lost\\n')\n"
        "    with hushed(): word(b'lost\\n')\n"
        "    word(b'lost\\n')\n"
        "    print('3 python', file=sys.stderr)\n"
        "word(b'4 after\\n')\n"
        "sys.exit('5 the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == ["1 before", "2 between", "3 python", "4 after", "5 the end"]


def test_pillows_settings_are_restored(folder: Path) -> None:
    import warnings

    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    read_image(folder / "h-good.png")
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters
