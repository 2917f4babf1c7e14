"""A convolution of plans in bfloat16, one kernel for all shapes: by the matrix unit AMX, see `amx_cells`, or by
products of pairs, see `pair_cells`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .amx_cells import PART_BYTES, activated_rows, begin_tiles, end_tiles, rounded_cell, sum_tiles
from .compiling import array_at, inner
from .pair_cells import TOGETHER, no_tiles, sum_pairs
from .steps import (
    BIAS,
    CELL_BYTES,
    COLUMNS,
    EACH,
    IN_STEP,
    INPUTS,
    KERNEL_ROWS,
    LINEAR,
    OUT_STEP,
    OUTPUTS,
    PART,
    REACH,
    ROOM,
    ROW_BYTES,
    RUN,
    SHAPES,
    SIZE,
    SLOPE,
    TAP,
    TAPS,
    TO,
    WEIGHTS,
)

__all__ = ["dots", "matrix"]

TILE = 16  # cells, and outputs, of a tile
TILE_ROW, TILE_BYTES = 4 * TILE, 4 * TILE * TILE


def matrix(mode: int) -> Any:
    """As `compiled_steps.conv`, of inputs rounded to bfloat16, by AMX. The arguments say all but the activation."""
    return _convolution(mode, sum_tiles, begin_tiles, end_tiles, TILE)


def dots(mode: int) -> Any:
    """As `matrix`, without AMX."""
    return _convolution(mode, sum_pairs, no_tiles, no_tiles, TOGETHER)


def _convolution(mode: int, sum_cells: Any, begin: Any, end: Any, together: int) -> Any:
    """The kernel, given the intrinsic functions that sum products, of so many cells together, and that are called
    before and after."""

    @inner()
    def round_row(a: Any, source: int, columns: int, target: int) -> None:
        """Some cells of a row in bfloat16."""
        if a[IN_STEP] == a[INPUTS] and 2 * a[INPUTS] == a[CELL_BYTES]:
            rounded_cell(source, columns * a[IN_STEP], target)
        else:
            for i in range(columns):
                rounded_cell(source + 4 * i * a[IN_STEP], a[INPUTS], target + i * a[CELL_BYTES])

    @inner(inline="always")
    def sums(
        a: Any, at: int, shift: int, block: int, to: int, line: int, column: int, row: int, count: int,
        many: int, blocks: int,
    ) -> None:  # fmt: skip
        """Of one or two tiles of cells, of outputs: constants."""
        size = PART_BYTES * a[KERNEL_ROWS] * a[TAPS] * a[RUN]
        sum_cells(at, shift, a[EACH] * a[CELL_BYTES], a[KERNEL_ROWS], a[ROW_BYTES], a[TAPS], a[TAP], a[RUN], a[PART],
                  a[WEIGHTS] + block * size, size, a[BIAS] + TILE_ROW * block, to, line, column, row,
                  count, many, blocks)  # fmt: skip

    @inner()
    def cells(a: Any, count: int, target: int) -> None:
        """All outputs of up to two tiles of cells, `count`, which are rounded: the second ends with the last cell."""
        stored, room, second = a[ROOM], a[ROOM] + 4 * TILE_BYTES, max(count - TILE, 0)
        shift, further = second * a[EACH] * a[CELL_BYTES], 4 * second * a[OUT_STEP]
        for block in range(0, (a[OUTPUTS] + TILE - 1) // TILE, 2):
            left = a[OUTPUTS] - TILE * block
            whole = mode == LINEAR and count >= TILE and (left == TILE or left >= 2 * TILE)
            out = target + TILE_ROW * block
            to, line, column, row = stored, 2 * TILE_BYTES, TILE_BYTES, TILE_ROW
            if whole:
                to, line, column, row = out, further, TILE_ROW, 4 * a[OUT_STEP]
            if second > 0 and left > TILE:
                sums(a, room, shift, block, to, line, column, row, count, 2, 2)
            elif second > 0:
                sums(a, room, shift, block, to, line, column, row, count, 2, 1)
            elif left > TILE:
                sums(a, room, shift, block, to, line, column, row, count, 1, 2)
            else:
                sums(a, room, shift, block, to, line, column, row, count, 1, 1)
            if not whole:
                for i in range(1 if second > 0 else 0, -1, -1):  # the first cells of the second tile may lack
                    for j in range(2 if left > TILE else 1):
                        activated_rows(stored + (2 * i + j) * TILE_BYTES, min(count, TILE),
                                       a[SLOPE] + TILE_ROW * (block + j), out + i * further + TILE_ROW * j,
                                       4 * a[OUT_STEP], min(left - TILE * j, TILE), mode)  # fmt: skip

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        count = a[COLUMNS]
        begin(a[SHAPES])
        start = 0
        while start < count:
            many = min((count - start + together - 1) // together * together, 2 * TILE)
            first = min(start, max(count - many, 0))
            some = min(many, count)
            columns = (some - 1) * a[EACH] + a[REACH] + 1
            for row in range(a[KERNEL_ROWS]):
                round_row(a, a[row] + 4 * first * a[EACH] * a[IN_STEP], columns,
                          a[ROOM] + 4 * TILE_BYTES + row * a[ROW_BYTES])  # fmt: skip
            cells(a, some, a[TO] + 4 * first * a[OUT_STEP])
            start += many
        end(a[SHAPES])
        return 0

    return run
