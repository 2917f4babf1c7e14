"""Box algebra: encode and decode are inverses, overlaps equal the plain reference, nothing adds 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from reference import plain_ios, plain_iou

from mtcnn import boxes as box

Array = NDArray[Any]

algebra = settings(max_examples=60)


def numbers(shape: Any, low: float, high: float) -> st.SearchStrategy[Array]:
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high, allow_subnormal=False))


@st.composite
def many_boxes(draw: st.DrawFn, count: int | None = None) -> Array:
    """Boxes (N, 4) with sides from half a pixel up, anywhere around an image."""
    n = draw(st.integers(0, 5)) if count is None else count
    corners = draw(numbers((n, 2), -1000, 1000))
    return np.concatenate([corners, corners + draw(numbers((n, 2), 0.5, 1000))], axis=1)


@st.composite
def grid_boxes(draw: st.DrawFn) -> Array:
    """Boxes (N, 4) on a coarse grid: many are equal, touch, lie inside another, or have no size."""
    n = draw(st.integers(0, 6))
    corners = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(-2, 3)))
    sides = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 4)))
    return np.concatenate([corners, corners + sides], axis=1) * 0.5


# ---- offsets and landmarks


@algebra
@given(st.data(), st.integers(0, 5))
def test_decode_undoes_encode(data: st.DataObject, count: int) -> None:
    crops, truth = data.draw(many_boxes(count)), data.draw(many_boxes(count))
    offsets = box.encode_offsets(crops, truth)
    assert offsets.shape == (count, 4)
    np.testing.assert_allclose(box.decode_offsets(crops, offsets), truth, rtol=1e-9, atol=1e-8)
    points = data.draw(numbers((count, 5, 2), -1000, 1000))
    targets = box.encode_landmarks(crops, points)
    assert targets.shape == (count, 5, 2)
    np.testing.assert_allclose(box.decode_landmarks(crops, targets), points, rtol=1e-9, atol=1e-8)


@algebra
@given(st.data(), st.integers(0, 5))
def test_encode_undoes_decode(data: st.DataObject, count: int) -> None:
    crops, offsets = data.draw(many_boxes(count)), data.draw(numbers((count, 4), -2, 2))
    np.testing.assert_allclose(
        box.encode_offsets(crops, box.decode_offsets(crops, offsets)), offsets, rtol=1e-7, atol=1e-7
    )
    targets = data.draw(numbers((count, 5, 2), -2, 2))
    found = box.encode_landmarks(crops, box.decode_landmarks(crops, targets))
    np.testing.assert_allclose(found, targets, rtol=1e-7, atol=1e-7)


def test_targets_by_hand() -> None:
    """A crop 20 wide and 40 high: x is counted in widths, y in heights, each corner from its own corner."""
    crop = np.array([[10.0, 20, 30, 60]])
    assert box.encode_offsets(crop, np.array([[12.0, 24, 25, 70]])).tolist() == [[0.1, 0.1, -0.25, 0.25]]
    assert box.decode_offsets(crop, np.array([[0.1, 0.1, -0.25, 0.25]])).tolist() == [[12, 24, 25, 70]]
    points = np.array([[[10.0, 20], [30, 60], [20, 40], [15, 50], [40, 10]]])
    targets = [[[0, 0], [1, 1], [0.5, 0.5], [0.25, 0.75], [1.5, -0.25]]]
    assert box.encode_landmarks(crop, points).tolist() == targets
    assert box.decode_landmarks(crop, np.array(targets)).tolist() == points.tolist()


def test_unknown_landmarks_stay_unknown() -> None:
    crop = np.array([[10.0, 20, 30, 60]])
    points = np.full((1, 5, 2), np.nan)
    points[0, 2] = (20, 40)
    targets = box.encode_landmarks(crop, points)
    assert np.isnan(targets).sum() == 8
    assert targets[0, 2].tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(box.decode_landmarks(crop, targets), points)


@algebra
@given(many_boxes(3), many_boxes(3), st.floats(0.1, 10))
def test_targets_do_not_depend_on_scale(crops: Array, truth: Array, scale: float) -> None:
    scaled = box.encode_offsets(crops * scale, truth * scale)
    np.testing.assert_allclose(scaled, box.encode_offsets(crops, truth), rtol=1e-6, atol=1e-6)


def test_float32_stays_float32() -> None:
    crops = np.array([[0, 0, 10, 10]], np.float32)
    points = np.ones((1, 5, 2), np.float32)
    for found in (
        box.encode_offsets(crops, crops),
        box.decode_offsets(crops, crops),
        box.encode_landmarks(crops, points),
        box.decode_landmarks(crops, points),
        box.square(crops),
        box.clip(crops, 5, 5),
        box.areas(crops),
    ):
        assert found.dtype == np.float32


# ---- squares, areas, clipping


@algebra
@given(many_boxes())
def test_square(boxes: Array) -> None:
    squares = box.square(boxes)
    assert squares.shape == boxes.shape
    sides = squares[:, 2:] - squares[:, :2]
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    np.testing.assert_allclose(sides, np.stack([longest, longest], axis=1), atol=1e-9)
    np.testing.assert_allclose(squares[:, :2] + squares[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-9)
    np.testing.assert_allclose(box.square(squares), squares, atol=1e-9)


def test_square_by_hand() -> None:
    boxes = np.array([[10.0, 20, 20, 60], [0, 0, 30, 10], [-5, -5, 5, 5]])
    assert box.square(boxes).tolist() == [[-5, 20, 35, 60], [0, -10, 30, 20], [-5, -5, 5, 5]]


@algebra
@given(grid_boxes())
def test_areas(boxes: Array) -> None:
    assert box.areas(boxes).tolist() == [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes.tolist()]


def test_area_of_an_inverted_box() -> None:
    assert box.areas(np.array([[5.0, 5, 1, 9], [5, 5, 1, 1], [0, 0, 3, -1]])).tolist() == [0, 0, 0]


def test_clip() -> None:
    boxes = np.array([[-5.0, -6, 30, 40], [3, 4, 5, 6], [25, 25, 30, 30]])
    assert box.clip(boxes, height=10, width=20).tolist() == [[0, 0, 20, 10], [3, 4, 5, 6], [20, 10, 20, 10]]
    assert boxes[0, 0] == -5  # a new array


# ---- overlaps


@pytest.mark.parametrize(("fast", "plain"), [(box.iou, plain_iou), (box.ios, plain_ios)])
@algebra
@given(grid_boxes(), grid_boxes())
def test_overlaps_equal_the_reference(
    fast: Callable[..., Array], plain: Callable[..., float], a: Array, b: Array
) -> None:
    found = fast(a, b)
    assert found.dtype == np.float32
    assert found.shape == (len(a), len(b))
    expected = np.array([[plain(p, q) for q in b.tolist()] for p in a.tolist()], np.float32).reshape(len(a), len(b))
    np.testing.assert_array_equal(found, expected)


@algebra
@given(many_boxes(), many_boxes())
def test_overlaps_of_real_numbers(a: Array, b: Array) -> None:
    for fast, plain in ((box.iou, plain_iou), (box.ios, plain_ios)):
        expected = np.array([[plain(p, q) for q in b.tolist()] for p in a.tolist()]).reshape(len(a), len(b))
        np.testing.assert_allclose(fast(a, b), expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(fast(b, a), fast(a, b).T)


def test_overlaps_by_hand() -> None:
    """Half-open boxes: neighbours that share an edge do not overlap, and a pixel is 1 wide."""
    a = np.array([[0.0, 0, 10, 10]])
    b = np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [5, 0, 15, 10], [2, 2, 4, 7], [3, 3, 3, 3], [9, 9, 1, 1]])
    np.testing.assert_allclose(box.iou(a, b)[0], [1, 0, 1 / 3, 0.1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(box.ios(a, b)[0], [1, 0, 0.5, 1, 0, 0], rtol=1e-6)
    assert box.iou(b, a[:0]).shape == (6, 0)
    assert box.ios(a[:0], b).shape == (0, 6)
