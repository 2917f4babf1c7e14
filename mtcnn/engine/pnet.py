"""PNet over a level of the pyramid, in bands of rows whose activations stay in the processor's cache.

Offsets are computed only for the cells that pass, which are few; of the others nothing is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..pyramid import map_size
from ..types import ImageSize
from ..weights import Weights
from .layers import SLACK, conv, pack_conv, pooled_conv
from .winograd import TILES, pack_winograd, scratch, winograd

__all__ = ["Cells", "FastPNet"]

Array = NDArray[Any]

BAND = 8  # rows of the map at a time: the activations of a 640-pixel level then take half a megabyte
COLUMNS = 256  # of a usual map, in one band: long enough to choose the tiles by

_conv1 = pooled_conv(3, 10)
_conv2 = conv(10, 16, COLUMNS)
_conv3 = winograd(16, 32, TILES)
WORK = scratch(16, 32)


class Cells(NamedTuple):
    """Cells of a map that pass: row and column (N,), logit (N,) and offsets (N, 4)."""

    rows: Array
    columns: Array
    logits: Array
    offsets: Array


@njit(cache=True, nogil=True)
def _first_layer(level, first, count, pixels, pooled, w, b, s):  # type: ignore[no-untyped-def]
    """Pooled rows `first` to `first + count` of level (H, W * 3), into pooled (rows, columns, 10)."""
    height, width = level.shape[0], level.shape[1] // 3
    stride = 3 * width
    top = 2 * first
    below = min(height, 2 * (first + count) + 2)
    for row in range(top, below):
        line, source = pixels[row - top], level[row]
        for k in range(stride):
            line[k] = source[k]
    for row in range(count):
        two_rows = 2 * (first + row) + 1 < height - 2
        _conv1(pixels.ctypes.data + 4 * 2 * row * stride, stride, 3, 9, w.ctypes.data, b.ctypes.data, s.ctypes.data,
               pooled.ctypes.data + 4 * 10 * row * pooled.shape[1], width - 2, two_rows)  # fmt: skip


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _pass(features, columns, start, heads, least, count, cells, values):  # type: ignore[no-untyped-def]
    """Add the cells of features (rows, stride, 32) that reach `least` to the `count` found ones; heads (5, 33)."""
    for row in range(features.shape[0]):
        for column in range(columns):
            cell = features[row, column]
            logit = np.float32(0)
            for c in range(32):
                logit += heads[0, c] * cell[c]
            logit += heads[0, 32]
            if logit >= least:
                cells[count, 0], cells[count, 1] = start + row, column
                values[count, 0] = logit
                for i in range(1, 5):
                    total = np.float32(0)
                    for c in range(32):
                        total += heads[i, c] * cell[c]
                    values[count, i] = total + heads[i, 32]
                count += 1
    return count


@njit(cache=True, nogil=True)
def _map(level, first, last, least, w1, b1, s1, w2, b2, s2, w3, b3, s3, heads, cells, values):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the map of level (H, W * 3): how many cells pass; what they are is written."""
    width = level.shape[1] // 3
    wide = (width - 1) // 2  # of the pooled map: ceil((width - 2) / 2)
    pixels = np.empty((2 * (BAND + 4) + 3, 3 * width), np.float32)
    flat1 = np.empty((BAND + 4) * wide * 10 + SLACK, np.float32)
    flat2 = np.empty((BAND + 2) * wide * 16 + SLACK, np.float32)
    flat3 = np.empty(BAND * wide * 32 + SLACK, np.float32)
    pooled = flat1[: (BAND + 4) * wide * 10].reshape(BAND + 4, wide, 10)
    second = flat2[: (BAND + 2) * wide * 16].reshape(BAND + 2, wide, 16)
    features = flat3[: BAND * wide * 32].reshape(BAND, wide, 32)
    work = np.empty(WORK, np.float32)
    passed = 0
    for start in range(first, last, BAND):
        count = min(BAND, last - start)
        # From the second band on, the last rows of the one before are the first of this one.
        known1, known2 = 0, 0
        if start > first:
            known1, known2 = 4, 2
            pooled[2:4] = pooled[BAND + 2 : BAND + 4]
            second[:2] = second[BAND : BAND + 2]
        _first_layer(level, start + known1, count + 4 - known1, pixels, pooled[known1:], w1, b1, s1)
        _conv2(pooled.ctypes.data + 4 * known2 * wide * 10, wide * 10, 3, 30, w2.ctypes.data, b2.ctypes.data,
               s2.ctypes.data, second.ctypes.data + 4 * known2 * wide * 16,
               (count + 2 - known2) * wide - 2)  # fmt: skip
        _conv3(second.ctypes.data, wide * 16, w3.ctypes.data, b3.ctypes.data, s3.ctypes.data,
               features.ctypes.data, wide * 32, count, wide - 4, work.ctypes.data)  # fmt: skip
        passed = _pass(features[:count], wide - 4, start, heads, least, passed, cells, values)
    return passed


def _heads(net: Weights) -> Array:
    """The logit's and the offsets' weights and bias: (5, 33) float32."""
    layers = (net.layer("face"), net.layer("offsets"))
    pair, moves = (np.column_stack([layer.weight[:, :, 0, 0], layer.bias]).astype(np.float64) for layer in layers)
    return np.concatenate([pair[1:] - pair[:1], moves]).astype(np.float32)


class FastPNet:
    """PNet's weights, packed, and what runs them."""

    def __init__(self, net: Weights) -> None:
        first, second, third = net.trunk()
        layers = (pack_conv(first, COLUMNS, pixels=True), pack_conv(second, COLUMNS), pack_winograd(third, TILES))
        self.weights = (*(array for layer in layers for array in layer), _heads(net))

    def cells(self, level: Array, least: float, first: int, last: int) -> Cells:
        """The cells of level (H, W, 3), uint8 or float32 from 0 to 255, whose logit reaches `least`, row by row.

        first, last  rows of the map to look at.
        """
        width = map_size(ImageSize(*level.shape[:2])).width
        cells = np.empty(((last - first) * width, 2), np.int32)
        values = np.empty((len(cells), 5), np.float32)
        lines = np.ascontiguousarray(level).reshape(len(level), -1)  # (H, W, 3) -> (H, W * 3)
        run: Any = _map
        count = run(lines, first, last, least, *self.weights, cells, values)
        return Cells(cells[:count, 0], cells[:count, 1], values[:count, 0], values[:count, 1:])
