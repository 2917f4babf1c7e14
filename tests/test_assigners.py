"""Matching of anchors and faces, compared with slow loops and with figures of the original projects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtcnn.boxes import iou
from mtcnn.detectors.anchors import RETINAFACE, S3FD, anchors
from prepare.labels import IGNORE
from stages.objectives.matching import BACKGROUND, MatchSettings, compensate, counts, match, match_by_iou

Array = NDArray[Any]

LOG_BEFORE = [7, 2, 1, 1, 1, 3, 1, 9, 7, 9, 14]  # anchors of each face that a training of S3FD printed
LOG_AFTER = [7, 5, 5, 5, 5, 5, 5, 9, 7, 9, 14]


def slow_match(overlaps: Array, positive: float, negative: float, forced: float) -> list[int]:
    """Anchor by anchor and face by face."""
    rows, faces = overlaps.tolist(), range(overlaps.shape[1])
    matching = []
    for row in rows:
        best = max(row) if row else 0.0
        matching.append(
            row.index(best) if row and best >= positive else IGNORE if row and best >= negative else BACKGROUND
        )
    poor = [face for face in faces if face not in matching]
    for face in sorted(poor, key=lambda face: -max(row[face] for row in rows)):
        column = [row[face] for row in rows]
        anchor = column.index(max(column))
        alone = matching[anchor] >= 0 and matching.count(matching[anchor]) == 1
        if column[anchor] >= forced and column[anchor] > 0 and not alone:
            matching[anchor] = face
    return matching


def slow_compensate(matching: list[int], overlaps: Array, above: float) -> list[int]:
    """The best pair of a free anchor and a face below the mean, again and again."""
    result, faces = list(matching), overlaps.shape[1]
    wanted = sum(owner >= 0 for owner in matching) // faces
    while True:
        pairs = [
            (-overlaps[anchor, face], face, anchor)
            for face in range(faces)
            for anchor in range(len(result))
            if result[anchor] < 0 and overlaps[anchor, face] > above and result.count(face) < wanted
        ]
        if not pairs:
            return result
        _, face, anchor = min(pairs)
        result[anchor] = face


@st.composite
def overlap_tables(draw: st.DrawFn) -> Array:
    """Tables (A, G) with ties, zeros and exact thresholds."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    values = st.sampled_from([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.5, 0.9])
    row = st.lists(values, min_size=shape[1], max_size=shape[1])
    return np.array(draw(st.lists(row, min_size=shape[0], max_size=shape[0])), np.float32)


