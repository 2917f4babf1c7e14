"""Decoders of single-stage detectors as nodes of a graph, for the decoders of `mtcnn.detectors`.

All their predictions are relative to a place in the image, the centre of an anchor or the corner of a cell, in units of
the anchor's side or of the stride.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..detectors.decoders import Decoder, SsdCodes
from ..detectors.distances import Distances
from ..detectors.point_decoders import LARGEST, HeatMap, YuNetPoints
from .builder import Graph, Value

__all__ = ["DECODERS", "Predictions"]

Outputs = Mapping[str, Value]
_RATIO = math.log(1000 / 16)  # limit of log sides, as in `detectors.anchors`


class Predictions(NamedTuple):
    """Of A predictions: logits float32 (A,); and functions of some rows int64 (R,): boxes float32 (R, 4), and landmarks
    float32 (R, 5, 2) or None."""

    logits: Value
    boxes: Callable[[Value], Value]
    landmarks: Callable[[Value], Value] | None


def _places(g: Graph, size: Value, levels: Sequence[tuple[int, Sequence[float]]], offset: float) -> tuple[str, str]:
    """Places (A, 2), x and y, and units (A, 1): float32, level by level, row by row, unit by unit.

    size  of the net's input, int64 (2,).     levels  stride, and the unit of each prediction at a cell.
    """
    places, units = [], []
    for stride, each in levels:
        up = g.op("Div", g.op("Add", size, stride - 1), stride)  # rounded up, as `anchors.map_sizes` does
        rows, columns = (g.op("Gather", up, axis) for axis in (0, 1))
        shape = g.row(rows, columns)
        index = g.op(
            "Transpose", g.op("NonZero", g.op("Expand", np.float32(1), shape)), perm=[1, 0]
        )  # (R, 2): row, column
        corner = g.cast(g.op("Gather", index, [1, 0], axis=1), np.float32)
        place = g.op("Mul", g.op("Add", corner, np.float32(offset)), np.float32(stride))
        places.append(g.op("Reshape", g.op("Tile", place, [1, len(each)]), [-1, 2]))  # (R, 2 k) -> (R k, 2)
        count = g.op("Mul", rows, columns)
        units.append(g.op("Tile", np.array(each, np.float32)[:, None], g.row(count, 1)))
    return g.op("Concat", *places, axis=0), g.op("Concat", *units, axis=0)


def _of(g: Graph, rows: Value, *values: Value) -> list[str]:
    return [g.op("Gather", value, rows, axis=0) for value in values]


def _around(g: Graph, centres: Value, half: Value) -> str:
    return g.op("Concat", g.op("Sub", centres, half), g.op("Add", centres, half), axis=1)


def _exponential(g: Graph, codes: Value, limit: float) -> str:
    return g.op("Exp", g.op("Min", codes, np.float32(limit)))


def _points(g: Graph, places: Value, units: Value, codes: Value) -> str:
    """places + codes * units: (R, 5, 2)."""
    points = g.op("Mul", g.op("Reshape", codes, [-1, 5, 2]), g.op("Unsqueeze", units, [1]))
    return g.op("Add", g.op("Unsqueeze", places, [1]), points)


def _ssd(g: Graph, decoder: SsdCodes, outputs: Outputs, size: Value) -> Predictions:
    places, units = _places(g, size, decoder.layout, 0.5)
    near, far = (np.float32(value) for value in decoder.variances)

    def boxes(rows: Value) -> str:
        centre, side, codes = _of(g, rows, places, units, outputs["boxes"])
        moved = g.op("Add", centre, g.op("Mul", g.op("Mul", g.columns(codes, 0, 2), near), side))
        growth = _exponential(g, g.op("Mul", g.columns(codes, 2, 4), far), _RATIO)
        return _around(g, moved, g.op("Mul", g.op("Mul", side, growth), np.float32(0.5)))

    def landmarks(rows: Value) -> str:
        centre, side, codes = _of(g, rows, places, units, outputs["landmarks"])
        return _points(g, centre, g.op("Mul", side, near), codes)

    return Predictions(outputs["logits"], boxes, landmarks if "landmarks" in outputs else None)


def _distances(g: Graph, decoder: Distances, outputs: Outputs, size: Value) -> Predictions:
    layout = [(level.stride, [level.stride] * len(level.sizes)) for level in decoder.layout]
    places, units = _places(g, size, layout, 0.0)

    def boxes(rows: Value) -> str:
        centre, unit, codes = _of(g, rows, places, units, outputs["distances"])
        lengths = g.op("Mul", codes, unit)
        low, high = g.op("Sub", centre, g.columns(lengths, 0, 2)), g.op("Add", centre, g.columns(lengths, 2, 4))
        return g.op("Concat", low, high, axis=1)

    def landmarks(rows: Value) -> str:
        return _points(g, *_of(g, rows, places, units, outputs["landmarks"]))

    return Predictions(outputs["logits"], boxes, landmarks if "landmarks" in outputs else None)


def _yunet(g: Graph, decoder: YuNetPoints, outputs: Outputs, size: Value) -> Predictions:
    places, units = _places(g, size, [(stride, [stride]) for stride in decoder.strides], 0.0)

    def boxes(rows: Value) -> str:
        corner, unit, codes = _of(g, rows, places, units, outputs["boxes"])
        centre = g.op("Add", corner, g.op("Mul", g.columns(codes, 0, 2), unit))
        half = g.op("Mul", _exponential(g, g.columns(codes, 2, 4), LARGEST), unit)
        return _around(g, centre, g.op("Mul", half, np.float32(0.5)))

    def landmarks(rows: Value) -> str:
        return _points(g, *_of(g, rows, places, units, outputs["landmarks"]))

    one, two = (g.cast(g.op("Squeeze", outputs[name], [1]), np.float64) for name in ("class_logits", "object_logits"))
    return Predictions(_product(g, one, two), boxes, landmarks if "landmarks" in outputs else None)


def _product(g: Graph, a: Value, b: Value) -> str:
    """`point_decoders.product_logits`: -log(exp(-a) + exp(-b) + exp(-a - b)), float64 in, float32 out."""
    powers = [g.op("Exp", g.op("Neg", value)) for value in (a, b, g.op("Add", a, b))]
    return g.cast(g.op("Neg", g.op("Log", g.op("Add", g.op("Add", *powers[:2]), powers[2]))), np.float32)


def _heat_map(g: Graph, decoder: HeatMap, outputs: Outputs, size: Value) -> Predictions:
    places, _ = _places(g, size, [(decoder.stride, [decoder.stride])], 0.5)
    stride = np.float32(decoder.stride)

    def boxes(rows: Value) -> str:
        middle, offsets, sizes = _of(g, rows, places, outputs["offsets"], outputs["sizes"])
        shift, sides = (g.op("Gather", value, [1, 0], axis=1) for value in (offsets, sizes))  # x before y
        half = g.op("Mul", _exponential(g, sides, LARGEST), stride / 2)
        return _around(g, g.op("Add", middle, g.op("Mul", shift, stride)), half)

    def landmarks(rows: Value) -> str:
        found = boxes(rows)
        corner = g.columns(found, 0, 2)
        sides = g.op("Unsqueeze", g.op("Sub", g.columns(found, 2, 4), corner), [1])
        codes = g.op("Reshape", g.op("Gather", outputs["landmarks"], rows, axis=0), [-1, 5, 2])
        points = g.op("Mul", g.op("Gather", codes, [1, 0], axis=2), sides)
        return g.op("Add", g.op("Unsqueeze", corner, [1]), points)

    return Predictions(outputs["logits"], boxes, landmarks if "landmarks" in outputs else None)


DECODERS: dict[type[Decoder], Callable[[Graph, Any, Outputs, Value], Predictions]] = {
    SsdCodes: _ssd, Distances: _distances, YuNetPoints: _yunet, HeatMap: _heat_map,
}  # fmt: skip
"""Class of a decoder -> (graph, decoder, outputs of the net without a batch axis, size of its input) -> predictions."""
