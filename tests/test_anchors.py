"""Anchors equal a plain loop, in the order of the nets' outputs; encode and decode are inverses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mtcnn.detectors.anchors import (
    RETINAFACE,
    S3FD,
    SSH,
    Layout,
    Level,
    anchors,
    decode_box_codes,
    decode_landmark_codes,
    encode_box_codes,
    encode_landmark_codes,
)
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.types import ImageSize

Array = NDArray[Any]

algebra = settings(max_examples=60)


def plain_anchors(height: int, width: int, layout: Layout) -> list[tuple[float, float, float, float]]:
    found = []
    for stride, sizes in layout:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                found += [(x - size / 2, y - size / 2, x + size / 2, y + size / 2) for size in sizes]
    return found


@pytest.mark.parametrize("layout", [RETINAFACE, S3FD, (Level(16, (10, 20, 37.5)),)], ids=["retinaface", "s3fd", "own"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 65), (1, 300), (128, 127)])
def test_anchors_equal_a_plain_loop(layout: Layout, height: int, width: int) -> None:
    found, wanted = anchors(height, width, layout), plain_anchors(height, width, layout)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))
    assert sum(SsdCodes(layout).level_counts(ImageSize(height, width))) == len(wanted)


def test_published_numbers() -> None:
    """640 x 640 has 16,800 anchors in RetinaFace and 34,125 in S3FD, as both papers say."""
    assert [len(anchors(640, 640, layout)) for layout in (RETINAFACE, SSH, S3FD)] == [16800, 16800, 34125]
    assert SsdCodes(RETINAFACE).level_counts(ImageSize(640, 640)) == [12800, 3200, 800]
    assert anchors(0, 0, S3FD).shape == (0, 4)
    np.testing.assert_array_equal(anchors(8, 8, RETINAFACE)[:2], [[-4, -4, 12, 12], [-12, -12, 20, 20]])


def test_box_codes_by_hand() -> None:
    """An anchor of 20 pixels at (30, 40), a box of 40 x 10 at (34, 38)."""
    anchor = np.array([[20, 30, 40, 50]], np.float32)
    box = np.array([[14, 33, 54, 43]], np.float32)
    wanted = [[4 / (20 * 0.1), -2 / (20 * 0.1), math.log(2) / 0.2, math.log(0.5) / 0.2]]
    np.testing.assert_allclose(encode_box_codes(anchor, box), wanted, rtol=1e-6)
    points = np.array([[[30, 40], [32, 40], [30, 41], [20, 50], [np.nan, np.nan]]], np.float32)
    codes = encode_landmark_codes(anchor, points)
    np.testing.assert_allclose(codes, [[0, 0, 1, 0, 0, 0.5, -5, 5, np.nan, np.nan]])
    np.testing.assert_allclose(decode_landmark_codes(anchor, codes), points)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    """Anchors (N, 4) and boxes (N, 4) somewhere around them, up to forty times as large or small."""
    count = draw(st.integers(0, 5))
    numbers = hnp.arrays(np.float64, (count, 2), elements=st.floats(0, 1))
    centres, sides = draw(numbers) * 1000, 16 + draw(numbers) * 496
    anchor = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    middle, size = centres + (draw(numbers) - 0.5) * 2 * sides, sides * 40 ** (draw(numbers) * 2 - 1)
    return anchor, np.concatenate([middle - size / 2, middle + size / 2], axis=1)


@algebra
@given(pairs())
def test_decode_undoes_encode(both: tuple[Array, Array]) -> None:
    anchor, boxes = both
    np.testing.assert_allclose(decode_box_codes(anchor, encode_box_codes(anchor, boxes)), boxes, rtol=1e-4, atol=0.02)
    points = np.stack([boxes[:, :2], boxes[:, 2:], boxes[:, :2] * 2, boxes[:, 2:] / 3, boxes[:, 1:3]], axis=1)
    again = decode_landmark_codes(anchor, encode_landmark_codes(anchor, points))
    assert again.shape == points.shape
    np.testing.assert_allclose(again, points, rtol=1e-4, atol=0.02)


def test_decoded_boxes_are_finite() -> None:
    """For outputs of an untrained net, whose exp would be infinite."""
    anchor = np.array([[0, 0, 16, 16]], np.float32)
    (box,) = decode_box_codes(anchor, np.array([[0, 0, 1e6, -1e6]], np.float32))
    np.testing.assert_allclose(box, [8 - 500, 8, 8 + 500, 8], rtol=1e-5)
