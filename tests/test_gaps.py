"""Faces missed for a few frames: their interpolated boxes, and anonymised videos that hide them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import numbered, write_clip
from numpy.typing import NDArray

from mtcnn.errors import SettingsError
from mtcnn.stream.gaps import GapFiller, default_gap
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.anonymous import AnonymousCopies
from mtcnn.stream.video import Video
from mtcnn.types import Faces

LEFT, RIGHT = [10.0, 10, 30, 30], [200.0, 50, 240, 90]


def filled(gap: int, *frames: list[list[float]]) -> list[list[list[float]]]:
    filler, found = GapFiller(gap), []
    for number, boxes in enumerate(frames):
        found += filler.add(np.reshape(np.array(boxes, np.float32), (-1, 4)))
        assert len(found) == max(0, number + 1 - gap)  # frames come `gap` late, not later
    found += filler.finish()
    assert len(found) == len(frames)
    return [boxes.tolist() for boxes in found]


def test_a_face_found_again_moves_evenly() -> None:
    to = [22.0, 10, 42, 30]
    for gap in (2, 3, 9):
        assert filled(gap, [LEFT], [], [], [to])[1:3] == [[[14.0, 10, 34, 30]], [[18.0, 10, 38, 30]]]
    # It also grows.
    assert filled(1, [LEFT], [], [[10, 10, 34, 34]])[1] == [[10, 10, 32, 32]]


def test_a_longer_gap_is_covered_from_both_sides() -> None:
    assert filled(2, [LEFT], [], [], [], [], [], [LEFT]) == [[LEFT]] * 3 + [[]] + [[LEFT]] * 3
    twice = [LEFT, LEFT]
    assert filled(2, [LEFT], [], [], [], [LEFT]) == [[LEFT], [LEFT], twice, [LEFT], [LEFT]]


def test_a_face_that_appears_or_disappears() -> None:
    assert filled(2, [], [], [], [LEFT], [], [], []) == [[]] + [[LEFT]] * 5 + [[]]
    assert filled(2, [], [LEFT]) == [[LEFT], [LEFT]]  # at the ends of the video
    assert filled(5, [LEFT], []) == [[LEFT], [LEFT]]


def test_no_gap_adds_nothing() -> None:
    assert filled(0, [], [LEFT], [], [LEFT, RIGHT]) == [[], [LEFT], [], [LEFT, RIGHT]]


def test_two_faces_are_distinguished() -> None:
    """By position, in any order; the one that is missed in the middle is added."""
    assert filled(3, [LEFT, RIGHT], [RIGHT], [RIGHT, LEFT])[1] == [RIGHT, LEFT]
    # Another size at the same place is another face: each keeps its own box.
    large = [-10.0, -10, 50, 50]
    assert filled(1, [LEFT], [], [large])[1] == [large, LEFT]


def test_a_face_that_moves_fast() -> None:
    """Its boxes do not overlap: it is the same face within a maximum distance; otherwise both ends are extended."""
    near, far = [40.0, 10, 60, 30], [75.0, 10, 95, 30]
    assert filled(2, [LEFT], [], [], [near])[1:3] == [[[20, 10, 40, 30]], [[30, 10, 50, 30]]]
    assert sorted(filled(2, [LEFT], [], [], [far])[1]) == [LEFT, far]


def test_how_far_and_how_large() -> None:
    """A side further, and a quarter for each missed frame, three at most; twice as large, and no more."""
    for gap, reach in ((1, 1.25), (3, 1.75), (8, 3.0), (12, 3.0)):
        for share, same in ((0.99, True), (1.01, False)):
            x = 10 + 20 * reach * share
            frames: list[list[list[float]]] = [[LEFT], *([[]] * gap), [[x, 10, x + 20, 30]]]
            assert len(filled(gap, *frames)[1]) == (1 if same else 2)
    for side, count in ((39.5, 1), (40.5, 2)):
        assert len(filled(1, [LEFT], [], [[20 - side / 2, 20 - side / 2, 20 + side / 2, 20 + side / 2]])[1]) == count


def test_boxes_without_an_area() -> None:
    assert filled(1, [[5, 5, 5, 5]], [], [[5, 5, 5, 5]])[1] == [[5, 5, 5, 5]]


def test_half_a_second() -> None:
    assert [default_gap(fps) for fps in (30, 25, 10, 1, 0.2)] == [15, 12, 5, 1, 1]


# ---- copies


def solid_at(picture: NDArray[np.uint8], x: int, y: int) -> bool:
    return bool(picture[y, x].max() < 16)


def copied(tmp_path: Path, seen: set[int], gap: int | None = None) -> list[bool]:
    """Whether the place of a face is hidden, by frame, in the copy of a video whose frames `seen` show one."""
    clip = write_clip(tmp_path / "clip.avi", (frame // 2 + 100 for frame in numbered(20)), 10)
    copies = AnonymousCopies(tmp_path / "copy.avi", [clip], "solid", gap=gap)
    face = Faces(np.array([[20, 10, 40, 30]], np.float32), np.ones(1, np.float32))
    with Video(clip) as video:
        for frame in video:
            faces = face if frame.number in seen else Faces.empty()
            copies.write(Item(clip, frame.image, faces, frame.number, frame.time, 10.0))
    copies.close()
    with Video(tmp_path / "copy.avi") as copy:
        return [solid_at(frame.image, 30, 20) for frame in copy]


def test_copies_hide_faces_in_gaps(tmp_path: Path) -> None:
    hidden = copied(tmp_path, {8, 9, 13})  # five frames are half a second
    assert [number for number, is_hidden in enumerate(hidden) if is_hidden] == list(range(3, 19))
    assert len(hidden) == 20


def test_the_gap_is_a_setting(tmp_path: Path) -> None:
    assert [number for number, is_hidden in enumerate(copied(tmp_path, {8, 11}, gap=1)) if is_hidden] == [
        7,
        8,
        9,
        10,
        11,
        12,
    ]
    assert [number for number, is_hidden in enumerate(copied(tmp_path, {8, 11}, gap=0)) if is_hidden] == [8, 11]
    with pytest.raises(SettingsError, match="gap is -1; expected a whole number of at least 0"):
        AnonymousCopies(tmp_path / "x.avi", [], gap=-1)


def test_copies_of_several_sources(tmp_path: Path) -> None:
    """Videos one after the other, and an image behind: none takes frames or faces of another."""
    clips = [write_clip(tmp_path / name, numbered(count), 10) for name, count in (("a.avi", 3), ("b.avi", 12))]
    image = tmp_path / "c.png"
    copies = AnonymousCopies(tmp_path / "copies", [*clips, image], "solid")
    face = Faces(np.array([[20, 10, 40, 30]], np.float32), np.ones(1, np.float32))
    for clip in clips:
        with Video(clip) as video:
            for frame in video:
                faces = face if clip == clips[0] else Faces.empty()
                copies.write(Item(clip, frame.image, faces, frame.number, frame.time, 10.0))
    copies.write(Item(image, np.full((48, 64, 3), 200, np.uint8), Faces.empty()))
    assert (tmp_path / "copies" / "b.avi").exists()  # finished before the image
    copies.close()
    hidden = []
    for clip in clips:
        with Video(tmp_path / "copies" / clip.name) as copy:
            hidden.append([solid_at(frame.image, 30, 20) for frame in copy])
    assert hidden == [[True] * 3, [False] * 12]
