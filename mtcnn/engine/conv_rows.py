"""LLVM code for the convolutions of plans: a row of a map, in tiles of a few cells.

All of a row is code made here, not by Numba, whose own work on loops in Python takes longer than LLVM's.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .cells import (
    INT,
    POINTER,
    ZERO,
    Arguments,
    activated,
    for_cells,
    load_part,
    pointer,
    row_at,
    store_part,
)
from .map_cells import larger
from .registers import LANES, padded
from .steps import BELOW, BIAS, COLUMNS, KERNEL_ROWS, RUN, SLOPE, SLOPES, TAP, TAPS, TO, WEIGHTS
from .vectors import FLOAT, LONG, VECTOR, Builder, Value, fma, intrinsic, load, loop, prefetch, slot, splat

__all__ = ["conv_row", "depthwise_row", "dot_row", "taps_row"]

HALF = LANES // 2
AHEAD = 64  # vectors of weights, in the time of whose products the L3 cache delivers one, measured
KERNEL = 3  # side of a kernel, where it is constant
NEIGHBOURS = 4  # cells of a depthwise convolution at a time, which share inputs


def _conv_tile(
    b: Builder, a: Arguments, first: Value, block: Value, cells: int, end: int, constants: tuple[int, ...]
) -> None:
    """A tile of `cells` cells from `first` on, and of one block of vectors, the last of which has `end` floats.

    Of an even number of cells, two share the last vector if they fit: its weights, bias and slopes are there twice.
    """
    step, out_step, mode, many, ahead = constants
    pairs = many > 1 and end <= HALF and cells % 2 == 0
    whole = many - 1 if pairs else many
    shift = b.mul(block, LONG(many * LANES))
    run, taps = a[RUN], a[TAPS]
    size = b.mul(b.mul(a[KERNEL_ROWS], taps), b.mul(run, LONG(many * LANES)))
    bias = b.gep(pointer(b, a[BIAS]), [shift])
    starts = [load(b, bias, i * LANES) for i in range(many)]
    sums = [[slot(b, VECTOR) for _ in range(whole)] for _ in range(cells)]
    both = [slot(b, VECTOR) for _ in range(cells // 2 if pairs else 0)]
    for at in sums:
        for total, start in zip(at, starts, strict=False):
            b.store(start, total)
    for total in both:
        b.store(starts[-1], total)
    used = slot(b, POINTER)
    b.store(b.gep(pointer(b, a[WEIGHTS]), [b.mul(block, size)]), used)
    here_on = b.mul(first, LONG(step))

    def kernel_row(number: Value) -> None:
        row = b.gep(row_at(b, a.table, number), [here_on])

        def kernel_tap(place: Value) -> None:
            source, weight = b.gep(row, [b.mul(place, a[TAP])]), b.load(used)

            def kernel_step(k: Value) -> None:
                here, row_of = b.gep(source, [k]), b.gep(weight, [b.mul(k, LONG(many * LANES))])
                numbers = [load(b, row_of, i * LANES) for i in range(many)]
                for i in range(many if ahead else 0):
                    prefetch(b, b.gep(row_of, [LONG((AHEAD + i) * LANES)]))
                before = ZERO
                for p, at in enumerate(sums):
                    value = splat(b, b.load(b.gep(here, [LONG(p * step)])))
                    for total, number in zip(at, numbers, strict=False):
                        b.store(fma(b, value, number, b.load(total)), total)
                    if pairs and p % 2:
                        pair = b.shuffle_vector(before, value, _lanes(range(HALF), range(LANES, LANES + HALF)))
                        b.store(fma(b, pair, numbers[-1], b.load(both[p // 2])), both[p // 2])
                    before = value

            loop(b, run, kernel_step)
            b.store(b.gep(weight, [b.mul(run, LONG(many * LANES))]), used)

        loop(b, taps, kernel_tap)

    loop(b, a[KERNEL_ROWS], kernel_row)
    slopes, out = b.gep(pointer(b, a[SLOPE]), [shift]), b.gep(pointer(b, a[TO]), [shift])
    out = b.gep(out, [b.mul(first, LONG(out_step))])
    bent = [load(b, slopes, i * LANES) if mode == SLOPES else ZERO for i in range(many)]
    for p, at in enumerate(sums):
        for i, total in enumerate(at):
            value = activated(b, b.load(total), mode, bent[i])
            store_part(b, value, out, p * out_step + i * LANES, end if i == many - 1 else LANES)
    for p, total in enumerate(both):
        value, place = activated(b, b.load(total), mode, bent[-1]), 2 * p * out_step + whole * LANES
        store_part(b, value, out, place, end)
        other = b.shuffle_vector(value, value, _lanes(range(HALF, LANES), range(HALF)))
        store_part(b, other, out, place + out_step, end)


def _lanes(*parts: range) -> Value:
    """The lanes that a shuffle takes."""
    return ir.Constant(ir.VectorType(INT, LANES), [lane for part in parts for lane in part])


@intrinsic(prefer_literal=True)
def conv_row(context, at, step, outputs, out_step, mode, vectors, positions, ahead):  # type: ignore[no-untyped-def]
    """A row of a convolution, with bias and activation. at  address of its arguments, see `steps`.

    weights     (blocks, KERNEL_ROWS * TAPS * RUN, vectors * LANES) floats; bias, slope (blocks * vectors * LANES). See
                `registers.halved` for the last of them.
    TAPS, TAP   of a row of the kernel: their number, and the floats from one to the next.  RUN  floats in a tap.

    Constants of the compiled code: `step` floats from a cell's inputs to the next's, `out_step` from its outputs to the
    next's; a tile of `positions` cells and `vectors`; the activation; whether to fetch weights ahead.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        a, count, many = Arguments(b, args[0]), outputs.literal_value, vectors.literal_value
        blocks, last = padded(count) // LANES // many, count - padded(count) + LANES
        constants = step.literal_value, out_step.literal_value, mode.literal_value, many, ahead.literal_value
        wide = positions.literal_value
        shapes = sorted({wide, max(wide // 4, 1), 1}, reverse=True)

        def tiles(block: Value, end: int) -> None:
            for_cells(b, a[COLUMNS], shapes, lambda first, cells: _conv_tile(b, a, first, block, cells, end, constants))

        whole = blocks if last == LANES else blocks - 1
        if whole:
            loop(b, LONG(whole), lambda block: tiles(block, LANES))
        if whole < blocks:
            tiles(LONG(whole), last)
        return _context.get_dummy_value()

    return types.void(types.intp, step, outputs, out_step, mode, vectors, positions, ahead), code


def _taps_tile(
    b: Builder, a: Arguments, first: Value, cells: int, constants: tuple[int, ...], stride: int, dilation: int
) -> None:
    step, many, out_step, mode = constants
    run, used = a[RUN], slot(b, POINTER)
    sums = [slot(b, VECTOR) for _ in range(cells)]
    start, slopes = load(b, pointer(b, a[BIAS]), 0), load(b, pointer(b, a[SLOPE]), 0)
    for total in sums:
        b.store(start, total)
    b.store(pointer(b, a[WEIGHTS]), used)
    here_on = b.mul(first, LONG(stride * step))

    def kernel_row(number: Value) -> None:
        row, weight = b.gep(row_at(b, a.table, number), [here_on]), b.load(used)

        def kernel_step(k: Value) -> None:
            here, row_of = b.gep(row, [k]), b.gep(weight, [b.mul(k, LONG(KERNEL * LANES))])
            numbers = [load(b, row_of, i * LANES) for i in range(KERNEL)]
            for column in range((cells - 1) * stride + (KERNEL - 1) * dilation + 1):
                places = [divmod(column - tap * dilation, stride) for tap in range(KERNEL)]
                reached = [(p, tap) for tap, (p, rest) in enumerate(places) if rest == 0 and 0 <= p < cells]
                if reached:
                    value = splat(b, b.load(b.gep(here, [LONG(column * step)])))
                for p, tap in reached:
                    b.store(fma(b, value, numbers[tap], b.load(sums[p])), sums[p])

        loop(b, run, kernel_step)
        b.store(b.gep(weight, [b.mul(run, LONG(KERNEL * LANES))]), used)

    loop(b, LONG(KERNEL), kernel_row)
    out = b.gep(pointer(b, a[TO]), [b.mul(first, LONG(out_step))])
    for p, total in enumerate(sums):
        store_part(b, activated(b, b.load(total), mode, slopes), out, p * out_step, many)


@intrinsic(prefer_literal=True)
def taps_row(context, at, step, outputs, out_step, mode, positions, stride, dilation):  # type: ignore[no-untyped-def]
    """As `conv_row`, 3 x 3, for one vector of outputs: an input is loaded once for all taps of a row that it meets.

    RUN      channels of the input.
    weights  (3, RUN, 3, LANES) floats: a row of the kernel, input, tap, output; bias, slope (LANES).
    Constants: `step` does not include the stride.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        a, wide = Arguments(b, args[0]), positions.literal_value
        constants = step.literal_value, outputs.literal_value, out_step.literal_value, mode.literal_value
        apart = stride.literal_value, dilation.literal_value
        shapes = sorted({wide, max(wide // 4, 1), 1}, reverse=True)
        for_cells(b, a[COLUMNS], shapes, lambda first, cells: _taps_tile(b, a, first, cells, constants, *apart))
        return _context.get_dummy_value()

    return types.void(types.intp, step, outputs, out_step, mode, positions, stride, dilation), code


def _dot_tile(b: Builder, a: Arguments, first: Value, cells: int, constants: tuple[int, ...]) -> None:
    step, many, out_step, mode = constants
    used = slot(b, POINTER)
    sums = [[slot(b, VECTOR) for _ in range(many)] for _ in range(cells)]
    for total in (total for at in sums for total in at):
        b.store(ZERO, total)
    b.store(pointer(b, a[WEIGHTS]), used)
    run = a[RUN]
    vectors, here_on = b.sdiv(run, LONG(LANES)), b.mul(first, LONG(step))

    def kernel_row(number: Value) -> None:
        row = b.gep(row_at(b, a.table, number), [here_on])

        def kernel_tap(place: Value) -> None:
            source, weight = b.gep(row, [b.mul(place, a[TAP])]), b.load(used)

            def kernel_step(k: Value) -> None:
                here, row_of = b.gep(source, [b.mul(k, LONG(LANES))]), b.gep(weight, [b.mul(k, LONG(many * LANES))])
                numbers = [load(b, row_of, i * LANES) for i in range(many)]
                for p, at in enumerate(sums):
                    value = load(b, here, p * step)
                    for total, number in zip(at, numbers, strict=True):
                        b.store(fma(b, value, number, b.load(total)), total)

            loop(b, vectors, kernel_step)
            b.store(b.gep(weight, [b.mul(run, LONG(many))]), used)

        loop(b, a[TAPS], kernel_tap)

    loop(b, a[KERNEL_ROWS], kernel_row)
    more, slopes = load(b, pointer(b, a[BIAS]), 0), load(b, pointer(b, a[SLOPE]), 0)
    out = b.gep(pointer(b, a[TO]), [b.mul(first, LONG(out_step))])
    for p, at in enumerate(sums):
        value = ZERO
        for i, total in enumerate(at):
            value = b.insert_element(value, sum_of(b, b.load(total)), INT(i))
        store_part(b, activated(b, b.fadd(value, more), mode, slopes), out, p * out_step, many)


@intrinsic(prefer_literal=True)
def dot_row(context, at, step, outputs, out_step, mode, positions):  # type: ignore[no-untyped-def]
    """As `conv_row`, for few outputs: lanes are inputs, whose products are summed up at the end.

    RUN      a multiple of LANES.
    weights  (KERNEL_ROWS * TAPS * RUN / LANES, outputs, LANES) floats; bias, slope (LANES).
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        a, shapes = Arguments(b, args[0]), sorted({positions.literal_value, 1}, reverse=True)
        constants = step.literal_value, outputs.literal_value, out_step.literal_value, mode.literal_value
        for_cells(b, a[COLUMNS], shapes, lambda first, cells: _dot_tile(b, a, first, cells, constants))
        return _context.get_dummy_value()

    return types.void(types.intp, step, outputs, out_step, mode, positions), code


def _depthwise_tile(
    b: Builder, a: Arguments, first: Value, block: Value, cells: int, lanes: int, constants: tuple[int, ...]
) -> None:
    """`cells` cells from `first` on, in one or two rows, of one block of up to LANES channels.

    Inputs come in order, each for all outputs that it has a part in: few are in registers at a time.
    """
    stride, step, out_step, mode, many, pooled = constants
    wide, shift = stride * step, b.mul(block, LONG(LANES))
    factors = b.gep(pointer(b, a[WEIGHTS]), [b.mul(block, LONG(11 * LANES))])
    here_on, there_on = b.add(shift, b.mul(first, LONG(wide))), b.add(shift, b.mul(first, LONG(out_step)))
    kernel = [load(b, factors, i * LANES) for i in range(11)]
    sums = {(row, p): kernel[9] for row in range(many) for p in range(cells)}
    for i in range(3 + stride * (many - 1)):
        source = b.gep(pointer(b, a[i]), [here_on])
        for j in range(3 + stride * (cells - 1)):
            value = load_part(b, source, j * step, lanes)
            for row, p in sums:
                y, x = i - stride * row, j - stride * p
                if 0 <= y < 3 and 0 <= x < 3:
                    sums[row, p] = fma(b, value, kernel[3 * y + x], sums[row, p])
    made = {place: activated(b, total, mode, kernel[10]) for place, total in sums.items()}
    if pooled:
        out = b.gep(pointer(b, a[TO]), [b.add(shift, b.mul(b.sdiv(first, LONG(2)), LONG(out_step)))])
        for p in range(0, cells, 2):
            above, below = (larger(b, made[row, p], made[row, p + 1]) for row in range(2))
            store_part(b, larger(b, above, below), out, p // 2 * out_step, lanes)
        return
    for row in reversed(range(many)):  # behind the last row the second is the first
        out = b.gep(pointer(b, a[(TO, BELOW)[row]]), [there_on])
        for p in range(cells):
            store_part(b, made[row, p], out, p * out_step, lanes)


@intrinsic(prefer_literal=True)
def depthwise_row(context, at, channels, stride, step, out_step, mode, many, pooled):  # type: ignore[no-untyped-def]
    """A row, or two, of a 3 x 3 convolution of each channel by itself. at  address of its arguments, see `steps`.

    weights  (blocks, 11, LANES): nine of the kernel, bias, slope.
    Constants: channels; the stride; floats from a cell of the input, and of the output, to the next; the activation;
    the number of rows; whether of two rows, of even numbers of columns, 2 x 2 results become one, the largest.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        a, count = Arguments(b, args[0]), channels.literal_value
        blocks, last = padded(count) // LANES, count - padded(count) + LANES
        whole = blocks if last == LANES else blocks - 1
        constants = tuple(each.literal_value for each in (stride, step, out_step, mode, many, pooled))

        def tile(first: Value, cells: int) -> None:
            """All channels of a few cells: then their inputs are still in the L1 cache for the next row."""
            if whole:
                loop(b, LONG(whole), lambda block: _depthwise_tile(b, a, first, block, cells, LANES, constants))
            if whole < blocks:
                _depthwise_tile(b, a, first, LONG(whole), cells, last, constants)

        for_cells(b, a[COLUMNS], (NEIGHBOURS, 2 if constants[-1] else 1), tile)
        return _context.get_dummy_value()

    return types.void(types.intp, channels, stride, step, out_step, mode, many, pooled), code


def sum_of(b: Builder, value: Value) -> Value:
    """The sum of the lanes, in any order."""
    name = f"llvm.vector.reduce.fadd.v{LANES}f32"
    insert: Any = cgutils.get_or_insert_function
    function = insert(b.module, ir.FunctionType(FLOAT, [FLOAT, VECTOR]), name)
    return b.call(function, [ir.Constant(FLOAT, 0.0), value], fastmath=("reassoc",))
