"""LLVM code for the first layers: a 3 x 3 convolution of pixels, PReLU and max pooling.

With 3 inputs and 10 outputs, as in PNet, lanes of wide vectors would be empty if they were channels. So they are
neighbouring cells of the pooled map, CELLS of them: four values of a cell are one of Winograd's tiles, see `winograd`,
whose inputs are the even and the odd columns of four rows of pixels.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .cells import INT, ZERO, pointer
from .packing import PAIR, crop_plane
from .registers import CELLS, LANES, REGISTERS, padded
from .tile import prelu
from .vectors import FLOAT, LONG, Builder, Value, fma, intrinsic, load, loop, splat, store
from .winograd_turns import turn_input

__all__ = ["pooled_crop", "pooled_row", "shuffled", "split_pixels"]

BYTE = ir.IntType(8)
MANY = ir.VectorType(FLOAT, CELLS)  # may be two registers


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
def split_pixels(context, source, middle, target, plane, pairs, real):  # type: ignore[no-untyped-def]
    """2 * pairs pixels, uint8 or float32, less `middle`, as floats: even columns of a colour and odd ones, and so on
    for the other colours, each `plane` floats after the one before."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        kind, count = FLOAT if real.literal_value else BYTE, pairs.literal_value
        floats = ir.VectorType(FLOAT, count)
        pixels = b.load(b.inttoptr(args[0], ir.VectorType(kind, 6 * count).as_pointer()))
        pixels.align = 4 if real.literal_value else 1
        shift = splat(b, b.fptrunc(args[1], FLOAT), floats)
        out = pointer(b, args[2])
        for colour in range(3):
            for odd in range(2):
                part = shuffled(b, pixels, pixels, [6 * i + 3 * odd + colour for i in range(count)])
                if not real.literal_value:
                    part = b.uitofp(part, floats)
                store(b, b.fsub(part, shift), b.gep(out, [b.mul(args[3], LONG(2 * colour + odd))]), 0)
        return _context.get_dummy_value()

    return types.void(types.intp, types.float64, types.intp, types.intp, pairs, real), code


def computed(b: Builder, value: Value) -> Value:
    """The same value, which LLVM has to compute here: it puts sums off, until their parts are in registers no more."""
    if REGISTERS > 16:
        return value
    parts = [shuffled(b, value, value, list(range(at, at + LANES))) for at in range(0, CELLS, LANES)]
    kept = [b.asm(ir.FunctionType(part.type, [part.type]), "", "=x,0", [part], True) for part in parts]
    return kept[0] if len(kept) == 1 else shuffled(b, kept[0], kept[1], list(range(CELLS)))


def _planes(b: Builder, rows: list[Value], plane: Value, work: Value) -> None:
    """Transform the inputs of CELLS tiles: (column, row, colour, CELLS) floats at `work`."""
    for colour in range(3):
        turned = []
        for row in rows:
            even, odd = (b.gep(row, [b.mul(plane, LONG(2 * colour + i))]) for i in range(2))
            turned.append(turn_input[2](b, [load(b, at, i, MANY) for i in range(2) for at in (even, odd)]))
        for j, column in enumerate(zip(*turned, strict=True)):
            for i, value in enumerate(turn_input[2](b, list(column))):
                store(b, value, work, ((4 * j + i) * 3 + colour) * CELLS)


def _sums(b: Builder, work: Value, weights: Value) -> list[list[list[Value]]]:
    """The convolution of CELLS tiles, [channel][row][column], for PAIR channels.

    As `winograd_turns.turn_output` of both ways, but each product is added at once to the sums that it is a part of, so
    that few are in registers at a time.
    """
    found: list[list[list[Value]]] = [[[], []] for _ in range(PAIR)]
    for j in range(4):
        columns: list[list[Value]] = [[] for _ in range(PAIR)]
        for i in range(4):
            made: list[Value] = []
            for colour in range(3):
                at = (4 * j + i) * 3 + colour
                value = load(b, work, at * CELLS, MANY)
                for channel in range(PAIR):
                    weight = splat(b, b.load(b.gep(weights, [LONG(at * PAIR + channel)])), MANY)
                    if colour:
                        made[channel] = fma(b, value, weight, made[channel])
                    else:
                        made.append(b.fmul(value, weight))
            for sums, product in zip(columns, made, strict=True):
                _add_product(b, sums, product, i)
                sums[:] = [computed(b, value) for value in sums]
        for table, sums in zip(found, columns, strict=True):
            for row, value in zip(table, sums, strict=True):
                _add_product(b, row, value, j)
    return found


def _add_product(b: Builder, sums: list[Value], product: Value, number: int) -> None:
    """Add product `number` of four, in order, to the two sums of `winograd_turns.turn_output`."""
    if number == 0:
        sums.append(product)
    elif number == 1:
        sums[:] = [b.fadd(sums[0], product), product]
    elif number == 2:
        sums[:] = [b.fadd(sums[0], product), b.fsub(sums[1], product)]
    else:
        sums[1] = b.fadd(sums[1], product)


def _activated(b: Builder, work: Value, weights: Value, number: Value) -> list[list[list[Value]]]:
    """As `_sums`, with bias and PReLU, for pair `number` of channels; weights  of all."""
    used = b.gep(weights, [b.mul(number, LONG(50 * PAIR))])
    found = []
    for channel, values in enumerate(_sums(b, work, used)):
        bias, slope = (splat(b, b.load(b.gep(used, [LONG((48 + i) * PAIR + channel)])), MANY) for i in range(2))
        found.append([[prelu(b, b.fadd(value, bias), slope) for value in row] for row in values])
    return found


