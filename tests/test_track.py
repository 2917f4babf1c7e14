"""Track ids: kept while a face stays in view, dropped after a while, never shared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtcnn.stream.tracking import Tracker
from mtcnn.types import Faces


def faces(*boxes: Sequence[float]) -> Faces:
    return Faces(np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.9, 0.8, len(boxes), dtype=np.float32))


def at(x: float, y: float = 0, side: float = 20) -> list[float]:
    return [x, y, x + side, y + side]


def test_ids_follow_the_faces_not_their_order() -> None:
    tracker = Tracker()
    assert tracker.update(faces(at(0), at(100))) == (1, 2)
    assert tracker.update(faces(at(103), at(3))) == (2, 1)
    assert tracker.update(faces(at(6), at(50), at(106))) == (1, 3, 2)


def test_no_faces() -> None:
    tracker = Tracker()
    assert tracker.update(Faces.empty()) == ()
    assert tracker.update(faces(at(0))) == (1,)
    assert tracker.update(Faces.empty()) == ()


def test_a_face_that_moves_on_is_compared_with_where_it_was_last() -> None:
    tracker = Tracker()
    assert [tracker.update(faces(at(x))) for x in range(0, 200, 8)] == [(1,)] * 25


def test_minimum_overlap() -> None:
    """Two squares of side 20, the second moved by d, have an IoU of (20 - d) / (20 + d)."""
    for moved, same in ((10.7, True), (10.8, False)):
        tracker = Tracker(min_iou=0.3)  # d = 10.77
        tracker.update(faces(at(0)))
        assert tracker.update(faces(at(moved))) == ((1,) if same else (2,))
    tracker = Tracker(min_iou=0.5)
    tracker.update(faces(at(0, side=30)))
    assert tracker.update(faces([0, 0, 30, 15])) == (1,)  # just 0.5


def test_memory() -> None:
    for gap, number in ((0, 1), (3, 1), (4, 2)):
        tracker = Tracker(memory=3)
        tracker.update(faces(at(0)))
        for _ in range(gap):
            tracker.update(Faces.empty())
        assert tracker.update(faces(at(0))) == (number,)


def test_numbers_are_not_used_again() -> None:
    tracker = Tracker(memory=0)
    assert [tracker.update(faces(at(100 * step))) for step in range(4)] == [(1,), (2,), (3,), (4,)]


def test_the_best_overlap_wins() -> None:
    """The first face overlaps the track as well, but the second is where it was."""
    tracker = Tracker()
    tracker.update(faces(at(0)))
    assert tracker.update(faces(at(6), at(1))) == (2, 1)
    crossing = Tracker()
    crossing.update(faces(at(0), at(10)))
    assert crossing.update(faces(at(9), at(1))) == (2, 1)


def test_ties_go_to_the_better_face() -> None:
    tracker = Tracker()
    tracker.update(faces(at(0)))
    assert tracker.update(faces(at(5), at(-5))) == (1, 2)


def test_no_number_twice_in_a_frame() -> None:
    rng, tracker = np.random.default_rng(0), Tracker(min_iou=0.01)
    for _ in range(50):
        corners = rng.uniform(0, 60, (rng.integers(0, 9), 2))
        ids = tracker.update(faces(*np.hstack([corners, corners + 25]).tolist()))
        assert len(set(ids)) == len(ids) == len(corners)
