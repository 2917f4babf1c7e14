"""Where drawn pictures and videos go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtcnn.images import read_image
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.pictures import Pictures
from mtcnn.types import Faces


def targets(draw: Path, *sources: Path | str) -> list[Path]:
    paths = [Path(source) for source in sources]
    pictures = Pictures(draw, paths)
    return [pictures.path(path) for path in paths]


def test_into_a_folder(tmp_path: Path) -> None:
    found = targets(tmp_path, "in/a.jpg", "in/b.gif", "in/c.JPEG", "in/d", "a.mp4", "in/e.AVI", "f.webm", "camera:0")
    assert {path.parent for path in found} == {tmp_path}
    # What cannot be written becomes PNG or MP4.
    expected = ["a.jpg", "b.png", "c.JPEG", "d.png", "a.mp4", "e.AVI", "f.mp4", "camera-0.mp4"]
    assert [path.name for path in found] == expected
    assert targets(tmp_path / "new", "a.jpg") == [tmp_path / "new" / "a.jpg"]
    assert not (tmp_path / "new").exists()


def test_a_single_one_may_be_named(tmp_path: Path) -> None:
    for name, source in (("out.jpg", "a.png"), ("out.avi", "a.webm"), ("out.mp4", "camera:0")):
        target = tmp_path / name
        assert targets(target, source) == [target]
        target.touch()
        assert targets(target, source) == [target]  # written anew, like any output
    (tmp_path / "folder.jpg").mkdir()
    assert targets(tmp_path / "folder.jpg", "a.png") == [tmp_path / "folder.jpg" / "a.png"]
    assert Pictures(tmp_path / "out.jpg", [])  # that there is nothing to draw is told elsewhere


@pytest.mark.parametrize(
    ("draw", "sources", "why"),
    [
        ("out.jpg", ["a.png", "b.png"], "is one file, for 2 sources; expected a folder"),
        ("notes.txt", ["a.png"], "is no name for a picture, as "),
        ("a.png", ["a.png"], "is the source itself; expected a folder, or a new file"),
        ("out.jpg", ["a.mp4"], "is no name for a video, as "),
        ("out.mp4", ["a.png"], "is no name for a picture, as "),
        ("out.mp4", ["a.mp4", "b.mp4"], "is one file, for 2 sources; expected a folder"),
        ("a.mp4", ["a.mp4"], "is the source itself; expected a folder, or a new file"),
    ],
)
def test_a_file_that_cannot_be_drawn_to_is_rejected(tmp_path: Path, draw: str, sources: list[str], why: str) -> None:
    for name in ("a.png", "a.mp4", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=why):
        Pictures(tmp_path / draw, [tmp_path / name for name in sources])


def test_one_picture_to_a_file_in_a_new_folder(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "deep" / "out.bmp", [Path("a.png")])
    pictures.write(Item(Path("a.png"), np.zeros((40, 31, 3), np.uint8), Faces.empty()))
    pictures.close()
    assert read_image(tmp_path / "deep" / "out.bmp").shape == (40, 31, 3)
