"""Kernels of plans: each computes a row of a map, and `run_steps` calls them in the order in which rows are needed.

Factories take the constants of a step: `step` and `out_step` are floats from a cell of the input, and of the output, to
the next; `mode` is the activation. The kernels take the address of their arguments, see `steps`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import array_at, inner
from .conv_rows import conv_row, depthwise_row, dot_row
from .map_cells import add_cells, affine_cells, call_step, floats_of_bytes, pool_cells, square_root, sum_cells
from .packing import FLOAT_BYTES
from .registers import LANES, padded
from .steps import (
    ARGUMENTS,
    BASE,
    BELOW,
    BIAS,
    CELL,
    CELLS,
    COLUMNS,
    COUNT,
    DILATION,
    END,
    FEW,
    HEADER,
    HEIGHT,
    KERNEL,
    MAKER,
    MORE,
    MOST_CELLS,
    NEXT,
    OUT,
    OUT_CELL,
    PADDING,
    RING,
    ROW,
    ROWS,
    SHIFT,
    SIZE,
    SOURCE,
    SOURCE_SIZE,
    SOURCES,
    START,
    STEP,
    STRIDE,
    TARGET,
    TARGET_RING,
    TARGET_ROW,
    TO,
    TOP,
    WEIGHTS,
    WIDE,
    WIDTH,
)

__all__ = [
    "add",
    "affine",
    "conv",
    "depthwise",
    "dot",
    "factors",
    "moments",
    "pixels",
    "pool",
    "run_cells",
    "run_steps",
]


def conv(step: int, outputs: int, out_step: int, mode: int, vectors: int, positions: int) -> Any:
    """A convolution. step  floats from a cell's inputs to the next's: includes the stride.  vectors, positions  of a
    tile."""

    def run(at):  # type: ignore[no-untyped-def]
        conv_row(at, step, outputs, out_step, mode, vectors, positions)
        return 0

    return run


def dot(step: int, outputs: int, out_step: int, mode: int, positions: int) -> Any:
    """As `conv`, for at most LANES outputs of whole vectors of inputs."""

    def run(at):  # type: ignore[no-untyped-def]
        dot_row(at, step, outputs, out_step, mode, positions)
        return 0

    return run


def depthwise(channels: int, stride: int, step: int, out_step: int, mode: int) -> Any:
    """A 3 x 3 convolution of each channel by itself."""

    def run(at):  # type: ignore[no-untyped-def]
        depthwise_row(at, channels, stride, step, out_step, mode)
        return 0

    return run


def pool(channels: int, step: int, out_step: int) -> Any:
    """2 x 2 max pooling with stride 2 that rounds sizes up. WIDE is the number of columns of the input."""

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        whole = a[WIDE] // 2
        if whole:
            pool_cells(a[0], a[1], a[TO], whole, step, step, out_step, channels)
        if whole < a[COLUMNS]:
            shift = FLOAT_BYTES * 2 * whole * step
            pool_cells(a[0] + shift, a[1] + shift, a[TO] + FLOAT_BYTES * whole * out_step, 1, 0,
                       step, out_step, channels)  # fmt: skip
        return 0

    return run


def add(channels: int, step: int, other_step: int, out_step: int, twice: int, mode: int) -> Any:
    """The sum of two maps; with `twice`, the second has half of the rows and columns."""

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        add_cells(a[0], a[1], a[TO], a[COLUMNS] // (1 + twice), step, other_step, out_step, channels, twice, mode)
        return 0

    return run


def affine(channels: int, step: int, out_step: int, mode: int) -> Any:
    """scale * value + shift, for group norm: WEIGHTS is (2, padded channels)."""

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        affine_cells(a[0], a[WEIGHTS], a[TO], a[COLUMNS], step, out_step, channels, mode)
        return 0

    return run


def moments(channels: int, step: int) -> Any:
    """Sums of a row's values minus BIAS, and of their squares, for group norm: TO is (2, padded channels)."""
    size = 2 * padded(channels)

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        totals = array_at(a[TO], (size,), np.float32)
        for i in range(size):
            totals[i] = 0.0
        sum_cells(a[0], a[COLUMNS], a[BIAS], a[TO], step, channels)
        return 0

    return run


def factors(totals, rows, channels, groups, cells, epsilon, weight, bias, target):  # type: ignore[no-untyped-def]
    """Scale and shift of each channel, for group norm. totals  (rows, 2, padded channels), of `moments`.

    cells  of the map.  weight, bias  (channels,).  target  (2, padded channels).
    """
    size = (channels + LANES - 1) // LANES * LANES
    sums = array_at(totals, (rows, 2, size), np.float32)
    weights, biases = array_at(weight, (channels,), np.float32), array_at(bias, (channels,), np.float32)
    found = array_at(target, (2, size), np.float32)
    each = channels // groups
    for group in range(groups):
        total, square = 0.0, 0.0
        for row in range(rows):
            for channel in range(group * each, (group + 1) * each):
                total += sums[row, 0, channel]
                square += sums[row, 1, channel]
        mean = total / (cells * each)
        variance = square / (cells * each) - mean * mean
        if variance < 0:
            variance = 0.0
        deviation = square_root(variance + epsilon)
        for channel in range(group * each, (group + 1) * each):
            scale = weights[channel] / deviation
            found[0, channel] = scale
            found[1, channel] = biases[channel] - mean * scale
    return 0


