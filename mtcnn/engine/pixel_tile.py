"""LLVM code for PNet's first layer: a 3 x 3 convolution of pixels, PReLU and 2 x 2 max pooling.

The layer has 3 inputs and 10 outputs, which would leave lanes of wide vectors empty. So the lanes are neighbouring
cells of the pooled map: the four values of a cell are one of Winograd's tiles, see `winograd`, whose inputs are the
even and the odd columns of four rows of pixels.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .cells import INT, ZERO, pointer
from .packing import PAIR
from .registers import LANES, padded
from .tile import prelu
from .vectors import FLOAT, LONG, VECTOR, Builder, Value, fma, intrinsic, load, loop, splat, store
from .winograd_turns import turn_input, turn_output

__all__ = ["pooled_row", "shuffled", "split_pixels"]

BYTE = ir.IntType(8)


def shuffled(b: Builder, one: Value, other: Value, lanes: list[int]) -> Value:
    return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT, len(lanes)), lanes))


def _turned(b: Builder, rows: list[Value]) -> list[Value]:
    """The columns of LANES vectors of LANES floats."""
    step = LANES // 2
    while step:
        for i in (i for i in range(LANES) if not i & step):
            pair = rows[i], rows[i + step]
            upper = [k if not k & step else LANES + k - step for k in range(LANES)]
            lower = [k + step if not k & step else LANES + k for k in range(LANES)]
            rows[i], rows[i + step] = shuffled(b, *pair, upper), shuffled(b, *pair, lower)
        step //= 2
    return rows


@intrinsic(prefer_literal=True)
def split_pixels(context, source, middle, target, plane, real):  # type: ignore[no-untyped-def]
    """2 * LANES pixels, uint8 or float32, less `middle`, as floats: even columns of a colour and odd ones, and so on
    for the other colours, each `plane` floats after the one before."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        kind = FLOAT if real.literal_value else BYTE
        together = ir.VectorType(kind, 6 * LANES)
        place = b.inttoptr(args[0], together.as_pointer())
        pixels = b.load(place)
        pixels.align = 4 if real.literal_value else 1
        shift = splat(b, b.fptrunc(args[1], FLOAT))
        out = pointer(b, args[2])
        for colour in range(3):
            for odd in range(2):
                part = shuffled(b, pixels, pixels, [6 * i + 3 * odd + colour for i in range(LANES)])
                if not real.literal_value:
                    part = b.uitofp(part, VECTOR)
                store(b, b.fsub(part, shift), b.gep(out, [b.mul(args[3], LONG(2 * colour + odd))]), 0)
        return _context.get_dummy_value()

    return types.void(types.intp, types.float64, types.intp, types.intp, real), code


def _planes(b: Builder, rows: list[Value], plane: Value, work: Value) -> None:
    """Transform the inputs of LANES tiles: (column, row, colour, LANES) floats at `work`."""
    for colour in range(3):
        turned = []
        for row in rows:
            even, odd = (b.gep(row, [b.mul(plane, LONG(2 * colour + i))]) for i in range(2))
            turned.append(turn_input[2](b, [load(b, at, i) for i in range(2) for at in (even, odd)]))
        for j, column in enumerate(zip(*turned, strict=True)):
            for i, value in enumerate(turn_input[2](b, list(column))):
                store(b, value, work, ((4 * j + i) * 3 + colour) * LANES)


def _sums(b: Builder, work: Value, weights: Value) -> list[list[list[Value]]]:
    """The convolution of LANES tiles, [channel][row][column], for PAIR channels."""
    columns: list[list[list[Value]]] = [[] for _ in range(PAIR)]
    for j in range(4):
        products: list[list[Value]] = [[] for _ in range(PAIR)]
        for i in range(4):
            for colour in range(3):
                at = (4 * j + i) * 3 + colour
                value = load(b, work, at * LANES)
                for channel, made in enumerate(products):
                    weight = splat(b, b.load(b.gep(weights, [LONG(at * PAIR + channel)])))
                    if colour:
                        made[i] = fma(b, value, weight, made[i])
                    else:
                        made.append(b.fmul(value, weight))
        for channel, made in enumerate(products):
            columns[channel].append(turn_output[2](b, made))
    return [[turn_output[2](b, list(row)) for row in zip(*some, strict=True)] for some in columns]


def _pooled(b: Builder, values: list[list[Value]], right: Value, below: Value) -> Value:
    """The maximum of 2 x 2 values. right, below  which lanes have a neighbour there."""
    best = values[0][0]
    for value, inside in ((values[0][1], right), (values[1][0], below), (values[1][1], b.and_(right, below))):
        larger = b.select(b.fcmp_ordered(">", best, value), best, value)
        best = b.select(inside, larger, best)
    return best


@intrinsic(prefer_literal=True)
def pooled_row(context, one, two, three, four, plane, weights, target, columns, two_rows, work, channels):  # type: ignore[no-untyped-def]
    """A row of the pooled map, each cell of padded(channels) floats, to a whole number of vectors.

    one … four  addresses of rows of pixels, see `split_pixels`.
    weights     see `packing.pack_pixels`.
    columns     of the convolution. An odd last column, or a single row, is pooled by itself.
    work        address of scratch, 48 + padded(channels) vectors.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        many, room, size = channels.literal_value, pointer(b, args[9]), 50 * PAIR
        results = b.gep(room, [LONG(48 * LANES)])
        numbers = ir.VectorType(INT, LANES)
        below = b.icmp_signed("!=", splat(b, b.trunc(args[8], INT), numbers), ir.Constant(numbers, None))
        pairs = b.sdiv(args[7], LONG(2))

        def cells(index: Value) -> None:
            first = b.mul(index, LONG(LANES))
            _planes(b, [b.gep(pointer(b, row), [first]) for row in args[:4]], args[4], room)
            ends = splat(b, b.trunc(b.sub(pairs, first), INT), numbers)
            right = b.icmp_signed("<", ir.Constant(numbers, list(range(LANES))), ends)

            def pair(number: Value) -> None:
                used = b.gep(pointer(b, args[5]), [b.mul(number, LONG(size))])
                for channel, values in enumerate(_sums(b, room, used)):
                    bias, slope = (splat(b, b.load(b.gep(used, [LONG((48 + i) * PAIR + channel)]))) for i in range(2))
                    bent = [[prelu(b, b.fadd(value, bias), slope) for value in row] for row in values]
                    place = b.gep(results, [b.mul(number, LONG(PAIR * LANES))])
                    store(b, _pooled(b, bent, right, below), place, channel * LANES)

            loop(b, LONG(many // PAIR), pair)
            out = b.gep(pointer(b, args[6]), [b.mul(first, LONG(padded(many)))])
            for at in range(0, many, LANES):
                some = [load(b, results, (at + i) * LANES) if at + i < many else ZERO for i in range(LANES)]
                for cell, vector in enumerate(_turned(b, some)):
                    store(b, vector, out, cell * padded(many) + at)

        last = b.add(b.sdiv(b.add(args[7], LONG(1)), LONG(2)), LONG(LANES - 1))
        loop(b, b.sdiv(last, LONG(LANES)), cells)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 10, channels), code
