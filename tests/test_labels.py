"""Crop labels: exact bands, compared with a loop over fractions, and ignored faces."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prepare.labels import IGNORE, IouBands, Kind, label
from prepare.records import ImageRecord

BANDS = IouBands()
NEG, PART, POS = Fraction(3, 10), Fraction(4, 10), Fraction(65, 100)

Row = Sequence[Any]


def shared(a: Row, b: Row) -> tuple[Fraction, Fraction, Fraction]:
    """Intersection, and the two areas."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = Fraction(width) * height if width > 0 and height > 0 else Fraction(0)
    return inter, Fraction(a[2] - a[0]) * (a[3] - a[1]), Fraction(b[2] - b[0]) * (b[3] - b[1])


def exact_iou(a: Row, b: Row) -> Fraction:
    inter, area_a, area_b = shared(a, b)
    return inter / (area_a + area_b - inter)


def exact_ios(a: Row, b: Row) -> Fraction:
    inter, area_a, area_b = shared(a, b)
    return inter / min(area_a, area_b)


def squared(a: Row) -> Row:
    half = Fraction(max(a[2] - a[0], a[3] - a[1]), 2)
    x, y = Fraction(a[0] + a[2], 2), Fraction(a[1] + a[3], 2)
    return x - half, y - half, x + half, y + half


def plain_label(
    crop: Row, faces: Sequence[Row], ignore: Sequence[bool], complete: bool, min_face: int, fitting: bool
) -> int:
    """docs/conventions.md and the docstring of `label`, one crop and one face at a time."""
    best, best_face, background = Fraction(-1), -1, complete
    for number, face in enumerate(faces):
        by_square = exact_iou(crop, face if fitting else squared(face))
        if by_square > best:
            best, best_face = by_square, number
        if by_square >= NEG or exact_iou(crop, face) >= NEG or (ignore[number] and exact_ios(crop, face) >= NEG):
            background = False
    if background:
        return Kind.NEG
    face = faces[best_face] if faces else (0, 0, 0, 0)
    usable = bool(faces) and not ignore[best_face] and max(face[2] - face[0], face[3] - face[1]) >= min_face
    if usable and best >= POS:
        return Kind.POS
    return Kind.PART if usable and best >= PART else IGNORE


def record(faces: Any, ignore: Sequence[bool] | None = None, complete: bool = True) -> ImageRecord:
    boxes = np.array(faces, np.float32).reshape(-1, 4)
    return ImageRecord(Path("x.jpg"), boxes, ignore=np.array(ignore or [False] * len(boxes), bool), complete=complete)


def kinds(crops: Any, of: ImageRecord, min_face: float = 1, fitting: bool = False) -> list[int]:
    boxes = np.array(crops, np.float64).reshape(-1, 4)
    return [int(kind) for kind in label(boxes, of, BANDS, min_face, fitting).kinds]


# Whole coordinates on a small canvas: overlaps meet the thresholds exactly, faces repeat and overlap each other.
_face = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 24), st.integers(1, 24)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)
_crop = st.tuples(st.integers(-8, 30), st.integers(-8, 30), st.integers(1, 33)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[2])
)


@settings(max_examples=300)
@given(
    crops=st.lists(st.one_of(_crop, _face), max_size=12),
    faces=st.lists(st.tuples(_face, st.booleans()), max_size=5),
    complete=st.booleans(),
    min_face=st.integers(0, 16),
    fitting=st.booleans(),
)
def test_like_the_plain_loop(
    crops: list[Row], faces: list[tuple[Row, bool]], complete: bool, min_face: int, fitting: bool
) -> None:
    boxes, ignore = [face for face, _ in faces], [ignored for _, ignored in faces]
    found = kinds(crops, record(boxes, ignore, complete), min_face, fitting)
    assert found == [plain_label(crop, boxes, ignore, complete, min_face, fitting) for crop in crops]


