"""Non-maximum suppression equals the plain double loop, with ties, duplicates, empty inputs and exact thresholds."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from reference import plain_nms

from mtcnn.nms import nms

Array = NDArray[Any]
Overlap = Literal["iou", "ios"]

# Exact overlaps of boxes on a grid, and the cascade's.
THRESHOLDS = [0.0, 0.25, 1 / 3, 0.5, 2 / 3, 0.7, 1.0]
overlaps = st.sampled_from(["iou", "ios"])
algebra = settings(max_examples=150)


@st.composite
def scored_boxes(draw: st.DrawFn) -> tuple[Array, Array]:
    """Boxes on a grid, with duplicates and boxes of no size, and scores with many ties."""
    n = draw(st.integers(0, 14))
    corners = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 4)))
    sides = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 4)))
    scores = draw(hnp.arrays(np.float32, n, elements=st.sampled_from([0.25, 0.5, 0.75])))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32), scores


def crowd(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Boxes as a cascade makes them: heaps around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 300, (12, 2))[rng.integers(0, 12, count)] + rng.normal(0, 8, (count, 2))
    half = rng.uniform(8, 40, (count, 1))
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32), rng.random(count)


@algebra
@given(scored_boxes(), st.sampled_from(THRESHOLDS), overlaps)
def test_equals_the_plain_loop(found: tuple[Array, Array], threshold: float, overlap: Overlap) -> None:
    boxes, scores = found
    kept = nms(boxes, scores, threshold, overlap)
    assert kept.dtype == np.int64
    assert kept.tolist() == plain_nms(boxes.tolist(), scores.tolist(), threshold, overlap == "ios")


@algebra
@given(scored_boxes(), st.data(), st.integers(1, 4))
def test_groups_are_treated_alone(found: tuple[Array, Array], data: st.DataObject, limit: int) -> None:
    boxes, scores = found
    groups = data.draw(hnp.arrays(np.int64, len(scores), elements=st.integers(0, 3)))
    each = [np.flatnonzero(groups == number) for number in range(4)]
    alone = [some[nms(boxes[some], scores[some], 0.25, limit=limit)] for some in each]
    assert nms(boxes, scores, 0.25, limit=limit, groups=groups).tolist() == np.concatenate(alone).tolist()


@pytest.mark.parametrize("overlap", ["iou", "ios"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_equals_the_plain_loop_on_crowds(threshold: float, overlap: Overlap) -> None:
    boxes, scores = crowd(300)
    kept = nms(boxes, scores, threshold, overlap).tolist()
    assert kept == plain_nms(boxes.tolist(), scores.tolist(), threshold, overlap == "ios")
    assert 5 < len(kept) < 300


@algebra
@given(scored_boxes(), st.sampled_from(THRESHOLDS), overlaps)
def test_nms_is_idempotent(found: tuple[Array, Array], threshold: float, overlap: Overlap) -> None:
    boxes, scores = found
    kept = nms(boxes, scores, threshold, overlap)
    assert nms(boxes[kept], scores[kept], threshold, overlap).tolist() == list(range(len(kept)))


@algebra
@given(scored_boxes(), st.sampled_from(THRESHOLDS), overlaps, st.integers(0, 16))
def test_limit_keeps_the_best(found: tuple[Array, Array], threshold: float, overlap: Overlap, limit: int) -> None:
    boxes, scores = found
    every = nms(boxes, scores, threshold, overlap)
    assert nms(boxes, scores, threshold, overlap, limit=limit).tolist() == every[:limit].tolist()


@algebra
@given(st.data(), scored_boxes(), st.sampled_from(THRESHOLDS))
def test_input_order_only_breaks_ties(data: st.DataObject, found: tuple[Array, Array], threshold: float) -> None:
    boxes, scores = found
    scores = scores + np.arange(len(scores)) * 0.001  # no ties
    order = np.array(data.draw(st.permutations(range(len(boxes)))), np.int64)
    shuffled = nms(boxes[order], scores[order], threshold)
    assert order[shuffled].tolist() == nms(boxes, scores, threshold).tolist()


def test_exact_threshold_stays() -> None:
    """An overlap of just the threshold is not above it."""
    boxes, scores = np.array([[0.0, 0, 4, 4], [0, 0, 4, 2]]), np.array([0.9, 0.8])  # iou 1/2
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, np.nextafter(0.5, 0)).tolist() == [0]
    half_in = np.array([[0.0, 0, 4, 4], [2, 0, 6, 1]])  # ios 1/2
    assert nms(half_in, scores, 0.5, "ios").tolist() == [0, 1]
    assert nms(half_in, scores, np.nextafter(0.5, 0), "ios").tolist() == [0]


def test_box_inside_another() -> None:
    boxes, scores = np.array([[0.0, 0, 100, 100], [40, 40, 60, 60]]), np.array([0.1, 0.9])
    assert nms(boxes, scores, 0.7, "iou").tolist() == [1, 0]
    assert nms(boxes, scores, 0.7, "ios").tolist() == [1]


def test_a_suppressed_box_suppresses_none() -> None:
    """The chain a - b - c: b goes because of a, so c, which only b overlaps, stays."""
    boxes = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(boxes, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


def test_ties_and_duplicates() -> None:
    boxes = np.tile(np.array([[3.0, 3, 9, 9]]), (5, 1))
    assert nms(boxes, np.full(5, 0.5), 0.7).tolist() == [0]
    assert nms(boxes, np.full(5, 0.5), 1.0).tolist() == [0, 1, 2, 3, 4]
    apart = boxes + np.arange(5)[:, None] * 10
    assert nms(apart, np.array([0.5, 0.7, 0.5, 0.7, 0.6]), 0.7).tolist() == [1, 3, 4, 0, 2]


def test_neighbours_and_boxes_of_no_size_overlap_nothing() -> None:
    boxes = np.array([[0.0, 0, 5, 5], [5, 0, 10, 5], [2, 2, 2, 2], [2, 2, 2, 2], [4, 4, 1, 1]])
    assert nms(boxes, np.arange(5, 0, -1), 0.0).tolist() == [0, 1, 2, 3, 4]


def test_empty_input() -> None:
    for limit in (None, 0, 3):
        kept = nms(np.zeros((0, 4)), np.zeros(0), 0.5, limit=limit)
        assert kept.shape == (0,)
        assert kept.dtype == np.int64


def test_more_boxes_than_16_bits_count() -> None:
    boxes = np.tile(np.array([[3.0, 3, 9, 9]], np.float32), (70_000, 1))
    boxes[-1] += 100
    scores = np.linspace(0, 1, 70_000)
    assert nms(boxes, scores, 0.7).tolist() == [69_999, 69_998]


def test_inputs_are_not_modified() -> None:
    boxes, scores = crowd(50)
    before = boxes.copy(), scores.copy()
    boxes.setflags(write=False)
    nms(boxes[::2], scores[::2], 0.5)  # not contiguous, read-only
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("shape", [(2, 4), (4, 4), (3, 5), (3, 3), (12,), (3, 2, 2), (0, 4), (1, 3, 4)])
def test_different_numbers_of_boxes_and_scores(shape: tuple[int, ...]) -> None:
    """The compiled kernel takes their address, and would read beyond them."""
    with pytest.raises(ValueError, match=r"boxes are \(.*\); expected \(3, 4\), as there are scores"):
        nms(np.zeros(shape), np.zeros(3), 0.5)