@st.composite
def faces_in(draw: st.DrawFn, side: int) -> Array:
    """Up to six boxes (G, 4) of any shape in a square of `side` pixels."""
    count, rng = draw(st.integers(1, 6)), np.random.default_rng(draw(st.integers(0, 10_000)))
    sizes = np.exp(rng.uniform(np.log(4), np.log(side), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (side - sizes)
    return np.concatenate([corner, corner + sizes], axis=1).astype(np.float32)


@given(overlap_tables(), st.sampled_from([(0.35, 0.35, 0.2), (0.5, 0.3, 1.0), (0.35, 0.35, 0.0)]))
def test_match_by_iou_equals_a_plain_loop(overlaps: Array, bands: tuple[float, float, float]) -> None:
    exact = tuple(float(np.float32(value)) for value in bands)
    assert match_by_iou(overlaps, *exact).tolist() == slow_match(overlaps, *exact)


@given(overlap_tables())
def test_compensation_equals_a_plain_loop(overlaps: Array) -> None:
    first = match_by_iou(overlaps, 0.35, 0.35, 0.0)
    above = float(np.float32(0.1))
    assert compensate(first, overlaps, above).tolist() == slow_compensate(first.tolist(), overlaps, above)


@given(faces_in(128))
def test_compensation_of_faces_among_anchors(faces: Array) -> None:
    places = anchors(128, 128, S3FD)
    overlaps = iou(places, faces)
    first = match_by_iou(overlaps, 0.35, 0.35, 0.0)
    second = compensate(first, overlaps, 0.1)
    before, after = counts(first, len(faces)), counts(second, len(faces))
    mean = before.sum() // len(faces)
    assert (second[first >= 0] == first[first >= 0]).all()
    assert (after[before >= mean] == before[before >= mean]).all()
    free = (overlaps > 0.1) & (second < 0)[:, None]
    assert not free[:, after < mean].any()
    added = np.flatnonzero((second >= 0) & (first < 0))
    assert (overlaps[added, second[added]] > 0.1).all()


def test_pattern_of_the_reference_log() -> None:
    """Faces with few anchors are raised to the mean of 55 / 11 = 5; those with more keep theirs."""
    rows = []
    for face, count in enumerate(LOG_BEFORE):
        strong = np.zeros((count, len(LOG_BEFORE)))
        strong[:, face] = 0.5
        weak = np.zeros((6, len(LOG_BEFORE)))
        weak[:, face] = np.linspace(0.3, 0.15, 6)
        rows += [strong, weak]
    overlaps = np.concatenate(rows).astype(np.float32)
    first = match_by_iou(overlaps, 0.35, 0.35, 0.0)
    second = compensate(first, overlaps, 0.1)
    assert counts(first, 11).tolist() == LOG_BEFORE
    assert counts(second, 11).tolist() == LOG_AFTER
    # The added ones are the best of the weak ones: those of face 2, which had a single anchor, are four of six.
    mine = np.flatnonzero(second == 2)
    assert overlaps[mine, 2] == pytest.approx([0.5, 0.3, 0.27, 0.24, 0.21])


def test_an_empty_slot_makes_no_anchor_positive() -> None:
    """A face with fewer than N candidates gets no more, and the first anchor stays background."""
    overlaps = np.zeros((12, 2), np.float32)
    overlaps[3:11, 0] = 0.6
    overlaps[11, 1] = 0.4
    second = compensate(match_by_iou(overlaps, 0.35, 0.35, 0.0), overlaps, 0.1)
    assert second.tolist() == [BACKGROUND] * 3 + [0] * 8 + [1]


def test_a_face_keeps_its_only_anchor() -> None:
    """Anchor 1 is the best of both faces. The second face has no other, and the first would be left without."""
    overlaps = np.array([[0.0, 0.0], [0.6, 0.3], [0.1, 0.1]], np.float32)
    assert match_by_iou(overlaps, 0.35, 0.35, 0.2).tolist() == [BACKGROUND, 0, BACKGROUND]
    overlaps[2, 0] = 0.5
    assert match_by_iou(overlaps, 0.35, 0.35, 0.2).tolist() == [BACKGROUND, 1, 0]


def test_ignored_faces_are_neither_matched_nor_background() -> None:
    """They get no anchors, and anchors on them are not background; a large anchor around a small ignored face is."""
    places = np.array([[0, 0, 16, 16], [0, 0, 256, 256], [200, 200, 216, 216], [4, 0, 20, 16]], np.float32)
    boxes = np.array([[0, 0, 16, 16], [200, 200, 216, 216]], np.float32)
    found = match(places, boxes, np.array([True, False]), MatchSettings())
    assert found.tolist() == [IGNORE, BACKGROUND, 1, IGNORE]
    assert match(places, boxes, np.array([False, False]), MatchSettings()).tolist() == [0, BACKGROUND, 1, 0]


def test_no_faces_and_boxes_without_area() -> None:
    places = anchors(64, 64, RETINAFACE)
    none, flat = np.zeros((0, 4), np.float32), np.array([[5, 5, 5, 30]], np.float32)
    for chosen in (MatchSettings(), MatchSettings(0.35, 0.35, 0.0, 0.1)):
        assert (match(places, none, np.zeros(0, bool), chosen) == BACKGROUND).all()
        assert (match(places, flat, np.zeros(1, bool), chosen) == BACKGROUND).all()


@pytest.mark.parametrize("wrong", [{"positive": 1.5}, {"negative": 0.4}, {"compensate": 0.5}, {"forced": -0.1}])
def test_invalid_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}; expected"):
        MatchSettings(**wrong)


def test_an_anchor_near_an_ignored_face_is_not_background() -> None:
    """From an IoU of a tenth on; the anchors are larger than the face, and so not covered by it."""
    hidden = np.array([[0, 0, 10, 1]], np.float32)
    places = np.array([[0, 0, 10, 10], [0, 0, 10, 10.1], [0, 0, 5, 10]], np.float32)  # IoU 0.1, less, 1 / 11
    found = match(places, hidden, np.array([True]), MatchSettings())
    assert found.tolist() == [IGNORE, BACKGROUND, BACKGROUND]


def test_an_anchor_half_covered_by_an_ignored_face_is_not_background() -> None:
    """However small: its IoU is below a tenth."""
    hidden = np.array([[0, 0, 100, 100]], np.float32)
    places = np.array([[-5, 0, 5, 10], [-6, 0, 4, 10], [90, 90, 100, 100], [0, 0, 400, 400]], np.float32)
    found = match(places, hidden, np.array([True]), MatchSettings())
    assert found.tolist() == [IGNORE, BACKGROUND, IGNORE, BACKGROUND]


def test_a_face_gives_away_all_anchors_but_one() -> None:
    """Of its three, two others take their best; the last stays, whatever a fourth face wants."""
    overlaps = np.array([
        [0.9, 0.3, 0.0, 0.0],
        [0.9, 0.0, 0.25, 0.0],
        [0.9, 0.0, 0.0, 0.22],
    ])  # fmt: skip
    assert match_by_iou(overlaps, 0.35, 0.35, 0.2).tolist() == [1, 2, 0]


def test_compensation_by_any_share_above_zero() -> None:
    """The second face owns no anchor at 0.9; half of the first one's three are more than one."""
    places = np.array([[0, 0, 10, 10], [0, 0, 10, 10.5], [0, 0, 10.5, 10], [40, 0, 50, 10]], np.float32)
    boxes, none = np.array([[0, 0, 10, 10], [43, 0, 53, 10]], np.float32), np.zeros(2, bool)
    for share, wanted in ((0.0, BACKGROUND), (0.01, 1), (0.5, 1), (0.55, BACKGROUND)):
        found = match(places, boxes, none, MatchSettings(0.9, 0.9, 1.0, share))
        assert found.tolist() == [0, 0, 0, wanted]
