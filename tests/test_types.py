"""Faces: checked on construction, indexed together, and possibly empty."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mtcnn.types import Faces, ImageSize


def some_faces(count: int = 4, landmarks: bool = True) -> Faces:
    """Faces that all differ, with falling scores."""
    boxes = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    points = np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2) if landmarks else None
    return Faces(boxes, np.linspace(0.9, 0.1, count, dtype=np.float32), points)


def assert_same(found: Faces, expected: Faces) -> None:
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def assert_picks(found: Faces, rows: list[int], faces: Faces) -> None:
    """`found` holds these rows of `faces`, in every array."""
    assert found.boxes.tolist() == [faces.boxes[i].tolist() for i in rows]
    assert found.scores.tolist() == [float(faces.scores[i]) for i in rows]
    if faces.landmarks is None:
        assert found.landmarks is None
    else:
        assert found.landmarks is not None
        assert found.landmarks.tolist() == [faces.landmarks[i].tolist() for i in rows]
    assert found.boxes.shape == (len(rows), 4)  # also where there are none, of which lists say nothing


def test_arrays_become_contiguous_float32() -> None:
    faces = Faces([[1, 2, 3, 4]], np.array([0.5]), np.zeros((1, 2, 5)).transpose(0, 2, 1))  # type: ignore[arg-type]
    for array in (faces.boxes, faces.scores, faces.landmarks):
        assert array is not None
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
    assert faces.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks"),
    [
        ((3, 4), (2,), None),
        ((2, 5), (2,), None),
        ((4,), (1,), None),
        ((0,), (0,), None),  # no faces, but not in the right shape
        ((2, 4), (2, 1), None),
        ((0, 4), (), None),
        ((2, 4), (2,), (1, 5, 2)),
        ((2, 4), (2,), (2, 10)),
        ((2, 4), (2,), (2, 2, 5)),
    ],
)
def test_inconsistent_shapes(boxes: Any, scores: Any, landmarks: Any) -> None:
    points = None if landmarks is None else np.zeros(landmarks)
    with pytest.raises(ValueError, match="expected") as caught:
        Faces(np.zeros(boxes), np.zeros(scores), points)
    assert str(boxes if points is None else landmarks) in str(caught.value)  # names what it got


def test_faces_are_frozen() -> None:
    with pytest.raises(AttributeError):
        some_faces().scores = np.zeros(4, np.float32)  # type: ignore[misc]


def test_empty() -> None:
    for with_landmarks in (False, True):
        faces = Faces.empty(with_landmarks)
        assert len(faces) == 0
        assert not faces
        assert (faces.boxes.shape, faces.scores.shape) == ((0, 4), (0,))
        assert (None if faces.landmarks is None else faces.landmarks.shape) == ((0, 5, 2) if with_landmarks else None)
        assert_same(faces.sorted(), faces)
        assert faces.to_dicts() == []
        assert list(faces) == []


@pytest.mark.parametrize("landmarks", [True, False])
def test_index(landmarks: bool) -> None:
    faces = some_faces(4, landmarks)
    assert_picks(faces[1], [1], faces)
    assert_picks(faces[-1], [3], faces)
    assert_picks(faces[-2], [2], faces)
    assert_picks(faces[-4], [0], faces)
    assert_picks(faces[np.int64(2)], [2], faces)
    assert_picks(faces[[2, 0, 2]], [2, 0, 2], faces)
    assert_picks(faces[np.array([3, 1])], [3, 1], faces)
    assert_picks(faces[np.array([], np.int64)], [], faces)
    assert_picks(faces[[]], [], faces)
    assert_picks(faces[faces.scores > 0.5], [0, 1], faces)
    assert_picks(faces[np.zeros(4, bool)], [], faces)
    assert_picks(faces[1:3], [1, 2], faces)
    assert_picks(faces[::-1], [3, 2, 1, 0], faces)
    assert_picks(faces[9:], [], faces)


def test_filters() -> None:
    """By any property of each face."""
    boxes = np.array([[0, 0, 10, 30], [5, 5, 45, 25], [1, 2, 1, 2]], np.float32)
    faces = Faces(boxes, np.array([0.9, 0.8, 0.7], np.float32))
    assert faces.sizes.tolist() == [[10, 30], [40, 20], [0, 0]]
    assert faces.sizes.dtype == np.float32
    assert_picks(faces[faces.sizes.min(axis=1) >= 10], [0, 1], faces)
    assert_picks(faces[(faces.scores < 0.85) & (faces.sizes[:, 0] > 0)], [1], faces)
    assert_picks(faces[[True, False, True]], [0, 2], faces)
    assert_picks(faces[faces.boxes[:, 0] > 99], [], faces)
    assert Faces.empty().sizes.shape == (0, 2)


def test_a_mask_of_another_length() -> None:
    for mask in (np.ones(3, bool), np.ones(5, bool)):
        with pytest.raises(IndexError, match="boolean"):
            some_faces(4)[mask]


@pytest.mark.parametrize("index", [4, -5, np.int64(4)])
def test_index_out_of_range(index: Any) -> None:
    with pytest.raises(IndexError, match="of 4"):
        some_faces(4)[index]
    with pytest.raises(IndexError):
        Faces.empty()[0]


def test_iteration_gives_faces_of_one() -> None:
    faces = some_faces(3)
    parts = list(faces)
    assert [len(part) for part in parts] == [1, 1, 1]
    assert_same(Faces.concat(parts), faces)


def test_concat() -> None:
    faces = some_faces(5)
    assert_same(Faces.concat([faces[:2], faces[2:2], faces[2:]]), faces)
    assert_same(Faces.concat([]), Faces.empty())
    assert_same(Faces.concat([faces]), faces)
    mixed = Faces.concat([faces, some_faces(2, landmarks=False)])
    assert len(mixed) == 7
    assert mixed.landmarks is None


def test_sorted_is_stable() -> None:
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    faces = Faces(boxes, np.array([0.5, 0.9, 0.5, 0.1, 0.9], np.float32))
    assert_picks(faces.sorted(), [1, 4, 0, 2, 3], faces)


def test_to_dicts() -> None:
    boxes = np.array([[1.006, 2, 3.333333, 4], [5, 6, 7, 8]], np.float32)
    points = np.array([[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9.126]]] * 2, np.float32)
    rows = Faces(boxes, np.array([0.987654321, 0.5], np.float32), points).to_dicts()
    assert rows[0] == {
        "box": [1.01, 2, 3.33, 4],
        "score": 0.98765,
        "landmarks": [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9.13]],
    }
    assert rows[1]["box"] == [5, 6, 7, 8]
    assert [type(value) for value in (*rows[0]["box"], rows[0]["score"], *rows[0]["landmarks"][0])] == [float] * 7
    assert Faces(boxes, np.ones(2, np.float32)).to_dicts()[0].keys() == {"box", "score"}


def test_unknown_landmarks_are_valid_json() -> None:
    points = np.full((1, 5, 2), np.nan, np.float32)
    points[0, 1] = (3, 4)
    (row,) = Faces(np.ones((1, 4), np.float32), np.ones(1, np.float32), points).to_dicts()
    assert row["landmarks"] == [[None, None], [3, 4], *[[None, None]] * 3]
    json.dumps(row, allow_nan=False)


def test_image_size_is_height_width() -> None:
    assert ImageSize(*np.zeros((3, 7)).shape) == ImageSize(height=3, width=7)
