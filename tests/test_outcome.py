"""Progress of a run, and the quality of its nets at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.api.training import MIN_FACE
from mtcnn.types import Faces
from prepare import synthetic
from prepare.records import ImageRecord
from stages.graph.clock import Clock
from stages.outcome import PHOTOS, measure, rows_of

RECORDS = synthetic.records(30, 0)
LARGE = sum(int(((r.boxes[:, 2:] - r.boxes[:, :2]).max(axis=1, initial=0) >= MIN_FACE).sum()) for r in RECORDS)


class Known:
    """A detector that returns the labelled faces of RECORDS in order, except some."""

    def __init__(self, missed: int = 0, false: int = 0) -> None:
        self.at, self.missed, self.false = -1, missed, false

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        self.at += 1
        boxes = RECORDS[self.at].boxes
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= MIN_FACE]
        cut = min(self.missed, len(boxes))
        self.missed -= cut
        found = Faces(boxes[cut:], np.linspace(0.9, 0.8, len(boxes) - cut).astype(np.float32))
        wrong = min(self.false, 1)
        self.false -= wrong
        return Faces.concat(
            [found, Faces(np.tile(np.array([0, 0, 9, 9], np.float32), (wrong, 1)), np.full(wrong, 0.99, np.float32))]
        )


def test_average_precision() -> None:
    whole = measure(RECORDS, Known())
    assert whole is not None
    assert whole.ap == pytest.approx(1.0)
    assert whole[1:] == (LARGE, 30, 30)
    assert str(whole) == f"average precision 1.000 on 30 validation photos, {LARGE} faces of 20 pixels or more"
    half = measure(RECORDS, Known(missed=LARGE // 2))
    assert half is not None
    assert half.ap == pytest.approx(1 - LARGE // 2 / LARGE, abs=0.01)
    doubtful = measure(RECORDS, Known(false=LARGE))
    assert doubtful is not None
    assert doubtful.ap < 0.75, "false faces above all true ones"


def test_what_is_inside_an_ignored_region_is_no_false_positive() -> None:
    """One that is mostly outside, or twice as large as an ignored face, is; and faces in regions count."""
    boxes = np.array([[10, 10, 40, 40], [50, 0, 200, 150], [12, 60, 32, 80], [5, 5, 9, 9]], np.float32)
    points, ignore = np.full((4, 5, 2), np.nan, np.float32), np.array([False, True, True, True])
    record = ImageRecord(Path("a.png"), boxes, points, ignore, True)
    found = {
        "the face": (10, 11, 40, 40), "in the region": (100, 50, 130, 80), "a third of it there": (30, 100, 60, 130),
        "an ignored face": (12, 60, 32, 80), "twice its area": (7, 55, 37, 85), "all around": (3, 3, 60, 60),
    }  # fmt: skip
    scores = np.linspace(0.9, 0.4, len(found)).astype(np.float32)
    kept = rows_of(record, Faces(np.array(list(found.values()), np.float32), scores))[:, 4]
    names = [name for name, score in zip(found, scores, strict=True) if score in kept.astype(np.float32)]
    assert names == ["the face", "a third of it there", "twice its area", "all around"]
    crowd = ImageRecord(Path("a.png"), boxes[[1, 0]] * 9, points[:2], np.array([True, False]), True)
    inside = Faces(boxes[:1] * 9, scores[:1])
    assert len(rows_of(crowd, inside)) == 1 and len(rows_of(crowd, inside[:0])) == 0


def test_it_stops_in_time_and_samples_evenly() -> None:
    times = iter([0.0, *range(0, 1000, 15)])
    short = measure(RECORDS, Known(), lambda: next(times))
    assert short is not None
    assert str(short).startswith("average precision 1.000 on 3 of 30 validation photos")
    seen: list[int] = []
    many = [ImageRecord(Path(f"gone-{i}.jpg")) for i in range(2 * PHOTOS + 1)]
    assert measure(many, lambda image: seen.append(1) or Faces.empty()) is None  # type: ignore[func-returns-value]
    assert not seen, "unreadable photos are skipped"
    assert measure([], Known()) is None
    assert measure([RECORDS[0]], Known()) is None or len(RECORDS[0].boxes)


def test_time_left_follows_from_finished_nodes() -> None:
    now = [100.0]
    clock = Clock([10, 30, 60], lambda: now[0])
    assert clock.place(0) == " (stage 1 of 3)"
    now[0] = 120  # twice as slow as the costs say
    assert clock.place(1) == " (stage 2 of 3, about 0:03:00 left)"
    now[0] = 140  # then faster: 40 for 40
    assert clock.place(2) == " (stage 3 of 3, about 0:01:00 left)"
    assert Clock([0, 5], lambda: 0).place(1) == " (stage 2 of 2)"
    assert Clock([5], lambda: 0).place(0) == ""