def pixels(at):  # type: ignore[no-untyped-def]
    """A row of an image as floats; COLUMNS is the number of values."""
    a = array_at(at, (SIZE,), np.int64)
    wide = a[COLUMNS] // 48
    if wide:
        floats_of_bytes(a[0], a[TO], wide, 48)
    rest = a[COLUMNS] - 48 * wide
    if rest:
        floats_of_bytes(a[0] + 48 * wide, a[TO] + FLOAT_BYTES * 48 * wide, rest // 3, 3)
    return 0


@inner()
def _needed(step: Any, source: int, row: int) -> int:
    """Number of rows of a source that row `row` of a step needs."""
    last = row * step[source + STRIDE] - step[source + TOP] + (step[source + FEW] - 1) * step[source + DILATION]
    needed: int = min((last >> step[source + SHIFT]) + 1, step[source + HEIGHT])
    return needed


@inner()
def _address_rows(step: Any, row: int) -> None:
    """Fill in the addresses of the rows that the kernel reads and writes."""
    place = ARGUMENTS
    for number in range(step[SOURCES]):
        source = SOURCE + number * SOURCE_SIZE
        for k in range(step[source + FEW]):
            wanted = row * step[source + STRIDE] - step[source + TOP] + k * step[source + DILATION]
            wanted >>= step[source + SHIFT]
            if step[source + PADDING] == 0:
                wanted = min(wanted, step[source + HEIGHT] - 1)
            if wanted < 0 or wanted >= step[source + HEIGHT]:
                step[place] = step[source + PADDING]
            else:
                step[place] = step[source + BASE] + wanted % step[source + RING] * step[source + ROW]
            place += 1
    step[ARGUMENTS + TO] = step[TARGET] + row % step[TARGET_RING] * step[TARGET_ROW]
    below = min(row + step[MORE], step[ROWS] - 1)
    step[ARGUMENTS + BELOW] = step[TARGET] + below % step[TARGET_RING] * step[TARGET_ROW]


def run_steps(at):  # type: ignore[no-untyped-def]
    """Compute the rows of the goal up to END, and before each row the rows of other steps that it needs."""
    header = array_at(at, (HEADER,), np.int64)
    count = header[COUNT]
    steps = array_at(at + 8 * HEADER, (count, STEP), np.int64)
    stack = array_at(at + 8 * (HEADER + count * STEP), (count + 1,), np.int64)
    for i in range(count):
        steps[i, NEXT] = steps[i, START]
    depth = 0
    stack[0] = count - 1
    while depth > 0 or steps[count - 1, NEXT] < header[END]:
        number = stack[depth]
        step = steps[number]
        row = step[NEXT]
        waits = False
        for j in range(step[SOURCES]):
            source = SOURCE + j * SOURCE_SIZE
            maker = step[source + MAKER]
            if maker >= 0 and steps[maker, NEXT] < _needed(step, source, row):
                depth += 1
                stack[depth] = maker
                waits = True
                break
        if not waits:
            _address_rows(step, row)
            call_step(step[KERNEL], at + 8 * (HEADER + number * STEP + ARGUMENTS))
            step[NEXT] = row + 1 + step[MORE]
            depth -= 1 if depth > 0 else 0
    return 0


def run_cells(at):  # type: ignore[no-untyped-def]
    """Compute some cells of a map. The first step reads a whole map; others, pointwise, what the one before has made of
    the same cells."""
    header = array_at(at, (HEADER,), np.int64)
    count, left, wide = header[COUNT], header[END], header[WIDTH]
    steps = array_at(at + 8 * HEADER, (count, STEP), np.int64)
    cells = array_at(header[CELLS], (left,), np.int64)
    first = 0
    while first < left:
        row, column, many = cells[first] // wide, cells[first] % wide, 1
        while (
            many < MOST_CELLS
            and first + many < left
            and column + many < wide
            and cells[first + many] == cells[first] + many
        ):
            many += 1
        for number in range(count):
            step = steps[number]
            _address_rows(step, row if number == 0 else 0)
            if number == 0:
                for k in range(step[SOURCE + FEW]):
                    step[ARGUMENTS + k] += column * header[CELL]
            if number == count - 1:
                step[ARGUMENTS + TO] = header[OUT] + first * header[OUT_CELL]
            step[ARGUMENTS + COLUMNS] = many
            call_step(step[KERNEL], at + 8 * (HEADER + number * STEP + ARGUMENTS))
        first += many
    return 0
