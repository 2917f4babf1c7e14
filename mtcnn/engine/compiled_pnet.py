"""PNet over a level of the pyramid, compiled: see `pnet`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import array_at, inner
from .packing import FLOAT_BYTES, PIXEL_MEAN
from .pixel_tile import pooled_row, split_pixels
from .pnet import BAND, FIRST, MANY, TILE, room
from .registers import LANES
from .scored_tile import scored_winograd
from .winograd import winograd

__all__ = ["pnet"]

Array = NDArray[Any]

_conv2 = winograd(10, 16, MANY, TILE, FIRST)
_conv3 = scored_winograd(16, 32, MANY, TILE)
_room = inner()(room)


@inner()
def _split(source: int, real: int, width: int, target: int, plane: int) -> None:
    """A row of pixels of a level, uint8 or float32, at `target`: even and odd columns of each colour, `plane` floats
    apart."""
    done = 0
    for at in range(0, width if width >= 2 * LANES else 0, 2 * LANES):
        first = min(at, (width - 2 * LANES) // 2 * 2)  # a partial last part begins earlier
        if real:
            split_pixels(
                source + 3 * FLOAT_BYTES * first, PIXEL_MEAN, target + FLOAT_BYTES * first // 2, plane, LANES, 1
            )
        else:
            split_pixels(source + 3 * first, PIXEL_MEAN, target + FLOAT_BYTES * first // 2, plane, LANES, 0)
        done = first + 2 * LANES
    whole, numbers = array_at(source, (3 * width,), np.uint8), array_at(source, (3 * width,), np.float32)
    row = array_at(target, (3, 2, plane), np.float32)
    for x in range(done, width):
        for c in range(3):
            value = numbers[3 * x + c] if real else np.float32(whole[3 * x + c])
            row[c, x % 2, x // 2] = value - np.float32(PIXEL_MEAN)


@inner()
def _first_layer(
    level_at: int, real: int, height: int, width: int, first: int, count: int, ready: int, pixels_at: int, plane: int,
    pooled: Array, start: int, weights: int, work: int,
) -> int:  # fmt: skip
    """Pooled rows `first` to `first + count` of a level (height, width * 3), into rows from `start` on of pooled
    (rows, columns, FIRST). Beyond the end of the level, they are 0, as are columns beyond it.

    pixels_at  address of (4, 3, 2, plane) floats: row i of the level is at i % 4, up to row `ready`; returned is the
               next `ready`.
    """
    columns, line, size = (width - 1) // 2, 3 * width * (FLOAT_BYTES if real else 1), FLOAT_BYTES * 6 * plane
    inside = min(count, (height - 1) // 2 - first)
    for row in range(inside):
        top = 2 * (first + row)
        for y in range(max(top, ready), min(top + 4, height)):
            _split(level_at + line * y, real, width, pixels_at + size * (y % 4), plane)
        ready = top + 4
        target = pooled.ctypes.data + FLOAT_BYTES * (start + row) * pooled.shape[1] * FIRST
        pooled_row(pixels_at + size * (top % 4), pixels_at + size * ((top + 1) % 4), pixels_at + size * ((top + 2) % 4),
                   pixels_at + size * ((top + 3) % 4), plane, weights, target, width - 2, top + 1 < height - 2, work,
                   10)  # fmt: skip
    for row in range(start, start + count):
        for column in range(columns if row < start + inside else 0, pooled.shape[1]):
            for c in range(FIRST):
                pooled[row, column, c] = 0.0
    return ready


@inner(fastmath={"reassoc", "contract", "nsz"})
def _pass(
    features: Array, logits: Array, rows: int, columns: int, start: int, heads: Array, min_logit: float, count: int,
    cells: Array, values: Array,
) -> int:  # fmt: skip
    """Append the cells of `rows` rows whose logit is at least `min_logit`.

    features  (rows of tiles, tiles, TILE * TILE, 32).    logits  (rows, wide) without bias.    heads  (5, 33).
    """
    for row in range(rows):
        for column in range(columns):
            logit = logits[row, column] + heads[0, 32]
            if logit >= min_logit:
                cell = features[row // TILE, column // TILE, row % TILE * TILE + column % TILE]
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
def _copy(source: int, target: int, floats: int) -> None:
    """To an address before the source's."""
    numbers, copy = array_at(source, (floats,), np.float32), array_at(target, (floats,), np.float32)
    for k in range(floats):
        copy[k] = numbers[k]


def pnet(  # type: ignore[no-untyped-def]
    level_at, real, height, width, first, last, min_logit, weights_at, heads_at, work_at, cells_at,
    values_at,
):  # fmt: skip
    """Rows `first` to `last` of the map of a level (height, width * 3): writes the cells that pass, returns how many.

    real     whether the level is float32.    weights  (7,) addresses: the first layer's; weights, bias and slope of
             the other two.
    heads    (5, 33).    work  scratch, see `pnet.room`.    cells, values  outputs, large enough for all cells: (N, 2)
             and (N, 5).
    """
    columns = (width - 1) // 2 - 4
    tiles = (columns + TILE - 1) // TILE
    wide = tiles * TILE
    weights, heads = array_at(weights_at, (7,), np.int64), array_at(heads_at, (5, 33), np.float32)
    most = (last - first) * columns
    cells, values = array_at(cells_at, (most, 2), np.int32), array_at(values_at, (most, 5), np.float32)
    columns1, plane, at1, at2, at3, at4, at5, _ = _room(width)
    pooled_at, second_at, planes = work_at + FLOAT_BYTES * at1, work_at + FLOAT_BYTES * at2, work_at + FLOAT_BYTES * at5
    pooled = array_at(pooled_at, (BAND + 6, columns1, FIRST), np.float32)
    line1, line2 = FLOAT_BYTES * columns1 * FIRST, FLOAT_BYTES * (wide + 4) * 16
    features = array_at(work_at + FLOAT_BYTES * at3, (BAND // TILE, tiles, TILE**2, 32), np.float32)
    logits = array_at(work_at + FLOAT_BYTES * at4, (BAND, wide), np.float32)
    passed, ready = 0, 0
    for start in range(first, last, BAND):
        count = min(BAND, last - start)
        rows = (count + TILE - 1) // TILE * TILE
        # From the second band on, the last rows of the previous band are the first of this one.
        known1, known2 = 0, 0
        if start > first:
            known1, known2 = 6, 4
            _copy(pooled_at + line1 * (BAND + 4), pooled_at + line1 * 4, 2 * columns1 * FIRST)
            _copy(second_at + line2 * BAND, second_at, 4 * (wide + 4) * 16)
        ready = _first_layer(level_at, real, height, width, start + known1, rows + 6 - known1, ready, work_at, plane,
                             pooled, known1, weights[0], planes)  # fmt: skip
        _conv2(pooled_at + line1 * known2, columns1 * FIRST, weights[1], weights[2], weights[3],
               second_at + line2 * known2, (wide + 4) * 16, rows + 4 - known2, wide + 4, planes)  # fmt: skip
        _conv3(second_at, (wide + 4) * 16, weights[4], weights[5], weights[6], heads_at, features.ctypes.data,
               logits.ctypes.data, rows // TILE, tiles, planes)  # fmt: skip
        passed = _pass(features, logits, count, columns, start, heads, min_logit, passed, cells, values)
    return passed
