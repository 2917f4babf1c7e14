"""LLVM code for AMX, the matrix unit of some Intel processors: products of tiles in bfloat16, summed in float32.

A tile is 16 rows of 64 bytes. A product takes a tile of 16 cells by up to 32 inputs, and one of these inputs by 16
outputs, in pairs of inputs; its 16 x 16 sums are another tile. Two tiles of cells and two of outputs make four of sums.
Source: Intel's Architecture Instruction Set Extensions Programming Reference, chapter 3.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .cells import INT, ZERO, activated, pointer
from .registers import LANES
from .steps import SLOPES
from .vectors import LONG, VECTOR, Builder, Value, intrinsic, load, loop, slot

__all__ = [
    "PART_BYTES",
    "TILE_ROW",
    "Bfloat",
    "activated_rows",
    "begin_tiles",
    "end_tiles",
    "rounded_cell",
    "sum_tiles",
]

BYTES = ir.IntType(8).as_pointer()
HALVES = ir.VectorType(ir.IntType(16), LANES)
NUMBERS = ir.VectorType(INT, LANES)
CELLS, FACTORS = (4, 5), (6, 7)  # tiles; those of sums are 0 to 3
TILE_ROW = 64  # bytes
PART_BYTES = 16 * TILE_ROW  # of the weights of a part of a product: a tile, whose last rows may not be used


class Bfloat(ir.Type):  # type: ignore[misc]  # llvmlite has no types
    """The type that llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bfloat)

    def __hash__(self) -> int:
        return hash(Bfloat)


def _call(b: Builder, name: str, result: Value, *values: Value) -> Value:
    insert: Any = cgutils.get_or_insert_function
    return b.call(insert(b.module, ir.FunctionType(result, [value.type for value in values]), name), values)


def _tile(b: Builder, name: str, *values: Value | int) -> None:
    """An instruction for tiles, whose numbers are constants."""
    kinds = [ir.IntType(8)(value) if isinstance(value, int) else value for value in values]
    _call(b, f"llvm.x86.{name}", ir.VoidType(), *kinds)


def _bytes(b: Builder, address: Value) -> Value:
    return b.inttoptr(address, BYTES)


def _first_lanes(b: Builder, count: Value) -> Value:
    """The mask of the first `count` lanes."""
    one = b.insert_element(ir.Constant(NUMBERS, ir.Undefined), b.trunc(count, INT), INT(0))
    limit = b.shuffle_vector(one, one, ir.Constant(NUMBERS, [0] * LANES))
    return b.icmp_signed("<", ir.Constant(NUMBERS, [*range(LANES)]), limit)


@intrinsic
def begin_tiles(context, shape):  # type: ignore[no-untyped-def]
    """Set the tiles up. shape  address of a description, see `amx.tile_shapes`."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        _tile(b, "ldtilecfg", _bytes(b, args[0]))
        return _context.get_dummy_value()

    return types.void(types.intp), code


@intrinsic
def end_tiles(context, shape):  # type: ignore[no-untyped-def]
    """Release the tiles, so that the system need not save them."""

    def code(_context: Any, b: Builder, _signature: Any, _args: Any) -> Value:
        _tile(b, "tilerelease")
        return _context.get_dummy_value()

    return types.void(types.intp), code


@intrinsic
def rounded_cell(context, source, count, target):  # type: ignore[no-untyped-def]
    """`count` floats in bfloat16, to the nearest, ties to even; and zeros up to a whole vector, and one more."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        values, out = pointer(b, args[0]), _bytes(b, args[2])
        whole = b.ashr(args[1], LONG(LANES.bit_length() - 1))

        def put(value: Value, first: Value) -> None:
            made = b.bitcast(b.fptrunc(value, ir.VectorType(Bfloat(), LANES)), HALVES)
            b.store(made, b.bitcast(b.gep(out, [b.mul(first, LONG(2))]), HALVES.as_pointer())).align = 2

        def part(index: Value) -> None:
            first = b.mul(index, LONG(LANES))
            put(load(b, values, first), first)

        with b.if_then(b.icmp_signed(">", whole, LONG(0))):
            loop(b, whole, part)
        first = b.mul(whole, LONG(LANES))
        place = b.bitcast(b.gep(values, [first]), VECTOR.as_pointer())
        used = _first_lanes(b, b.sub(args[1], first))
        put(_call(b, f"llvm.masked.load.v{LANES}f32.p0", VECTOR, place, INT(4), used, ZERO), first)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 3), code


