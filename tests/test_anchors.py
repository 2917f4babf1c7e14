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


def test_layouts_are_the_published_ones() -> None:
    assert RETINAFACE == ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))) == SSH
    assert S3FD == ((4, (16,)), (8, (32,)), (16, (64,)), (32, (128,)), (64, (256,)), (128, (512,)))


def test_a_decoder_gives_boxes_and_points_of_its_anchors() -> None:
    """Of rows and of all; the inverse of its codes; points are those of the outputs, for a net may be built without."""
    size, decoder = ImageSize(16, 24), SsdCodes((Level(8, (16, 20)),))
    places = decoder.anchors(size)
    boxes, points = places + np.array([1, 2, 3, 5]), np.arange(10 * len(places), dtype=np.float32).reshape(-1, 5, 2)
    codes, point_codes = decoder.encode(size, np.arange(len(places)), boxes, points)
    outputs = {"logits": np.arange(len(places), dtype=np.float32), "boxes": codes, "landmarks": point_codes}
    found = decoder.decode(outputs, size)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-4)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, points, atol=1e-3)
    rows = np.array([7, 0])
    np.testing.assert_array_equal(decoder.boxes(outputs, size, rows), found.boxes[rows])
    np.testing.assert_array_equal(decoder.landmarks(outputs, size, rows), found.landmarks[rows])
    without = {name: value for name, value in outputs.items() if name != "landmarks"}
    assert decoder.decode(without, size).landmarks is None
    assert (decoder.max_face, decoder.level_counts(size)) == (20, [12])
    assert decoder.describe() == {"anchors": [{"stride": 8, "sizes": [16, 20]}], "variances": [0.1, 0.2]}
