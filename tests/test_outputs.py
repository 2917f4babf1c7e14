"""Names of output files: unique, and never that of a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtcnn.stream.places import Names


def names(folder: Path, *sources: str, suffix: str | None = None) -> list[str]:
    """By the suffix of the source where none is given."""
    paths = [Path(source) for source in sources]
    made = Names(folder, paths, lambda source: suffix or source.suffix)
    found = [made.path(source) for source in paths]
    assert {path.parent for path in found} == {folder}
    return [path.name for path in found]


def test_by_name_of_the_source(tmp_path: Path) -> None:
    assert names(tmp_path / "new", "in/a.jpg", "in/b.c.JPEG") == ["a.jpg", "b.c.JPEG"]
    assert names(tmp_path, "in/a.jpg", "in/b", suffix=".png") == ["a.png", "b.png"]
    assert not (tmp_path / "new").exists()


def test_names_are_unique(tmp_path: Path) -> None:
    sources = ("x/a.jpg", "y/a.jpg", "z/a.png", "y/a-2.jpg")
    assert names(tmp_path, *sources) == ["a.jpg", "a-2.jpg", "a.png", "a-2-2.jpg"]
    assert names(tmp_path, *sources, suffix=".txt") == ["a.txt", "a-2.txt", "a-3.txt", "a-2-2.txt"]
    assert names(tmp_path, "x/a.jpg", "x/a.jpg") == ["a.jpg", "a.jpg"]  # the same source


def test_no_name_is_that_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(tmp_path, f"{tmp_path}/a.jpg", f"{tmp_path}/a-2.jpg", "b.gif") == ["a-3.jpg", "a-2-2.jpg", "b.gif"]
    monkeypatch.chdir(tmp_path)
    assert names(Path(), f"{tmp_path}/a.jpg") == ["a-2.jpg"]  # the same folder by another name


def test_frames_and_parts(tmp_path: Path) -> None:
    sources = [Path("x/a.mp4"), Path("y/a.mp4"), Path("camera:0"), tmp_path / "a-face1.png"]
    made = Names(tmp_path, sources, lambda source: ".png")
    assert made.path(sources[0], 12).name == "a-frame000012.png"
    assert made.path(sources[1], 1234567, "-face3").name == "a-2-frame1234567-face3.png"
    assert made.path(sources[2]).name == "camera-0.png"
    assert made.path(sources[0], part="-face1").name == "a-face1-3.png"  # the first is a source, whose picture is -2
    assert made.path(sources[0], part="-face2").name == "a-face2.png"
