"""Sizes of photos are read once and cached in the work folder, until a photo changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from run_command import run

from mtcnn.images import image_size
from mtcnn.types import ImageSize
from prepare import synthetic
from prepare.photo_sizes import PhotoSizes

Opened = Callable[[], list[str]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Names of the photos opened since the last call."""
    names: list[str] = []

    def noted(path: Path) -> ImageSize:
        names.append(path.name)
        return image_size(path)

    def taken() -> list[str]:
        found = sorted(names)
        names.clear()
        return found

    monkeypatch.setattr("prepare.photo_sizes.image_size", noted)
    return taken


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", (40 + i, 30)).save(path)
    return paths


def sizes_of(file: Path | None, paths: list[Path]) -> list[ImageSize | None]:
    sizes = PhotoSizes(file)
    found = sizes.of(paths)
    sizes.save()
    assert list(found) == paths
    return list(found.values())


def test_a_size_is_valid_until_the_photo_changes(tmp_path: Path, photos: list[Path], opened: Opened) -> None:
    file, first = tmp_path / "work" / "sizes.json", [ImageSize(30, 40), ImageSize(30, 41), ImageSize(30, 42)]
    assert sizes_of(file, photos) == first and opened() == ["0.png", "1.png", "2.png"]
    assert sizes_of(file, photos) == first and opened() == []
    assert sizes_of(None, photos[:1]) == first[:1] and opened() == ["0.png"]
    before = photos[1].stat()
    Image.new("RGB", (99, 77)).save(photos[1])
    os.utime(photos[1], ns=(before.st_atime_ns, before.st_mtime_ns))  # another number of bytes
    assert photos[1].stat().st_size != before.st_size
    assert sizes_of(file, photos) == [first[0], ImageSize(77, 99), first[2]] and opened() == ["1.png"]
    data = photos[2].read_bytes()
    Image.new("RGB", (30, 42)).save(photos[2])
    photos[2].write_bytes(photos[2].read_bytes().ljust(len(data), b"\0"))
    os.utime(photos[2], ns=(0, before.st_mtime_ns + 1))  # as many bytes, another time
    assert photos[2].stat().st_size == len(data)
    assert sizes_of(file, photos)[2] == ImageSize(42, 30) and opened() == ["2.png"]


def test_unreadable_photos_are_retried(tmp_path: Path, photos: list[Path], opened: Opened) -> None:
    photos[0].write_bytes(b"no picture")
    paths = [*photos[:2], tmp_path / "missing.png", synthetic.records(1, 0)[0].path]
    for names in (["0.png", "1.png"], ["0.png"]):
        assert sizes_of(tmp_path / "sizes.json", paths) == [None, ImageSize(30, 41), None, None]
        assert opened() == names


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"[]", b"null", b"[" * 9999,
    b'{"format": 1}', b'{"format": 1, "sizes": []}', b'{"format": 0, "sizes": {}}',
    *(b'{"format": 1, "sizes": {"a": [%s]}}' % row
      for row in (b"1", b"1, 2, 3", b"1, 2, 3, 0", b"1, 2, -3, 4", b"1, 2, 3, 4.5", b'1, 2, 3, "4"', b"1, 2, true, 4")),
])  # fmt: skip
def test_a_damaged_file_is_ignored(tmp_path: Path, photos: list[Path], opened: Opened, content: bytes) -> None:
    file = tmp_path / "sizes.json"
    file.write_bytes(content)
    assert sizes_of(file, photos[:1]) == [ImageSize(30, 40)] and opened() == ["0.png"]
    assert sizes_of(file, photos[:1]) == [ImageSize(30, 40)] and opened() == []
    assert json.loads(file.read_text())["sizes"].keys() == {str(photos[0])}


def test_thousands_are_remembered(tmp_path: Path, photos: list[Path], opened: Opened) -> None:
    paths = []
    for i in range(1000):
        paths.append(tmp_path / ("name" * 20 + f"{i}.png"))
        paths[-1].hardlink_to(photos[i % 3])
    sizes = sizes_of(tmp_path / "sizes.json", paths)
    assert len(opened()) == 1000
    assert sizes_of(tmp_path / "sizes.json", paths) == sizes and opened() == []


def test_an_unwritable_file_is_no_error(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "sizes.json").mkdir()
    assert sizes_of(tmp_path / "sizes.json", photos[:1]) == [ImageSize(30, 40)]


def test_commands_use_the_file_and_still_warn(tmp_path: Path, opened: Opened) -> None:
    """`status` reads it and writes nothing; problems of labels are reported every time."""
    synthetic.write_folder(tmp_path / "data", 4, 0)
    labels = tmp_path / "data" / "wider" / "wider_face_train_bbx_gt.txt"
    photo = next(line for line in labels.read_text().splitlines() if line.endswith(".jpg"))
    labels.write_text(labels.read_text() + f"{photo.replace('.jpg', '-wide.jpg')}\n1\n9000 20 30 40 0 0 0 0 0 0\n")
    images = tmp_path / "data" / "wider" / "train" / "images"
    Image.new("RGB", (320, 240)).save(images / photo.replace(".jpg", "-wide.jpg"))
    work = tmp_path / "work"
    said = run("status", "--work", work, "--data", f"wider:{labels}:{images}")
    assert "1 outside of their photo" in said.stderr and len(opened()) > 1
    assert not (work / "photo-sizes.json").exists()
    words = ("prepare", "--net", "12", "--work", work, "--data", f"wider:{labels}:{images}", "--workers", 1, "--quiet")
    assert run(*words).exit_code == 0 and opened()
    assert (work / "photo-sizes.json").exists()
    for again in (words, ("status", "--work", work, "--data", f"wider:{labels}:{images}")):
        assert "1 outside of their photo" in run(*again).stderr and opened() == []
