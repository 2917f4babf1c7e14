"""LLVM code for the steps of plans: a few cells of a map at a time.

As in `tile`, activations are (row, column, channel). Here every row of the input has an address of its own, so that
maps may be rings of a few rows, and the last vector of a cell may be shorter: nothing is read or written beyond it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .registers import LANES
from .steps import LINEAR, RELU, SLOPES
from .tile import prelu
from .vectors import FLOAT, LONG, VECTOR, Builder, Value, fma, intrinsic, load, loop, slot, splat, store

__all__ = [
    "POINTER",
    "ZERO",
    "activated",
    "conv_cells",
    "depthwise_cells",
    "dot_cells",
    "load_part",
    "pointer",
    "spans",
    "store_part",
]

POINTER = FLOAT.as_pointer()
INT = ir.IntType(32)
ZERO = ir.Constant(VECTOR, None)


def spans(channels: int) -> list[tuple[int, int]]:
    """(first, count) of the vectors of a cell; the last may be shorter."""
    return [(at, min(LANES, channels - at)) for at in range(0, channels, LANES)]


def load_part(b: Builder, base: Value, index: int | Value, count: int) -> Value:
    """As `load`, of `count` floats; the other lanes are 0."""
    if count == LANES:
        return load(b, base, index)
    part = load(b, base, index, ir.VectorType(FLOAT, count))
    lanes = [min(i, count) for i in range(LANES)]
    return b.shuffle_vector(part, ir.Constant(part.type, None), ir.Constant(ir.VectorType(INT, LANES), lanes))


def store_part(b: Builder, value: Value, base: Value, index: int, count: int) -> None:
    """As `store`, of the first `count` floats."""
    if count < LANES:
        lanes = ir.Constant(ir.VectorType(INT, count), list(range(count)))
        value = b.shuffle_vector(value, ir.Constant(VECTOR, ir.Undefined), lanes)
    store(b, value, base, index)


def relu(b: Builder, value: Value) -> Value:
    """max(value, 0); NaN stays NaN, as in torch."""
    return b.select(b.fcmp_ordered("<", value, ZERO), ZERO, value)


def activated(b: Builder, value: Value, mode: int, slope: Value) -> Value:
    if mode == LINEAR:
        return value
    return relu(b, value) if mode == RELU else prelu(b, value, slope)


def sum_of(b: Builder, value: Value) -> Value:
    """The sum of the lanes, in any order."""
    name = f"llvm.vector.reduce.fadd.v{LANES}f32"
    insert: Any = cgutils.get_or_insert_function
    function = insert(b.module, ir.FunctionType(FLOAT, [FLOAT, VECTOR]), name)
    return b.call(function, [ir.Constant(FLOAT, 0.0), value], fastmath=("reassoc",))


def pointer(b: Builder, address: Value) -> Value:
    return b.inttoptr(address, POINTER)


def _row(b: Builder, table: Value, index: Value | int) -> Value:
    """Entry `index` of a table of addresses, as a pointer."""
    place = b.gep(table, [LONG(index) if isinstance(index, int) else index])
    return pointer(b, b.load(place))


def _table(b: Builder, address: Value) -> Value:
    return b.inttoptr(address, LONG.as_pointer())


@intrinsic(prefer_literal=True)
def conv_cells(  # type: ignore[no-untyped-def]
    context,
    rows,
    shift,
    count,
    taps,
    tap,
    run,
    weights,
    bias,
    slope,
    target,
    step,
    vectors,
    positions,
    out_step,
    last,
    mode,
):
    """A convolution over neighbouring cells of a row, with bias and activation.

    rows        address of a table of `count` addresses, of the kernel's rows; `shift` floats are added to each.
    taps, tap   of a row of the kernel: their number, and the floats from one to the next.  run  floats in a tap.
    weights     (count * taps * run, vectors * LANES) floats; bias, slope (vectors * LANES).
    target      address of the first cell's outputs.

    Constants of the compiled code: `step` floats from a cell's inputs to the next's, `out_step` from its outputs to the
    next's; a tile of `positions` cells and `vectors`, the last with `last` floats; the activation.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        table, factors = _table(b, args[0]), pointer(b, args[6])
        many, cells, end = vectors.literal_value, positions.literal_value, last.literal_value
        first = [load(b, pointer(b, args[7]), i * LANES) for i in range(many)]
        sums = [[slot(b, VECTOR) for _ in range(many)] for _ in range(cells)]
        for at in sums:
            for total, start in zip(at, first, strict=True):
                b.store(start, total)
        used = slot(b, POINTER)
        b.store(factors, used)

        def kernel_row(number: Value) -> None:
            row = b.gep(_row(b, table, number), [args[1]])

            def kernel_tap(place: Value) -> None:
                source, weight = b.gep(row, [b.mul(place, args[4])]), b.load(used)

                def kernel_step(k: Value) -> None:
                    here, row_of = b.gep(source, [k]), b.gep(weight, [b.mul(k, LONG(many * LANES))])
                    numbers = [load(b, row_of, i * LANES) for i in range(many)]
                    for p, at in enumerate(sums):
                        value = splat(b, b.load(b.gep(here, [LONG(p * step.literal_value)])))
                        for total, number in zip(at, numbers, strict=True):
                            b.store(fma(b, value, number, b.load(total)), total)

                loop(b, args[5], kernel_step)
                b.store(b.gep(weight, [b.mul(args[5], LONG(many * LANES))]), used)

            loop(b, args[3], kernel_tap)

        loop(b, args[2], kernel_row)
        slopes, out = pointer(b, args[8]), pointer(b, args[9])
        bent = [load(b, slopes, i * LANES) if mode.literal_value == SLOPES else ZERO for i in range(many)]
        for p, at in enumerate(sums):
            for i, total in enumerate(at):
                value = activated(b, b.load(total), mode.literal_value, bent[i])
                lanes = end if i == many - 1 else LANES
                store_part(b, value, out, p * out_step.literal_value + i * LANES, lanes)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 10, step, vectors, positions, out_step, last, mode), code


