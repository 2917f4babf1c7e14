"""Kernels of plans: each computes a row of a map, and `run_steps` calls them in the order in which rows are needed.

Factories take the constants of a step: `step` and `out_step` are floats from a cell of the input, and of the output, to
the next; `mode` is the activation. The kernels take the address of their arguments, see `steps`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import array_at, inner
from .conv_rows import conv_row, depthwise_row, dot_row, taps_row
from .map_cells import add_cells, affine_cells, call_step, floats_of_bytes, pool_cells, square_root, sum_cells
from .packing import FLOAT_BYTES
from .registers import LANES
from .steps import (
    ARGUMENTS,
    BASE,
    BELOW,
    BIAS,
    COLUMNS,
    COUNT,
    DILATION,
    FEW,
    HEADER,
    HEIGHT,
    KERNEL,
    KERNEL_ROWS,
    LAST,
    MAKER,
    MANY,
    MORE,
    NEXT,
    PADDING,
    RING,
    ROOM,
    ROW,
    ROWS,
    SHIFT,
    SIZE,
    SLOPE,
    SOURCE,
    SOURCE_SIZE,
    SOURCES,
    START,
    STEP,
    STRIDE,
    TAP,
    TAPS,
    TARGET,
    TARGET_RING,
    TARGET_ROW,
    TO,
    TOP,
    WEIGHTS,
    WIDE,
)

__all__ = [
    "add",
    "address_rows",
    "affine",
    "conv",
    "depthwise",
    "depthwise_pool",
    "dot",
    "factors",
    "moments",
    "pixels",
    "pool",
    "run_steps",
    "taps",
]


def conv(step: int, outputs: int, out_step: int, mode: int, vectors: int, positions: int, ahead: int) -> Any:
    """A convolution. step  floats from a cell's inputs to the next's: includes the stride.  vectors, positions  of a
    tile.  ahead  whether weights are to be fetched ahead."""

    def run(at):  # type: ignore[no-untyped-def]
        conv_row(at, step, outputs, out_step, mode, vectors, positions, ahead)
        return 0

    return run


def dot(step: int, outputs: int, out_step: int, mode: int, positions: int) -> Any:
    """As `conv`, for at most LANES outputs of whole vectors of inputs."""

    def run(at):  # type: ignore[no-untyped-def]
        dot_row(at, step, outputs, out_step, mode, positions)
        return 0

    return run


def taps(step: int, outputs: int, out_step: int, mode: int, positions: int, stride: int, dilation: int) -> Any:
    """As `conv`, 3 x 3, for at most LANES outputs; `step` does not include the stride."""

    def run(at):  # type: ignore[no-untyped-def]
        taps_row(at, step, outputs, out_step, mode, positions, stride, dilation)
        return 0

    return run


def depthwise(channels: int, stride: int, step: int, out_step: int, mode: int, many: int) -> Any:
    """A 3 x 3 convolution of each channel by itself. many  rows, 1 or 2."""

    def run(at):  # type: ignore[no-untyped-def]
        depthwise_row(at, channels, stride, step, out_step, mode, many, 0)
        return 0

    return run


def depthwise_pool(channels: int, step: int, out_step: int, mode: int) -> Any:
    """As `depthwise` and then `pool`, of two rows of even numbers of columns, which COLUMNS counts before pooling."""

    def run(at):  # type: ignore[no-untyped-def]
        depthwise_row(at, channels, 1, step, out_step, mode, 2, 1)
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
    """Sums of a row's values, and of their squares, for group norm: TO is (2, padded channels)."""

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        sum_cells(a[0], a[COLUMNS], a[TO], step, channels)
        return 0

    return run


def factors(at):  # type: ignore[no-untyped-def]
    """Scale and shift of each channel, for group norm, into TO (2, padded channels).

    The first argument is the address of the sums (KERNEL_ROWS, 2, padded channels) that `moments` makes; TAPS channels
    are in TAP groups; COLUMNS is the number of cells of the map. WEIGHTS and BIAS (channels,); SLOPE is the address of
    epsilon, a float64. ROOM  scratch, float64 (2, padded channels).
    """
    a = array_at(at, (SIZE,), np.int64)
    rows, channels, groups = a[KERNEL_ROWS], a[TAPS], a[TAP]
    size = (channels + LANES - 1) // LANES * LANES
    sums = array_at(a[0], (rows, 2 * size), np.float32)
    totals = array_at(a[ROOM], (2 * size,), np.float64)
    weights, biases = array_at(a[WEIGHTS], (channels,), np.float32), array_at(a[BIAS], (channels,), np.float32)
    epsilon, found = array_at(a[SLOPE], (1,), np.float64), array_at(a[TO], (2, size), np.float32)
    for i in range(2 * size):
        totals[i] = 0.0
    for row in range(rows):
        line = sums[row]
        for i in range(2 * size):
            totals[i] += line[i]
    each = channels // groups
    for group in range(groups):
        total, square = 0.0, 0.0
        for channel in range(group * each, (group + 1) * each):
            total += totals[channel]
            square += totals[size + channel]
        mean = total / (a[COLUMNS] * each)
        variance = square / (a[COLUMNS] * each) - mean * mean
        if variance < 0:
            variance = 0.0
        deviation = square_root(variance + epsilon[0])
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
def address_rows(step: Any, row: int) -> None:
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


@inner()
def _advance(at: int, steps: Any, stack: Any, goal: int) -> None:
    """Compute one row of a goal, and before it those that it needs of steps that are no goals."""
    depth = 0
    stack[0] = goal
    while depth >= 0:
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
            address_rows(step, row)
            call_step(step[KERNEL], at + 8 * (HEADER + number * STEP + ARGUMENTS))
            step[NEXT] = row + 1 + step[MORE]
            depth -= 1


def run_steps(at):  # type: ignore[no-untyped-def]
    """Compute the rows of all goals, one goal after the other."""
    header = array_at(at, (HEADER,), np.int64)
    count, many = header[COUNT], header[MANY]
    steps = array_at(at + 8 * HEADER, (count, STEP), np.int64)
    stack = array_at(at + 8 * (HEADER + count * STEP), (count + 1,), np.int64)
    goals = array_at(at + 8 * (HEADER + count * STEP + count + 1), (many,), np.int64)
    for i in range(count):
        steps[i, NEXT] = steps[i, START]
    for k in range(many):
        while steps[goals[k], NEXT] < steps[goals[k], LAST]:
            _advance(at, steps, stack, goals[k])
    return 0
