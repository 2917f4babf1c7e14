"""Detection in every n-th frame: faces between are interpolated, and every frame has some."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.errors import ImageError
from mtcnn.stream.between import filled, interpolated, pairs
from mtcnn.stream.items import Item
from mtcnn.types import Faces

IMAGE = np.zeros((9, 9, 3), np.uint8)


def faces(*xs: float, score: float = 0.9) -> Faces:
    """Faces of 10 pixels at these places."""
    boxes = np.array([[x, 0, x + 10, 10] for x in xs]).reshape(-1, 4)
    points = np.repeat(boxes[:, None, :2], 5, axis=1)
    return Faces(boxes, np.full(len(xs), score), points)


def frames(found: Iterable[Faces | None], name: str = "a.mp4") -> list[tuple[Any, bool]]:
    """Frames of a video; None where the detector has not looked."""
    item = Item(Path(name), IMAGE, Faces.empty(), 0, 0.0, 25.0)
    return [(replace(item, faces=f or Faces.empty(), frame=i), f is not None) for i, f in enumerate(found)]


def places(items: Iterable[Any]) -> list[list[float]]:
    return [sorted(item.faces.boxes[:, 0].tolist()) for item in items]


def test_a_moving_face() -> None:
    given = frames([faces(0), None, None, None, faces(8), None])
    assert places(filled(given)) == [[0], [2], [4], [6], [8], [8]]
    assert [item.frame for item in filled(given)] == list(range(6))  # type: ignore[union-attr]
    half = interpolated(faces(0, score=0.5), faces(8, score=0.9), 0.25)
    assert half.scores.tolist() == pytest.approx([0.6])
    assert half.landmarks is not None
    assert half.landmarks[0, :, 0].tolist() == [2] * 5


def test_a_face_seen_once_is_in_every_frame_around() -> None:
    assert places(filled(frames([faces(0), None, faces(), None, faces(50)]))) == [[0], [0], [], [50], [50]]
    assert places(filled(frames([faces(0), None, faces(0, 90)]))) == [[0], [0, 90], [0, 90]]


def test_faces_are_matched_by_distance_and_size() -> None:
    assert pairs(faces(0, 30), faces(28, 3)) == [(1, 0), (0, 1)]
    assert pairs(faces(0), faces(16)) == []
    large = Faces([[0, 0, 30, 30]], [0.9])  # type: ignore[arg-type]
    assert pairs(faces(0), large) == []
    assert pairs(faces(), faces(1)) == pairs(faces(1), faces()) == []


def test_videos_and_errors_end_a_gap() -> None:
    """No face goes from one video into the next, and nothing changes its place."""
    error = ImageError("a.mp4: damaged")
    image = Item(Path("b.png"), IMAGE, faces(70))
    given = [*frames([faces(0), None]), *frames([None, faces(5), None], "b.mp4"), (error, True), (image, True)]
    found = list(filled(given))
    assert found[5] is error
    assert places(item for item in found if item is not error) == [[0], [0], [5], [5], [5], [70]]
    assert found[-1] is image


def test_without_any_detection() -> None:
    assert list(filled([])) == []
    assert places(filled(frames([None, None]))) == [[], []]


@pytest.fixture
def clip(tmp_path: Path, photos: Any) -> Path:
    """A face that moves by two pixels a frame."""
    scene = photos["astronaut"]
    return write_clip(tmp_path / "clip.mp4", [scene[:256, 60 + 2 * i : 316 + 2 * i] for i in range(8)])


def test_the_command(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    detect = Detector._detect

    def counted(self: Detector, image: Any) -> Faces:
        seen.append(image)
        return detect(self, image)

    monkeypatch.setattr(Detector, "_detect", counted)
    first = run("detect", clip, "--json")
    assert first.exit_code == 0, first.stderr
    every = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(seen) == 8
    done = run("detect", clip, "--json", "--detect-every", 3, "--track", "--batch", 2)
    assert done.exit_code == 0, done.stderr
    assert len(seen) == 8 + 3
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["frame"] for row in rows] == list(range(8))
    for row, wanted in zip(rows[:7], every, strict=False):
        assert row["faces"][0]["box"] == pytest.approx(wanted["faces"][0]["box"], abs=6)
        assert row["faces"][0]["id"] == 1
    assert rows[7]["faces"][0]["box"] == rows[6]["faces"][0]["box"]
    twice = run("detect", clip, "--json", "--detect-every", 2, "--every", 2)
    assert [json.loads(line)["frame"] for line in twice.stdout.splitlines()] == [0, 2, 4, 6]
    assert len(seen) == 8 + 3 + 2


def test_photos_have_no_frames(photo_folder: Path) -> None:
    done = run("detect", photo_folder / "astronaut.png", "--detect-every", 2)
    assert done.exit_code == 2
    assert "--detect-every is for frames of a video" in done.stderr