def _store_cells(b: Builder, results: Value, out: Value, channels: int) -> None:
    """Results (channels, CELLS) as CELLS cells of padded(channels) floats."""
    for first in range(0, CELLS, LANES):
        blocks = []
        for at in range(0, channels, LANES):
            count = min(LANES, channels - at)
            some = [load(b, results, (at + i) * CELLS + first) if i < count else ZERO for i in range(LANES)]
            blocks.append(_turned(b, some))
        for cell in range(LANES):
            for block, vectors in enumerate(blocks):
                store(b, vectors[cell], out, (first + cell) * padded(channels) + block * LANES)


def _larger(b: Builder, one: Value, other: Value) -> Value:
    return b.select(b.fcmp_ordered(">", one, other), one, other)


def _pooled(b: Builder, values: list[list[Value]], right: Value, below: Value) -> Value:
    """The maximum of 2 x 2 values. right, below  which lanes have a neighbour there."""
    best = values[0][0]
    for value, inside in ((values[0][1], right), (values[1][0], below), (values[1][1], b.and_(right, below))):
        best = b.select(inside, _larger(b, best, value), best)
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
        many, room = channels.literal_value, pointer(b, args[9])
        results = b.gep(room, [LONG(48 * CELLS)])
        numbers = ir.VectorType(INT, CELLS)
        below = b.icmp_signed("!=", splat(b, b.trunc(args[8], INT), numbers), ir.Constant(numbers, None))
        pairs = b.sdiv(args[7], LONG(2))

        def cells(index: Value) -> None:
            first = b.mul(index, LONG(CELLS))
            _planes(b, [b.gep(pointer(b, row), [first]) for row in args[:4]], args[4], room)
            ends = splat(b, b.trunc(b.sub(pairs, first), INT), numbers)
            right = b.icmp_signed("<", ir.Constant(numbers, list(range(CELLS))), ends)

            def pair(number: Value) -> None:
                place = b.gep(results, [b.mul(number, LONG(PAIR * CELLS))])
                for channel, values in enumerate(_activated(b, room, pointer(b, args[5]), number)):
                    store(b, _pooled(b, values, right, below), place, channel * CELLS)

            loop(b, LONG(many // PAIR), pair)
            _store_cells(b, results, b.gep(pointer(b, args[6]), [b.mul(first, LONG(padded(many)))]), many)

        last = b.add(b.sdiv(b.add(args[7], LONG(1)), LONG(2)), LONG(CELLS - 1))
        loop(b, b.sdiv(last, LONG(CELLS)), cells)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 10, channels), code


@intrinsic(prefer_literal=True)
def pooled_crop(context, pixels, weights, best, target, work, side, channels):  # type: ignore[no-untyped-def]
    """The first layer of RNet and ONet: a 3 x 3 convolution of a square crop, PReLU, and 3 x 3 max pooling of every
    second row and column: (side / 2 - 1, side / 2, padded(channels)), without the last column.

    Cells are numbered row by row, side / 2 to a row, and lanes are neighbouring numbers. A cell of the pooled map is
    the maximum of a tile of 2 x 2, of the left half of the tile to its right, and of the upper half of that below.

    pixels  address of planes (2, 3, 2, CROP_PLANE): by rows' and columns' being odd, see `split_pixels`.
    weights see `packing.pack_pixels`.    best  address of scratch (channels, CROP_PLANE).
    target  address of the map. side / 2 cells before it, and 2 * CELLS behind it, are written, too.
    work    address of scratch, 48 + padded(channels) vectors.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        half, many, plane = side.literal_value // 2, channels.literal_value, crop_plane(side.literal_value)
        table, room, kept, out = (pointer(b, args[i]) for i in (0, 4, 2, 3))
        results = b.gep(room, [LONG(48 * CELLS)])
        numbers = ir.VectorType(INT, CELLS)
        next_lane = [min(i + 1, CELLS - 1) for i in range(CELLS)]

        def constant(value: int) -> Value:
            return ir.Constant(numbers, [value] * CELLS)

        def cells(index: Value) -> None:
            first = b.mul(index, LONG(CELLS - 1))  # the last lane lacks its neighbour
            rows = [b.gep(table, [b.add(first, LONG(r % 2 * 6 * plane + r // 2 * half))]) for r in range(4)]
            _planes(b, rows, LONG(plane), room)
            cell = b.add(splat(b, b.trunc(first, INT), numbers), ir.Constant(numbers, list(range(CELLS))))
            right = b.icmp_unsigned("<", b.urem(cell, constant(half)), constant(half - 2))
            below = b.icmp_unsigned("<", cell, constant((half - 1) * half))

            def pair(number: Value) -> None:
                for channel, values in enumerate(_activated(b, room, pointer(b, args[1]), number)):
                    lines = []
                    for left, beside in values:
                        more = shuffled(b, left, left, next_lane)
                        line = _larger(b, left, beside)
                        lines.append(b.select(right, _larger(b, line, more), line))
                    of_channel = b.add(b.mul(number, LONG(PAIR)), LONG(channel))
                    place = b.gep(kept, [b.add(first, b.mul(of_channel, LONG(plane)))])
                    store(b, _larger(b, *lines), place, half)
                    above = load(b, place, 0, MANY)  # of the cells a row before, for which these are below
                    top = b.select(below, _larger(b, above, lines[0]), above)
                    store(b, top, b.gep(results, [b.mul(of_channel, LONG(CELLS))]), 0)

            loop(b, LONG(many // PAIR), pair)
            _store_cells(b, results, b.gep(out, [b.mul(b.sub(first, LONG(half)), LONG(padded(many)))]), many)

        loop(b, LONG(-(-half * half // (CELLS - 1))), cells)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 5, side, channels), code