@intrinsic(prefer_literal=True)
def sum_tiles(  # type: ignore[no-untyped-def]
    context,
    cells,
    second,
    step,
    rows,
    row,
    taps,
    tap,
    parts,
    part,
    weights,
    block,
    bias,
    target,
    line,
    column,
    out_row,
    count,
    many,
    blocks,
):
    """The sums of one or two tiles of cells by one or two of outputs.

    cells    address of the inputs of the first cell, in bfloat16; the second tile begins `second` bytes further.
    step     bytes from a cell to the next.
    rows, taps, parts  the nested loops of a product; row, tap, part  bytes from one to the next.
    weights  (rows, taps, parts, pairs, 16, 2) in bfloat16; of the next outputs `block` bytes further. bias  (16,) each.
    target   address of the sums; bytes to those of the second tile of cells, of outputs, and from a row to the next.
    count    cells that are asked for; the second tile ends with the last of them.

    The last two are constants.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        first, second, step, rows, row, taps, tap, parts, part, weights, block, bias, target, *steps, _ = args[:17]
        lines, columns = range(many.literal_value), range(blocks.literal_value)
        used = slot(b, LONG)
        b.store(weights, used)
        for column in columns:
            start = _bytes(b, b.add(bias, LONG(TILE_ROW * column)))
            for line in lines:
                _tile(b, "tileloadd64", 2 * line + column, start, LONG(0))

        def of_row(i: Value) -> None:
            def of_tap(j: Value) -> None:
                at = b.add(first, b.add(b.mul(i, row), b.mul(j, tap)))

                def of_part(k: Value) -> None:
                    here, factors = b.add(at, b.mul(k, part)), b.load(used)
                    b.store(b.add(factors, LONG(PART_BYTES)), used)
                    for line in lines:
                        place = b.add(here, second) if line else here
                        _tile(b, "tileloadd64", CELLS[line], _bytes(b, place), step)
                    for column in columns:
                        place = b.add(factors, block) if column else factors
                        _tile(b, "tileloadd64", FACTORS[column], _bytes(b, place), LONG(TILE_ROW))
                    for line in lines:
                        for column in columns:
                            _tile(b, "tdpbf16ps", 2 * line + column, CELLS[line], FACTORS[column])

                loop(b, parts, of_part)

            loop(b, taps, of_tap)

        loop(b, rows, of_row)
        for line in lines:
            for column in columns:
                place = b.add(target, b.add(b.mul(steps[0], LONG(line)), b.mul(steps[1], LONG(column))))
                _tile(b, "tilestored64", 2 * line + column, _bytes(b, place), steps[2])
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 17, many, blocks), code


@intrinsic(prefer_literal=True)
def activated_rows(context, source, count, slope, target, step, outputs, mode):  # type: ignore[no-untyped-def]
    """`count` rows of a stored tile with an activation, a constant: the first `outputs` floats of each, `step` bytes
    apart."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        values, out = pointer(b, args[0]), _bytes(b, args[3])
        used = _first_lanes(b, args[5])
        bent = load(b, pointer(b, args[2]), 0) if mode.literal_value == SLOPES else ZERO

        def row(index: Value) -> None:
            value = load(b, values, b.mul(index, LONG(LANES)))
            value = activated(b, value, mode.literal_value, bent)
            place = b.bitcast(b.gep(out, [b.mul(index, args[4])]), VECTOR.as_pointer())
            _call(b, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), value, place, INT(4), used)

        loop(b, args[1], row)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 6, mode), code
