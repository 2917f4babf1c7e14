"""Kernels for the outputs of plans: which predictions pass a threshold, and values of some of them, see `plan_rows`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiled_steps import address_rows
from .compiling import array_at, inner
from .map_cells import call_step
from .packing import FLOAT_BYTES
from .steps import (
    ARGUMENTS,
    CELL,
    COLUMNS,
    COUNT,
    FEW,
    HEADER,
    KERNEL,
    LEVEL,
    LEVEL_CELL,
    LEVEL_COLUMNS,
    LEVEL_EACH,
    LEVEL_FIRST,
    LEVEL_ROW,
    LEVEL_ROWS,
    MADE,
    MADE_CELL,
    MADE_ROW,
    MOST_CELLS,
    PER_CELL,
    SOURCE,
    STEP,
    WIDTH,
)

__all__ = ["passing", "pick"]


def passing(rows_at, values_at, other_values_at, levels, scores_at, others_at, lowest):  # type: ignore[no-untyped-def]
    """Number of predictions whose scores, in two outputs, are at least `lowest`.

    scores, others  (levels, LEVEL), see `steps`; the same if there is one output.
    rows, values, other_values  of those that pass: their numbers, int64, and scores; with room for all predictions.
    """
    scores, others = array_at(scores_at, (levels, LEVEL), np.int64), array_at(others_at, (levels, LEVEL), np.int64)
    found = number = room = 0
    for n in range(levels):
        room += scores[n, LEVEL_ROWS] * scores[n, LEVEL_COLUMNS] * scores[n, LEVEL_EACH]
    rows, values = array_at(rows_at, (room,), np.int64), array_at(values_at, (room,), np.float32)
    other_values = array_at(other_values_at, (room,), np.float32)
    least = np.float32(lowest)
    for n in range(levels):
        one, other = scores[n], others[n]
        columns, each, step, other_step = one[LEVEL_COLUMNS], one[LEVEL_EACH], one[LEVEL_CELL], other[LEVEL_CELL]
        across, many = (1, columns * each) if step == each else (columns, each)
        for row in range(one[LEVEL_ROWS]):
            place, second = one[LEVEL_FIRST] + row * one[LEVEL_ROW], other[LEVEL_FIRST] + row * other[LEVEL_ROW]
            for column in range(across):
                cell = array_at(place + column * FLOAT_BYTES * step, (many,), np.float32)
                for k in range(many):
                    if cell[k] >= least:
                        at = second + FLOAT_BYTES * ((column + k // each) * other_step + k % each)
                        beside = array_at(at, (1,), np.float32)[0]
                        if beside >= least:
                            rows[found], values[found], other_values[found] = number + k, cell[k], beside
                            found += 1
                number += many
    return found


@inner()
def _pick_cells(at: int, picked: Any, order: Any, scale: Any, out: Any) -> None:
    """Values of some predictions of a level, `picked`, rising. The first step reads a whole map; others, pointwise,
    what the one before has made of the same cells. Without steps, the values are those of a whole map."""
    header = array_at(at, (HEADER,), np.int64)
    count, left, each, wide, size = header[COUNT], len(picked), header[PER_CELL], header[WIDTH], out.shape[1]
    steps = array_at(at + 8 * HEADER, (count, STEP), np.int64)
    first = 0
    while first < left:
        cell = picked[first] // each
        row, column, many = cell // wide, cell % wide, 1
        last = first + 1
        while last < left:
            beyond = picked[last] // each - (cell + many)  # -1: one of the last cell
            if beyond > 0 or (beyond == 0 and (many == MOST_CELLS or column + many == wide)):
                break
            many += beyond + 1
            last += 1
        for number in range(count):
            step = steps[number]
            address_rows(step, row if number == 0 else 0)
            if number == 0:
                for k in range(step[SOURCE + FEW]):
                    step[ARGUMENTS + k] += column * header[CELL]
            step[ARGUMENTS + COLUMNS] = many
            call_step(step[KERNEL], at + 8 * (HEADER + number * STEP + ARGUMENTS))
        made = header[MADE] + row * header[MADE_ROW] + (0 if count else column * header[MADE_CELL])
        for k in range(first, last):
            place = made + (picked[k] // each - cell) * header[MADE_CELL] + picked[k] % each * (FLOAT_BYTES * size)
            values, target = array_at(place, (size,), np.float32), out[order[k]]
            for i in range(size):
                target[i] = values[i] * scale
        first = last


def pick(tables_at, scales_at, rows_at, order_at, picked_at, out_at, levels, size, count):  # type: ignore[no-untyped-def]
    """Values out (count, size) of the predictions rows (count,), which are rising in the `order`.

    tables  (levels + 1, 2): number of the first prediction of each level, and of all of them; the address of its table,
            see `steps`.
    scales  (levels,) of the values.    picked  scratch (count,).
    """
    tables, scales = array_at(tables_at, (levels + 1, 2), np.int64), array_at(scales_at, (levels,), np.float32)
    rows, order = array_at(rows_at, (count,), np.int64), array_at(order_at, (count,), np.int64)
    picked, out = array_at(picked_at, (count,), np.int64), array_at(out_at, (count, size), np.float32)
    first = 0
    for n in range(levels):
        last = first
        while last < count and rows[order[last]] < tables[n + 1, 0]:
            picked[last] = rows[order[last]] - tables[n, 0]
            last += 1
        if last > first:
            _pick_cells(tables[n, 1], picked[first:last], order[first:last], scales[n], out)
        first = last
    return 0
