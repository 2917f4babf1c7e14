"""LLVM code for the steps of plans other than convolutions, see `cells`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .cells import INT, ZERO, activated, load_part, pointer, spans, store_part
from .registers import padded
from .vectors import FLOAT, LONG, VECTOR, Builder, Value, fma, intrinsic, load, loop, slot, store

__all__ = [
    "add_cells",
    "affine_cells",
    "call_step",
    "floats_of_bytes",
    "larger",
    "pool_cells",
    "square_root",
    "sum_cells",
]


def larger(b: Builder, one: Value, other: Value) -> Value:
    """The maximum; NaN if either is NaN, as in torch."""
    first = b.fcmp_unordered(">", one, other)  # also where either is NaN
    return b.select(b.fcmp_unordered("uno", other, other), other, b.select(first, one, other))


@intrinsic(prefer_literal=True)
def pool_cells(context, above, below, target, count, beside, step, out_step, channels):  # type: ignore[no-untyped-def]
    """2 x 2 max pooling of `count` cells. above, below  addresses of two rows.

    beside  floats from a cell to its right neighbour; 0 at the edge of the map, where there is none.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        rows, out = [pointer(b, args[0]), pointer(b, args[1])], pointer(b, args[2])

        def cell(index: Value) -> None:
            at = b.mul(index, LONG(2 * step.literal_value))
            places = [b.gep(row, [b.add(at, more)]) for row in rows for more in (LONG(0), args[4])]
            made = b.gep(out, [b.mul(index, LONG(out_step.literal_value))])
            for first, lanes in spans(channels.literal_value):
                four = [load_part(b, place, first, lanes) for place in places]
                top = larger(b, larger(b, four[0], four[1]), larger(b, four[2], four[3]))
                store_part(b, top, made, first, lanes)

        loop(b, args[3], cell)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 5, step, out_step, channels), code


@intrinsic(prefer_literal=True)
def add_cells(context, one, other, target, count, step, other_step, out_step, channels, twice, mode):  # type: ignore[no-untyped-def]
    """The sum of `count` cells of two rows, and its activation: LINEAR or RELU.

    twice  1 if `other` is a coarser map, each cell of which covers two; `count` is then that of its cells.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        first, second, out = (pointer(b, address) for address in args[:3])
        repeats = 1 + twice.literal_value

        def cell(index: Value) -> None:
            source = b.gep(second, [b.mul(index, LONG(other_step.literal_value))])
            for i in range(repeats):
                number = b.add(b.mul(index, LONG(repeats)), LONG(i))
                a = b.gep(first, [b.mul(number, LONG(step.literal_value))])
                made = b.gep(out, [b.mul(number, LONG(out_step.literal_value))])
                for at, lanes in spans(channels.literal_value):
                    total = b.fadd(load_part(b, a, at, lanes), load_part(b, source, at, lanes))
                    store_part(b, activated(b, total, mode.literal_value, ZERO), made, at, lanes)

        loop(b, args[3], cell)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 4, step, other_step, out_step, channels, twice, mode), code


@intrinsic(prefer_literal=True)
def affine_cells(context, source, factors, target, count, step, out_step, channels, mode):  # type: ignore[no-untyped-def]
    """scale * value + shift of each channel, and its activation. factors  (2, padded channels): scales, shifts."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        values, numbers, out = (pointer(b, address) for address in args[:3])
        size = padded(channels.literal_value)

        def cell(index: Value) -> None:
            here = b.gep(values, [b.mul(index, LONG(step.literal_value))])
            made = b.gep(out, [b.mul(index, LONG(out_step.literal_value))])
            for at, lanes in spans(channels.literal_value):
                scale, shift = load(b, numbers, at), load(b, numbers, size + at)
                value = fma(b, load_part(b, here, at, lanes), scale, shift)
                store_part(b, activated(b, value, mode.literal_value, ZERO), made, at, lanes)

        loop(b, args[3], cell)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 4, step, out_step, channels, mode), code


@intrinsic(prefer_literal=True)
def sum_cells(context, source, count, totals, step, channels):  # type: ignore[no-untyped-def]
    """Sums of values of `count` cells, and of their squares, for each channel, into `totals` (2, padded channels)."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        values, out = pointer(b, args[0]), pointer(b, args[2])
        size, parts = padded(channels.literal_value), spans(channels.literal_value)
        sums = [(slot(b, VECTOR), slot(b, VECTOR)) for _ in parts]
        for place in (place for pair in sums for place in pair):
            b.store(ZERO, place)

        def cell(index: Value) -> None:
            here = b.gep(values, [b.mul(index, LONG(step.literal_value))])
            for (at, lanes), (total, square) in zip(parts, sums, strict=True):
                value = load_part(b, here, at, lanes)
                b.store(b.fadd(b.load(total), value), total)
                b.store(fma(b, value, value, b.load(square)), square)

        loop(b, args[1], cell)
        for (at, _), (total, square) in zip(parts, sums, strict=True):
            store(b, b.load(total), out, at)
            store(b, b.load(square), out, size + at)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 3, step, channels), code


@intrinsic(prefer_literal=True)
def floats_of_bytes(context, source, target, count, width):  # type: ignore[no-untyped-def]
    """`count` times `width` bytes as floats."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        many = width.literal_value
        kind = ir.VectorType(ir.IntType(8), many)
        pixels, out = b.inttoptr(args[0], ir.IntType(8).as_pointer()), pointer(b, args[1])

        def convert(index: Value) -> None:
            at = b.mul(index, LONG(many))
            value = b.load(b.bitcast(b.gep(pixels, [at]), kind.as_pointer()))
            value.align = 1
            store(b, b.uitofp(value, ir.VectorType(FLOAT, many)), b.gep(out, [at]), 0)

        loop(b, args[2], convert)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 3, width), code


@intrinsic
def square_root(context, value):  # type: ignore[no-untyped-def]
    """The root of a float64, by one instruction: NumPy's is a function that is missing when the code is loaded."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        insert: Any = cgutils.get_or_insert_function
        double = ir.DoubleType()
        return b.call(insert(b.module, ir.FunctionType(double, [double]), "llvm.sqrt.f64"), args)

    return types.float64(types.float64), code


@intrinsic
def call_step(context, function, values):  # type: ignore[no-untyped-def]
    """Call the kernel at an address, which takes the address of its values."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        result, nothing = slot(b, LONG), slot(b, ir.IntType(8).as_pointer())
        kinds = [LONG.as_pointer(), ir.IntType(8).as_pointer().as_pointer(), LONG]
        function = b.inttoptr(args[0], ir.FunctionType(INT, kinds).as_pointer())
        b.call(function, [result, nothing, args[1]])
        return _context.get_dummy_value()

    return types.void(types.intp, types.intp), code
