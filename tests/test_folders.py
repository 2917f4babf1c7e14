"""Folders: every file that may be a photo is read, or counted with advice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from run_command import run

from mtcnn.images import SUFFIXES
from mtcnn.pictures.draw import save_image
from mtcnn.stream import folders
from mtcnn.stream.folders import PassedOver, search
from mtcnn.stream.sources import VIDEO_SUFFIXES, find_sources, image_files
from prepare.synthetic import draw_scene


def make(folder: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def found_in(folder: Path, outputs: tuple[Path, ...] = ()) -> tuple[list[str], list[str]]:
    """The files found, and the lines about others; fails on problems."""
    passed, problems = PassedOver(), list[str]()
    paths = search(folder, (*SUFFIXES, *VIDEO_SUFFIXES), problems, passed, outputs)
    assert problems == []
    return [path.relative_to(folder).as_posix() for path in paths], passed.lines()


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    make(photos, "a.jpg", "sub/b.jpg")
    make(elsewhere, "c.jpg", "deep/d.jpg")
    (photos / "2024").symlink_to(elsewhere)
    (photos / "again").symlink_to(elsewhere)
    (photos / "0-sub").symlink_to(photos / "sub")  # keeps its own name
    (elsewhere / "ring").symlink_to(photos)
    (photos / "sub" / "up").symlink_to(photos)
    (photos / "self").symlink_to(photos / "self")
    assert found_in(photos) == (["2024/c.jpg", "2024/deep/d.jpg", "a.jpg", "sub/b.jpg"], [])


def test_other_files_are_counted_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    make(tmp_path, "IMG_1.HEIC", "IMG_2.heic", "d.CR2", "e.psd", "f.zip", "notes.txt", "a.json", "b.jpg")
    make(tmp_path, "download", "photo.jpg_large", content=b"\xff\xd8\xff\xe0 a JPEG")
    make(tmp_path, "readme", "x.bin", content=b"text")
    os.mkfifo(tmp_path / "pipe.png")
    found, lines = found_in(tmp_path)
    assert found == ["b.jpg"]
    assert lines == [
        f"skipped 2 HEIC images, such as {tmp_path}/IMG_1.HEIC: pip install pillow-heif",
        f"skipped 1 raw photo, {tmp_path}/d.CR2: convert it to JPEG or TIFF",
        f"skipped 2 images or videos without the usual suffix, such as {tmp_path}/download: name them or rename them",
        f"skipped 1 image of a format that is not read, {tmp_path}/e.psd: convert it to PNG or JPEG",
        f"skipped 1 archive, {tmp_path}/f.zip: unpack it",
        f"skipped 1 pipe or device, {tmp_path}/pipe.png: name it to read it",
    ]


def test_heic_is_read_if_a_reader_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: object())
    make(tmp_path, "IMG_1.HEIC")
    assert found_in(tmp_path) == (["IMG_1.HEIC"], [])


def test_litter_is_skipped_and_hidden_photos_are_reported(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "._a.jpg", ".DS_Store", "@eaDir/a.jpg", ".thumbnails/a.png", "__MACOSX/._a.jpg")
    make(tmp_path, "Thumbs.db", ".git/x.png", "sub/.@__thumb/a.jpg", ".Trash-1000/files/a.jpg")
    assert found_in(tmp_path) == (["a.jpg"], [])
    make(tmp_path, ".mine.jpg", ".private/b.jpg")
    assert found_in(tmp_path)[1] == [
        f"skipped 1 hidden file, {tmp_path}/.mine.jpg: name it to read it",
        f"skipped 1 hidden folder, {tmp_path}/.private: name it to search it",
    ]


def test_named_files_and_folders_are_always_read(tmp_path: Path) -> None:
    make(tmp_path, "@eaDir/a.jpg", ".private/b.jpg", "._c.jpg")
    named = [tmp_path / "@eaDir", tmp_path / ".private", tmp_path / "._c.jpg"]
    sources, told = find_sources(named)
    assert sources == [tmp_path / "@eaDir/a.jpg", tmp_path / ".private/b.jpg", tmp_path / "._c.jpg"]
    assert told == []


def test_folders_of_outputs_of_this_command(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "drawn/a.jpg", "drawn/b.jpg")
    found, lines = found_in(tmp_path, (tmp_path / "sub" / ".." / "drawn",))
    assert found == ["a.jpg"]
    assert lines == [
        f"skipped 2 pictures in the output folder of this command, such as {tmp_path}/drawn: name them to read them"
    ]
    assert found_in(tmp_path / "drawn", (tmp_path / "drawn",))[0] == ["a.jpg", "b.jpg"]  # which is named


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".mpo", ".apng"])
def test_unusual_suffixes_of_browsers_and_cameras(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, f"a{suffix}")
    assert list(image_files([tmp_path])) == [tmp_path / f"a{suffix}"]


def test_the_command_counts_on_stderr_and_ends_well(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", draw_scene(0, 3)[0])
    make(tmp_path, "b.psd", "._a.png")
    done = run("detect", tmp_path, "--min-face", 40)
    assert done.exit_code == 0
    first, last = done.stderr.splitlines()
    assert first == f"mtcnn: skipped 1 image of a format that is not read, {tmp_path}/b.psd: convert it to PNG or JPEG"
    assert last.startswith("mtcnn: 1 image, ")
    quiet = run("detect", tmp_path, "--min-face", 40, "--quiet")
    assert (quiet.exit_code, quiet.stderr, quiet.stdout) == (0, "", done.stdout)


def test_a_folder_of_a_million_files_is_not_opened_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only files without a usual suffix are looked into."""
    make(tmp_path, "a.jpg", "a.txt", "a.json", "a.xml", "b.unknown")
    opened: list[str] = []
    monkeypatch.setattr(folders, "_has_signature", lambda path: opened.append(path.name))
    assert found_in(tmp_path)[0] == ["a.jpg"]
    assert opened == ["b.unknown"]
