"""The core of the compiled nets: a tile of a convolution, accumulated in registers.

Activations are (row, column, channel), so that the inputs of a kernel row are contiguous. A tile is a few neighbouring
positions times a few vectors of output channels; its sums stay in registers during one pass over the kernel. This is
the register blocking of Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication", section 4,
without packing the image, which does not pay off for small nets.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .registers import LANES, padded
from .vectors import (
    FLOAT,
    LONG,
    VECTOR,
    Builder,
    Value,
    fma,
    intrinsic,
    load,
    loop,
    slot,
    splat,
    store,
)

__all__ = [
    "conv_tile",
    "pool_tile",
    "prelu",
    "tile_sums",
]


def prelu(b: Builder, value: Value, slope: Value) -> Value:
    """PReLU of a vector."""
    return b.select(b.fcmp_ordered(">", value, ir.Constant(value.type, None)), value, b.fmul(value, slope))


def _larger(b: Builder, one: Value, other: Value) -> Value:
    return b.select(b.fcmp_ordered(">", one, other), one, other)


def tile_sums(b: Builder, args: Any, vectors: int, offsets: list[Value]) -> list[list[Value]]:
    """The sums of a tile as stack slots, [position][vector]; `offsets` are those of its positions, in floats.

    args  the first arguments of `conv_tile`; without bias (None) sums start at zero.
    """
    source, row_stride, rows, run, weights, bias = args
    pointer = FLOAT.as_pointer()
    source, weights = (b.inttoptr(address, pointer) for address in (source, weights))
    sums = [[slot(b, VECTOR) for _ in range(vectors)] for _ in offsets]
    for i in range(vectors):
        start = ir.Constant(VECTOR, None) if bias is None else load(b, b.inttoptr(bias, pointer), i * LANES)
        for at in sums:
            b.store(start, at[i])

    def kernel_row(row: Value) -> None:
        image = b.gep(source, [b.mul(row, row_stride)])
        used = b.gep(weights, [b.mul(b.mul(row, run), LONG(vectors * LANES))])

        def step(k: Value) -> None:
            here = b.gep(image, [k])
            of_step = b.gep(used, [b.mul(k, LONG(vectors * LANES))])
            factors = [load(b, of_step, i * LANES) for i in range(vectors)]
            for at, offset in zip(sums, offsets, strict=True):
                number = splat(b, b.load(b.gep(here, [offset])))
                for total, factor in zip(at, factors, strict=True):
                    b.store(fma(b, number, factor, b.load(total)), total)

        loop(b, run, step)

    loop(b, rows, kernel_row)
    return sums


ADDRESSES = (types.intp,) * 8


@intrinsic(prefer_literal=True)
def conv_tile(context, source, row_stride, rows, run, weights, bias, slope, target, step, vectors, positions, out_step):  # type: ignore[no-untyped-def]
    """Convolution, bias and PReLU of one tile.

    source      address of the first input of the first position; the next position is `step` floats further.
    row_stride  floats from one row of the kernel to the next.  rows, run  of the kernel: rows, and floats in a row.
    weights     (rows * run, vectors * LANES) floats; bias, slope (vectors * LANES).
    target      address of the first position's outputs; the next are `out_step` floats further. Positions are written
                in order, so that padding lanes are overwritten by the next position.

    The last four are constants of the compiled code. Addresses are integers.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        count, many = vectors.literal_value, positions.literal_value
        sums = tile_sums(b, args[:6], count, [LONG(p * step.literal_value) for p in range(many)])
        slopes, out = (b.inttoptr(address, FLOAT.as_pointer()) for address in args[6:8])
        bent = [load(b, slopes, i * LANES) for i in range(count)]
        for p in range(many):
            for i in range(count):
                store(b, prelu(b, b.load(sums[p][i]), bent[i]), out, p * out_step.literal_value + i * LANES)
        return _context.get_dummy_value()

    return types.void(*ADDRESSES, step, vectors, positions, out_step), code


@intrinsic(prefer_literal=True)
def pool_tile(context, source, row_stride, rows, columns, target, channels):  # type: ignore[no-untyped-def]
    """Maximum over rows x columns positions, for each of `channels` and the padding lanes after them."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        source, row_stride, rows, columns, target = args[:5]
        source, target = (b.inttoptr(address, FLOAT.as_pointer()) for address in (source, target))
        count = channels.literal_value
        best = [slot(b, VECTOR) for _ in range(padded(count) // LANES)]
        for i, largest in enumerate(best):
            b.store(load(b, source, i * LANES), largest)

        def window_row(row: Value) -> None:
            line = b.gep(source, [b.mul(row, row_stride)])

            def position(column: Value) -> None:
                here = b.gep(line, [b.mul(column, LONG(count))])
                for i, largest in enumerate(best):
                    b.store(_larger(b, b.load(largest), load(b, here, i * LANES)), largest)

            loop(b, columns, position)

        loop(b, rows, window_row)
        for i, largest in enumerate(best):
            store(b, b.load(largest), target, i * LANES)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 5, channels), code
