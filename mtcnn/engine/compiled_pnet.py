"""PNet over a level of the pyramid, compiled: see `pnet`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import array_at, inner
from .layers import conv, pooled_conv
from .packing import TILES
from .pnet import BAND, COLUMNS, room
from .winograd import winograd

__all__ = ["pnet"]

Array = NDArray[Any]

_conv1 = pooled_conv(3, 10)
_conv2 = conv(10, 16, COLUMNS)
_conv3 = winograd(16, 32, TILES)
_room = inner()(room)


@inner()
def _first_layer(
    level: Array,
    real_level: Array,
    real: int,
    first: int,
    count: int,
    pixels: Array,
    pixels_at: int,
    pooled_at: int,
    wide: int,
    w: int,
    b: int,
    s: int,
) -> None:
    """Pooled rows `first` to `first + count` of a level (H, W * 3), into (rows, wide, 10) at the address `pooled`.

    pixels  scratch for rows of the level as float32; pixels_at is its address.
    """
    height, width = level.shape[0], level.shape[1] // 3
    stride = 3 * width
    top = 2 * first
    below = min(height, 2 * (first + count) + 2)
    for row in range(top, below):
        line = pixels[row - top]
        if real:
            numbers = real_level[row]
            for k in range(stride):
                line[k] = numbers[k]
        else:
            source = level[row]
            for k in range(stride):
                line[k] = source[k]
    for row in range(count):
        two_rows = 2 * (first + row) + 1 < height - 2
        _conv1(pixels_at + 4 * 2 * row * stride, stride, 3, 9, w, b, s,
               pooled_at + 4 * 10 * row * wide, width - 2, two_rows)  # fmt: skip


@inner(fastmath={"reassoc", "contract", "nsz"})
def _pass(
    features: Array, columns: int, start: int, heads: Array, min_logit: float, count: int, cells: Array, values: Array
) -> int:
    """Append the cells of features (rows, stride, 32) whose logit is at least `min_logit`; heads (5, 33)."""
    for row in range(features.shape[0]):
        for column in range(columns):
            cell = features[row, column]
            logit: Any = np.float32(0)
            for c in range(32):
                logit += heads[0, c] * cell[c]
            logit += heads[0, 32]
            if logit >= min_logit:
                cells[count, 0], cells[count, 1] = start + row, column
                values[count, 0] = logit
                for i in range(1, 5):
                    total: Any = np.float32(0)
                    for c in range(32):
                        total += heads[i, c] * cell[c]
                    values[count, i] = total + heads[i, 32]
                count += 1
    return count


@inner()
def _copy(rows: Array, source: int, target: int) -> None:
    """Copy two rows of (R, columns, channels) from `source` to `target`, which comes earlier."""
    for i in range(2):
        for j in range(rows.shape[1]):
            for c in range(rows.shape[2]):
                rows[target + i, j, c] = rows[source + i, j, c]


def pnet(  # type: ignore[no-untyped-def]
    level_at, real, height, width, first, last, min_logit, weights_at, heads_at, work_at, cells_at,
    values_at,
):  # fmt: skip
    """Rows `first` to `last` of the map of a level (height, width * 3): writes the cells that pass, returns how many.

    real     whether the level is float32.    weights  (9,) addresses: weights, bias and slope of three layers.
    heads    (5, 33).    work  scratch, see `pnet.room`.    cells, values  outputs, large enough for all cells: (N, 2)
             and (N, 5).
    """
    wide = (width - 1) // 2  # of the pooled map: ceil((width - 2) / 2)
    level = array_at(level_at, (height, 3 * width), np.uint8)
    real_level = array_at(level_at, (height, 3 * width), np.float32)
    weights, heads = array_at(weights_at, (9,), np.int64), array_at(heads_at, (5, 33), np.float32)
    most = (last - first) * (wide - 4)
    cells, values = array_at(cells_at, (most, 2), np.int32), array_at(values_at, (most, 5), np.float32)
    at1, at2, at3, at4, _ = _room(width)
    pixels = array_at(work_at, (2 * (BAND + 4) + 3, 3 * width), np.float32)
    pooled_at, second_at, features_at = work_at + 4 * at1, work_at + 4 * at2, work_at + 4 * at3
    pooled = array_at(pooled_at, (BAND + 4, wide, 10), np.float32)
    second = array_at(second_at, (BAND + 2, wide, 16), np.float32)
    features = array_at(features_at, (BAND, wide, 32), np.float32)
    passed = 0
    for start in range(first, last, BAND):
        count = min(BAND, last - start)
        # From the second band on, the last rows of the previous band are the first of this one.
        known1, known2 = 0, 0
        if start > first:
            known1, known2 = 4, 2
            _copy(pooled, BAND + 2, 2)
            _copy(second, BAND, 0)
        _first_layer(level, real_level, real, start + known1, count + 4 - known1, pixels, work_at,
                     pooled_at + 4 * known1 * wide * 10, wide, weights[0],
                     weights[1], weights[2])  # fmt: skip
        _conv2(pooled_at + 4 * known2 * wide * 10, wide * 10, 3, 30, weights[3], weights[4],
               weights[5], second_at + 4 * known2 * wide * 16,
               (count + 2 - known2) * wide - 2)  # fmt: skip
        _conv3(second_at, wide * 16, weights[6], weights[7], weights[8],
               features_at, wide * 32, count, wide - 4, work_at + 4 * at4)  # fmt: skip
        passed = _pass(features[:count], wide - 4, start, heads, min_logit, passed, cells, values)
    return passed
