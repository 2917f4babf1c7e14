"""LLVM code for the end of PNet: the outputs of a tile of Winograd's, and the logits of its cells."""

from __future__ import annotations

from typing import Any

from numba import types

from .cells import ZERO, activated, pointer
from .pixel_tile import shuffled
from .registers import LANES
from .steps import SLOPES
from .vectors import LONG, Builder, Value, fma, intrinsic, load, store
from .winograd import WinogradShape, map_tiles, moved
from .winograd_turns import both_ways, turn_output

__all__ = ["scored_winograd"]


def _totals(b: Builder, vectors: list[Value]) -> Value:
    """The sums over the lanes of LANES vectors, in a vector: halves are added until they are single lanes."""
    group = LANES
    while group > 1:
        starts, half = range(0, 2 * LANES, group), group // 2
        first, second = ([start + at + i for start in starts for i in range(half)] for at in (0, half))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [b.fadd(shuffled(b, *pair, first), shuffled(b, *pair, second)) for pair in pairs]
        group = half
    return vectors[0]


def _scored(
    b: Builder, shape: WinogradShape, values: tuple[Value, ...], out: Value, logits: Value, line: Value
) -> None:
    """The outputs of a tile, and its logits, whose rows are `line` bytes apart. values  addresses of the first plane of
    products, of bias and slope, and of the weights of the logit."""
    tile, outputs, side = shape.tile, shape.outputs, shape.tile + 2
    planes, more, bent, factors = (pointer(b, value) for value in values)
    scores: list[Value] = [ZERO] * tile**2
    for at in range(0, outputs, LANES):
        added, slopes, factor = (load(b, place, at) for place in (more, bent, factors))
        table = [[load(b, planes, (side * i + j) * shape.out_plane + at) for j in range(side)] for i in range(side)]
        for i, row in enumerate(both_ways(b, turn_output[tile], table)):
            for j, value in enumerate(row):
                number = tile * i + j
                result = activated(b, b.fadd(value, added), SLOPES, slopes)
                store(b, result, out, number * outputs + at)
                scores[number] = fma(b, result, factor, scores[number])
    for first in range(0, tile**2, LANES):
        totals = _totals(b, (scores[first : first + LANES] + [ZERO] * LANES)[:LANES])
        for y in range(first // tile, min(first + LANES, tile**2) // tile):
            part = shuffled(b, totals, totals, [y * tile - first + j for j in range(tile)])
            store(b, part, pointer(b, b.add(logits, b.mul(line, LONG(y)))), 0)


def scored_winograd(inputs: int, outputs: int, usual: int, tile: int) -> Any:
    """As `winograd.winograd`, into (tiles, tile * tile, outputs), with the logits (rows, columns) of all cells.

    head     address of the weights (outputs,) of the logit; logits lack the bias.
    rows, wide  of tiles.
    """
    shape = WinogradShape(inputs, outputs, usual, tile, inputs)

    @intrinsic
    def run(context, source, row_stride, weights, bias, slope, head, target, logits, rows, wide, work):  # type: ignore[no-untyped-def]
        def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
            source, row_stride, weights, bias, slope, head, target, logits, rows, wide, work = args
            line = moved(b, LONG(0), wide, tile)

            def finish(made: Value, number: Value, i: Value, j: Value) -> None:
                at = moved(b, b.add(logits, b.mul(b.mul(i, line), LONG(tile))), j, tile)
                out = pointer(b, moved(b, target, number, tile**2 * outputs))
                _scored(b, shape, (made, bias, slope, head), out, at, line)

            map_tiles(b, shape, (source, moved(b, LONG(0), row_stride), weights, rows, wide, work), finish)
            return _context.get_dummy_value()

        return types.void(*(types.intp,) * 11), code

    return run