# Two equal squares of side s, one moved by d, overlap by (s - d) / (s + d).
@pytest.mark.parametrize(
    ("side", "moved", "kind"),
    [
        (33, 0, Kind.POS),
        (33, 7, Kind.POS),  # 26 / 40 = 0.65
        (33, 7.0001, Kind.PART),
        (7, 3, Kind.PART),  # 4 / 10
        (7, 3.0001, IGNORE),
        (13, 7, IGNORE),  # 6 / 20
        (13, 7.0001, Kind.NEG),
        (13, 13, Kind.NEG),
    ],
)
def test_exact_thresholds(side: int, moved: float, kind: int) -> None:
    assert kinds([moved, 0, moved + side, side], record([[0, 0, side, side]])) == [kind]


def test_a_narrow_face_is_matched_by_its_square() -> None:
    narrow = record([[30, 0, 40, 40]])  # its square is (15, 0, 55, 40)
    assert kinds([15, 0, 55, 40], narrow) == [Kind.POS], "IoU with the rectangle is only 0.25"
    assert kinds([[15, 0, 55, 40], [30, 0, 40, 40]], narrow, fitting=True) == [Kind.NEG, Kind.POS]
    wide = record([[0, 20, 60, 40]])  # its square is (0, 0, 60, 60)
    inside = [20, 20, 40, 40]  # IoU 1 / 9 with the square, 1 / 3 with the rectangle: no background
    assert kinds(inside, wide) == [IGNORE]
    assert kinds([70, 0, 90, 20], wide) == [Kind.NEG]


def test_ignored_faces_are_not_trained_on() -> None:
    crowd = record([[0, 0, 100, 100]], [True])
    inside, around, apart = [40, 40, 60, 60], [-100, -100, 200, 200], [150, 0, 250, 100]
    assert kinds([[0, 0, 100, 100], [10, 0, 110, 100], inside, around, apart], crowd) == [IGNORE] * 4 + [Kind.NEG]


def test_small_faces_are_neither_positive_nor_background() -> None:
    small = record([[50, 50, 58, 60]])
    same, large = [49, 50, 59, 60], [30, 30, 80, 80]
    assert kinds([same, large], small, min_face=10) == [Kind.POS, Kind.NEG]
    assert kinds([same, large], small, min_face=10.5) == [IGNORE, Kind.NEG]


def test_unusable_face_is_not_replaced_by_the_second_best() -> None:
    both = record([[0, 0, 20, 20], [2, 0, 22, 20]], [True, False])
    assert kinds([0, 0, 20, 20], both) == [IGNORE]
    found = label(np.array([[2.0, 0, 22, 20]]), both, BANDS, 1)
    assert (found.kinds.tolist(), found.faces.tolist()) == ([Kind.POS], [1])


def test_faces_name_the_best_of_the_record() -> None:
    unknown = [np.nan] * 4
    several = record([unknown, [100, 100, 140, 140], [5, 5, 5, 30], [0, 0, 40, 40]])
    found = label(np.array([[100.0, 100, 140, 140], [1, 0, 41, 40]]), several, BANDS, 1)
    assert found.kinds.tolist() == [Kind.POS, Kind.POS]
    assert found.faces.tolist() == [1, 3], "indices of the record, rows of unknown boxes counted"


def test_no_faces() -> None:
    crop = [0, 0, 12, 12]
    assert kinds(crop, record([])) == [Kind.NEG]
    assert kinds(crop, record([], complete=False)) == [IGNORE]
    assert kinds(crop, record([[np.nan] * 4], complete=False)) == [IGNORE]
    assert kinds([], record([[0, 0, 9, 9]])) == []
    assert kinds(crop, record([[50, 50, 90, 90]], complete=False)) == [IGNORE], "a face without label may be there"


@pytest.mark.parametrize("bands", [(0.0, 0.4, 0.65), (0.5, 0.4, 0.65), (0.3, 0.65, 0.65), (0.3, 0.4, 1.0)])
def test_unordered_bands(bands: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < neg <= part < pos < 1"):
        IouBands(*bands)
