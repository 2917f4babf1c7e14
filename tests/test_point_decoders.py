"""Decoders of anchor-free nets: compared with plain loops, round trips, and extreme values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtcnn.detectors.point_decoders import HeatMap, YuNetPoints, cells, product_logits
from mtcnn.types import ImageSize

SIZE = ImageSize(64, 96)
Decoder = YuNetPoints | HeatMap
DECODERS = [YuNetPoints(), YuNetPoints((16, 32)), HeatMap(), HeatMap(8)]


def count(decoder: Decoder) -> int:
    strides = decoder.strides if isinstance(decoder, YuNetPoints) else (decoder.stride,)
    return sum((SIZE.height // stride) * (SIZE.width // stride) for stride in strides)


def outputs_of(decoder: Decoder, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    widths = {"class_logits": (1,), "object_logits": (1,), "boxes": (4,), "sizes": (2,), "offsets": (2,),
              "landmarks": (10,), "logits": ()}  # fmt: skip
    shapes = {name: (count(decoder), *widths[name]) for name in decoder.names}
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def test_cells_run_row_by_row() -> None:
    assert cells(ImageSize(16, 24), 8).tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    assert cells(ImageSize(17, 1), 8).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_yunet_equals_a_plain_loop() -> None:
    decoder = YuNetPoints()
    outputs, wanted = outputs_of(decoder), list[list[float]]()
    for stride in decoder.strides:
        for y in range(0, SIZE.height, stride):
            for x in range(0, SIZE.width, stride):
                a, b, w, h = (float(v) for v in outputs["boxes"][len(wanted)])
                cx, cy, w, h = x + a * stride, y + b * stride, math.exp(w) * stride, math.exp(h) * stride
                points = [((x, y)[i % 2]) + float(v) * stride for i, v in enumerate(outputs["landmarks"][len(wanted)])]
                faces = [1 / (1 + math.exp(-outputs[f"{name}_logits"][len(wanted)][0])) for name in ("class", "object")]
                wanted.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, faces[0] * faces[1], *points])
    found = decoder.decode(outputs, SIZE)
    assert found.landmarks is not None
    scores = 1 / (1 + np.exp(-found.logits))
    table = np.concatenate([found.boxes, scores[:, None], found.landmarks.reshape(-1, 10)], axis=1)
    np.testing.assert_allclose(table, np.array(wanted), rtol=1e-5, atol=1e-4)


def test_heat_map_equals_a_plain_loop() -> None:
    decoder = HeatMap()
    outputs, wanted = outputs_of(decoder), list[list[float]]()
    for row in range(SIZE.height // 4):
        for column in range(SIZE.width // 4):
            height, width = (4 * math.exp(v) for v in outputs["sizes"][len(wanted)])
            down, right = (float(v) for v in outputs["offsets"][len(wanted)])
            x, y = (column + right + 0.5) * 4 - width / 2, (row + down + 0.5) * 4 - height / 2
            codes = [float(v) for v in outputs["landmarks"][len(wanted)]]
            points = [v for i in range(5) for v in (x + codes[2 * i + 1] * width, y + codes[2 * i] * height)]
            wanted.append([x, y, x + width, y + height, *points])
    found = decoder.decode(outputs, SIZE)
    assert found.landmarks is not None
    table = np.concatenate([found.boxes, found.landmarks.reshape(-1, 10)], axis=1)
    np.testing.assert_allclose(table, np.array(wanted), rtol=1e-5, atol=1e-4)
    assert found.logits is outputs["logits"]


@pytest.mark.parametrize("decoder", DECODERS, ids=repr)
def test_decode_undoes_encode(decoder: Decoder) -> None:
    rng = np.random.default_rng(1)
    rows = rng.permutation(count(decoder))[:20]
    corners = rng.uniform(-20, 90, (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 200, (20, 2))], axis=1).astype(np.float32)
    points = rng.uniform(-20, 120, (20, 5, 2)).astype(np.float32)
    points[3] = np.nan  # a face whose points are unknown
    names = [name for name in decoder.names if "logits" not in name]
    codes = decoder.encode(SIZE, rows, boxes, points)
    outputs = outputs_of(decoder)
    for name, values in zip(names, codes, strict=True):
        assert values.dtype == np.float32
        outputs[name][rows] = values
    np.testing.assert_allclose(decoder.boxes(outputs, SIZE, rows), boxes, rtol=1e-5, atol=1e-3)
    found: Any = decoder.landmarks(outputs, SIZE, rows)
    np.testing.assert_allclose(found, points, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("decoder", DECODERS, ids=repr)
def test_rows_equal_those_of_all(decoder: Decoder) -> None:
    outputs, rows = outputs_of(decoder), np.array([5, 0, 5, 17])
    everything = decoder.decode(outputs, SIZE)
    assert everything.landmarks is not None
    np.testing.assert_array_equal(decoder.boxes(outputs, SIZE, rows), everything.boxes[rows])
    np.testing.assert_array_equal(decoder.landmarks(outputs, SIZE, rows), everything.landmarks[rows])
    none = np.zeros(0, np.int64)
    assert decoder.boxes(outputs, SIZE, none).shape == (0, 4)
    points: Any = decoder.landmarks(outputs, SIZE, none)
    assert points.shape == (0, 5, 2)


@pytest.mark.parametrize("decoder", DECODERS, ids=repr)
def test_boxes_of_an_untrained_net_are_finite(decoder: Decoder) -> None:
    outputs = {name: np.full_like(values, 1e4) for name, values in outputs_of(decoder).items()}
    rows = np.arange(3)
    assert np.isfinite(decoder.boxes(outputs, SIZE, rows)).all()


LOGITS = st.floats(-60, 60, width=32)


@given(LOGITS, LOGITS)
def test_logit_of_a_product(a: float, b: float) -> None:
    """Its sigmoid, and that of the opposite, computed without rounding the product to 1."""
    found = float(product_logits(np.array(a, np.float32), np.array(b, np.float32)))
    p, q = (1 / (1 + math.exp(-value)) for value in (a, b))
    # 1 - p q = (1 - p) + p (1 - q), each of which keeps its digits.
    rest = 1 / (1 + math.exp(a)) + p / (1 + math.exp(b))
    assert found == pytest.approx(math.log(p * q) - math.log(rest), rel=1e-5, abs=1e-4)


def test_a_product_scores_no_more_than_its_parts() -> None:
    a, b = np.linspace(-30, 30, 61, dtype=np.float32), np.linspace(9, -9, 61, dtype=np.float32)
    assert (product_logits(a, b) <= np.minimum(a, b)).all()
    ends = np.array([-1e4, 1e4], np.float32)
    assert np.isfinite(product_logits(ends, ends)).all()


@pytest.mark.parametrize("min_logit", [-math.inf, -12.5, -0.4, 0.0, 3.0, 88.0, math.inf])
def test_rows_that_pass_are_those_of_all_logits(min_logit: float) -> None:
    """To the last bit, also where a product is as large as its smaller factor, or a logit is no number."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(0, 8, (2, 4000)).astype(np.float32)
    pairs[:, :50], pairs[0, 50:100], pairs[1, 100:110] = np.float32(min_logit), 200, np.nan
    pairs[1, 50:100] = np.nextafter(np.float32(min_logit), np.array([-np.inf, np.inf], np.float32)).repeat(25)
    pairs[0, 110:120], pairs[1, 115:130] = np.inf, -np.inf
    outputs = {"class_logits": pairs[0, :, None], "object_logits": pairs[1, :, None]}
    with np.errstate(invalid="ignore"):
        rows, logits = YuNetPoints().passing(outputs, min_logit)
        every = YuNetPoints().logits(outputs)
    expected = np.flatnonzero(every >= min_logit)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(logits, every[expected])
    assert min_logit > 40 or len(rows) > 10


def test_sides_have_a_bound() -> None:
    """An untrained net may say anything: no face has more than e to the 8th cells."""
    size, rows = ImageSize(32, 32), np.array([0])
    for value, cells_wide in ((3.0, math.exp(3)), (7.9, math.exp(7.9)), (100.0, math.exp(8)), (1e30, math.exp(8))):
        codes = np.array([[0, 0, value, value]] * 21, np.float32)
        box = YuNetPoints().boxes({"boxes": codes}, size, rows)[0]
        assert box[2] - box[0] == pytest.approx(8 * cells_wide, rel=1e-5) == box[3] - box[1]
        sizes = {"sizes": np.full((64, 2), value, np.float32), "offsets": np.zeros((64, 2), np.float32)}
        box = HeatMap().boxes(sizes, size, rows)[0]
        assert box[2] - box[0] == pytest.approx(4 * cells_wide, rel=1e-5) == box[3] - box[1]
