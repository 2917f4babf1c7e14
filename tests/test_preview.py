"""`mtcnn detect --show`: what is shown, how it ends, and machines without windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import write_clip
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.images import read_image
from mtcnn.pictures.draw import draw_faces


class Window:
    """In place of OpenCV's: what was shown, how long each waited, and the keys that are pressed."""

    def __init__(self, keys: list[int]) -> None:
        self.keys, self.waits = keys, list[int]()
        self.shown: list[Any] = []
        self.open = False

    def wait(self, milliseconds: int) -> int:
        self.waits.append(milliseconds)
        return self.keys.pop(0) if self.keys else -1


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Window:
    made = Window([])
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: setattr(made, "open", True))
    monkeypatch.setattr(cv2, "destroyWindow", lambda *_: setattr(made, "open", False))
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: made.shown.append(np.array(picture)))
    monkeypatch.setattr(cv2, "waitKey", made.wait)
    return made


def test_an_image_waits_for_a_key(window: Window, photo_folder: Path) -> None:
    path = photo_folder / "astronaut.png"
    done = run("detect", path, "--show")
    assert done.exit_code == 0, done.stderr
    image = read_image(path)
    assert np.array_equal(window.shown[0][..., ::-1], draw_faces(image, Detector().detect(image)))
    assert window.waits == [0]
    assert not window.open


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_a_key_ends_a_video(window: Window, tmp_path: Path, photos: Any, key: int) -> None:
    window.keys = [-1, ord("x"), key]
    clip = write_clip(tmp_path / "clip.mp4", [photos["astronaut"][:256, :256]] * 6)
    done = run("detect", clip, "--show", "--track")
    assert done.exit_code == 130
    assert window.waits == [1, 1, 1]
    assert not window.open


def test_without_a_display(monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = run("detect", photo_folder / "astronaut.png", "--show")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "--show finds no display; expected opencv-python" in done.stderr


def test_with_a_build_without_windows(window: Window, monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    done = run("detect", photo_folder / "astronaut.png", "--show")
    assert done.exit_code == 1
    assert "--show cannot open a window with this build of OpenCV" in done.stderr