@intrinsic(prefer_literal=True)
def dot_cells(  # type: ignore[no-untyped-def]
    context, rows, shift, count, taps, tap, run, weights, bias, slope, target, step, outputs, positions, out_step, mode
):
    """As `conv_cells`, for few outputs: lanes are inputs, whose products are summed up at the end.

    run      a multiple of LANES.
    weights  (count * taps * run / LANES, outputs, LANES) floats; bias, slope (LANES).
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        table, used = _table(b, args[0]), slot(b, POINTER)
        many, cells = outputs.literal_value, positions.literal_value
        sums = [[slot(b, VECTOR) for _ in range(many)] for _ in range(cells)]
        for total in (total for at in sums for total in at):
            b.store(ZERO, total)
        b.store(pointer(b, args[6]), used)
        vectors = b.sdiv(args[5], LONG(LANES))

        def kernel_row(number: Value) -> None:
            row = b.gep(_row(b, table, number), [args[1]])

            def kernel_tap(place: Value) -> None:
                source, weight = b.gep(row, [b.mul(place, args[4])]), b.load(used)

                def kernel_step(k: Value) -> None:
                    here, row_of = b.gep(source, [b.mul(k, LONG(LANES))]), b.gep(weight, [b.mul(k, LONG(many * LANES))])
                    numbers = [load(b, row_of, i * LANES) for i in range(many)]
                    for p, at in enumerate(sums):
                        value = load(b, here, p * step.literal_value)
                        for total, number in zip(at, numbers, strict=True):
                            b.store(fma(b, value, number, b.load(total)), total)

                loop(b, vectors, kernel_step)
                b.store(b.gep(weight, [b.mul(args[5], LONG(many))]), used)

            loop(b, args[3], kernel_tap)

        loop(b, args[2], kernel_row)
        first, slopes, out = load(b, pointer(b, args[7]), 0), load(b, pointer(b, args[8]), 0), pointer(b, args[9])
        for p, at in enumerate(sums):
            value = ZERO
            for i, total in enumerate(at):
                value = b.insert_element(value, sum_of(b, b.load(total)), INT(i))
            value = activated(b, b.fadd(value, first), mode.literal_value, slopes)
            store_part(b, value, out, p * out_step.literal_value, many)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 10, step, outputs, positions, out_step, mode), code


@intrinsic(prefer_literal=True)
def depthwise_cells(  # type: ignore[no-untyped-def]
    context, rows, shift, weights, target, step, out_step, stride, lanes, mode, many
):
    """A 3 x 3 convolution of each channel by itself: `many` neighbouring cells of up to LANES channels.

    rows     address of a table of three addresses, of the kernel's rows; `shift` floats are added to each.
    weights  (11, LANES): nine of the kernel, bias, slope.
    Constants: floats from a cell of the input, and of the output, to the next; the stride, channels, activation.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        table, factors, out = _table(b, args[0]), pointer(b, args[2]), pointer(b, args[3])
        count, wide = lanes.literal_value, stride.literal_value * step.literal_value
        sources = [b.gep(_row(b, table, i), [args[1]]) for i in range(3)]
        kernel = [load(b, factors, i * LANES) for i in range(11)]
        known: dict[tuple[int, int], Value] = {}

        def cell(row: int, floats: int) -> Value:
            if (row, floats) not in known:
                known[row, floats] = load_part(b, sources[row], floats, count)
            return known[row, floats]

        for p in range(many.literal_value):
            total = kernel[9]
            for i in range(3):
                for j in range(3):
                    total = fma(b, cell(i, p * wide + j * step.literal_value), kernel[3 * i + j], total)
            store_part(b, activated(b, total, mode.literal_value, kernel[10]), out, p * out_step.literal_value, count)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 4, step, out_step, stride, lanes, mode, many), code
