"""LLVM code for the products of AVX-512 in bfloat16, summed in float32: what `amx_cells.sum_tiles` does, without AMX.

An instruction multiplies the pair of inputs of a cell, in all lanes, by one pair of factors for each of 16 outputs.
Source: Intel's Architecture Instruction Set Extensions Programming Reference, VDPBF16PS; AMD has it since Zen 4.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .amx_cells import PART_BYTES, TILE_ROW, Bfloat
from .cells import INT, pointer
from .registers import LANES
from .vectors import LONG, VECTOR, Builder, Value, intrinsic, load, loop, slot, splat, store

__all__ = ["TOGETHER", "no_tiles", "sum_pairs"]

PAIRS = ir.VectorType(INT, LANES)
HALVES = ir.VectorType(Bfloat(), 2 * LANES)
TILE = 16  # cells
TOGETHER = 8  # cells whose sums are in registers: enough to hide the latency of an addition, and room for two blocks
NAME = "llvm.x86.avx512bf16.dpbf16ps.512"


def _multiplied(b: Builder, total: Value, cell: Value, factors: Value) -> Value:
    insert: Any = cgutils.get_or_insert_function
    function = insert(b.module, ir.FunctionType(VECTOR, [VECTOR, HALVES, HALVES]), NAME)
    return b.call(function, [total, b.bitcast(cell, HALVES), factors])


@intrinsic
def no_tiles(context, shape):  # type: ignore[no-untyped-def]
    """Nothing to set up."""

    def code(_context: Any, _b: Builder, _signature: Any, _args: Any) -> Value:
        return _context.get_dummy_value()

    return types.void(types.intp), code


@intrinsic(prefer_literal=True)
def sum_pairs(  # type: ignore[no-untyped-def]
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
    """As `amx_cells.sum_tiles`, whose arguments it has. Of tiles that have more cells than are asked for, or overlap,
    it computes only what is missing."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        first, second, step, rows, row, taps, tap, parts, part, weights, block, bias, target, *steps, count = args[:17]
        columns = range(blocks.literal_value)
        pairs = b.ashr(part, LONG(2))
        used = slot(b, LONG)
        sums = [[slot(b, VECTOR) for _ in columns] for _ in range(TOGETHER)]

        def group(cells: Value, out: Value) -> None:
            """`TOGETHER` cells, the first at the address `cells`; their sums go to `out`."""
            b.store(weights, used)
            for totals in sums:
                for column, total in enumerate(totals):
                    b.store(load(b, pointer(b, bias), column * LANES), total)

            def of_row(i: Value) -> None:
                def of_tap(j: Value) -> None:
                    at = b.add(cells, b.add(b.mul(i, row), b.mul(j, tap)))

                    def of_part(k: Value) -> None:
                        here, of_these = b.add(at, b.mul(k, part)), b.load(used)
                        b.store(b.add(of_these, LONG(PART_BYTES)), used)

                        def of_pair(p: Value) -> None:
                            place = b.add(of_these, b.mul(p, LONG(TILE_ROW)))
                            places = [b.add(place, block) if column else place for column in columns]
                            factors = [b.bitcast(load(b, pointer(b, each), 0), HALVES) for each in places]
                            cell = b.add(here, b.mul(p, LONG(4)))
                            for totals in sums:
                                number = b.load(b.inttoptr(cell, INT.as_pointer()))
                                number.align = 2
                                both = splat(b, number, PAIRS)
                                for total, factor in zip(totals, factors, strict=True):
                                    b.store(_multiplied(b, b.load(total), both, factor), total)
                                cell = b.add(cell, step)

                        loop(b, pairs, of_pair)

                    loop(b, parts, of_part)

                loop(b, taps, of_tap)

            loop(b, rows, of_row)
            for totals in sums:
                for column, total in enumerate(totals):
                    place = b.add(out, b.mul(steps[1], LONG(column)))
                    store(b, b.load(total), pointer(b, place), 0)
                out = b.add(out, steps[2])

        for i in range(many.literal_value):
            cells = b.add(first, second) if i else first
            out = b.add(target, b.mul(steps[0], LONG(i)))

            left = b.sub(count, LONG(TILE * i))
            for done in range(0, TILE, TOGETHER):
                # The second tile ends with the last cell, so that its first groups may be those of the first tile.
                wanted = b.icmp_signed(">", left, LONG(TILE - TOGETHER - done if i else done))
                with b.if_then(wanted):
                    further = LONG(done)
                    group(b.add(cells, b.mul(further, step)), b.add(out, b.mul(further, steps[2])))
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 17, many, blocks), code
