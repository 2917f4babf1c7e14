"""3 x 3 convolutions with 16 multiplications instead of 36.

A tile of 2 x 2 outputs needs 4 x 4 inputs. Inputs, kernel and outputs are transformed by small matrices of additions;
in between are 16 products, summed over the channels, where a direct convolution has 4 times 9.
Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1, F(2 x 2, 3 x 3).
"""

from __future__ import annotations

from typing import Any

from numba import types

from .cells import activated, load_part, pointer, spans, store_part
from .compiling import inner
from .packing import FLOAT_BYTES, SLACK, TILES
from .registers import LANES, tile_shape
from .steps import SLOPES
from .tile import product_tile
from .vectors import LONG, Builder, Value, intrinsic, load, store

__all__ = ["products", "turned_in", "turned_out", "winograd"]


def _turn_input(b: Builder, four: list[Value]) -> list[Value]:
    """The paper's B^T."""
    return [b.fsub(four[0], four[2]), b.fadd(four[1], four[2]), b.fsub(four[2], four[1]), b.fsub(four[1], four[3])]


def _turn_output(b: Builder, four: list[Value]) -> list[Value]:
    """The paper's A^T."""
    return [b.fadd(b.fadd(four[0], four[1]), four[2]), b.fsub(b.fsub(four[1], four[2]), four[3])]


def _both_ways(b: Builder, turn: Any, table: list[list[Value]]) -> list[list[Value]]:
    """turn(table) turn^T: along the columns, then along the rows."""
    columns = [turn(b, list(column)) for column in zip(*table, strict=True)]
    return [turn(b, list(row)) for row in zip(*columns, strict=True)]


@intrinsic(prefer_literal=True)
def turned_in(context, one, two, three, four, target, plane, channels, step):  # type: ignore[no-untyped-def]
    """Transform 4 x 4 inputs into 16 planes `plane` floats apart, from `target` on.

    one … four  addresses of the first inputs of four rows; the next ones are `step` floats further.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        *rows, out = (pointer(b, address) for address in args[:5])
        planes = [b.gep(out, [b.mul(args[5], LONG(i))]) for i in range(16)]
        for at, lanes in spans(channels.literal_value):
            four = [[load_part(b, row, j * step.literal_value + at, lanes) for j in range(4)] for row in rows]
            for i, row in enumerate(_both_ways(b, _turn_input, four)):
                for j, value in enumerate(row):
                    store(b, value, planes[4 * i + j], at)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 6, channels, step), code


@intrinsic(prefer_literal=True)
def turned_out(context, source, plane, bias, slope, above, below, beside, channels, mode):  # type: ignore[no-untyped-def]
    """Transform 16 planes at `source` back, with bias and activation, to 2 x 2 outputs.

    above, below  addresses of the first outputs of two rows.    beside  floats to the second.

    Where two of these are the same place, the first row and the first column stay.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        planes, more, bent = (pointer(b, args[i]) for i in (0, 2, 3))
        rows = [[out, b.gep(out, [args[6]])] for out in (pointer(b, args[4]), pointer(b, args[5]))]
        sources = [[b.gep(planes, [b.mul(args[1], LONG(4 * i + j))]) for j in range(4)] for i in range(4)]
        for at, lanes in spans(channels.literal_value):
            four = [[load(b, place, at) for place in line] for line in sources]
            added, slopes = load(b, more, at), load(b, bent, at)
            values = _both_ways(b, _turn_output, four)
            for i in (1, 0):
                for j in (1, 0):
                    value = activated(b, b.fadd(values[i][j], added), mode.literal_value, slopes)
                    store_part(b, value, rows[i][j], at, lanes)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 7, channels, mode), code


def products(inputs: int, outputs: int, usual: int) -> tuple[Any, int, int]:
    """The products of up to TILES tiles: a function of the address of their 16 planes, of the weights, of the 16 planes
    of results, and the number of tiles; and the floats from one plane to the next, of inputs and of outputs.

    inputs, outputs  channels; `outputs` fills whole vectors.    usual  typical number of tiles of a map, at most TILES.
    """
    assert outputs % LANES == 0
    vectors, positions = tile_shape(outputs, usual)
    blocks, lanes = outputs // LANES // vectors, vectors * LANES
    in_plane, out_plane = TILES * inputs + SLACK, TILES * outputs + SLACK

    @inner()
    def run(work, weights, products, count):  # type: ignore[no-untyped-def]
        for plane in range(16):
            planes = work + FLOAT_BYTES * plane * in_plane
            for block in range(blocks):
                used = weights + FLOAT_BYTES * (plane * blocks + block) * inputs * lanes
                made = products + FLOAT_BYTES * (plane * out_plane + block * lanes)
                for at in range(0, count if count >= positions else 0, positions):
                    t = min(at, count - positions)
                    product_tile(planes + FLOAT_BYTES * t * inputs, inputs, used,
                                 made + FLOAT_BYTES * t * outputs, vectors, positions, inputs, outputs)  # fmt: skip
                for t in range(count if count < positions else 0):
                    product_tile(planes + FLOAT_BYTES * t * inputs, inputs, used,
                                 made + FLOAT_BYTES * t * outputs, vectors, 1, inputs, outputs)  # fmt: skip

    return run, in_plane, out_plane


def winograd(inputs: int, outputs: int, usual: int) -> Any:
    """A 3 x 3 convolution with bias and PReLU of a map, see `products`.

    The output map has even numbers of rows and columns; values beyond the given size are undefined. One row and column
    beyond the input may be read; they do not affect the valid outputs.
    """
    multiply, in_plane, out_plane = products(inputs, outputs, usual)

    @inner()
    def run(source, row_stride, weights, bias, slope, target, out_stride, rows, columns, work):  # type: ignore[no-untyped-def]
        wide = (columns + 1) // 2
        tiles = (rows + 1) // 2 * wide
        at_once = -(-tiles // -(-tiles // TILES))  # parts of about equal size
        made = work + FLOAT_BYTES * 16 * in_plane
        line, out_line = FLOAT_BYTES * row_stride, FLOAT_BYTES * out_stride
        for first in range(0, tiles, at_once):
            count = min(at_once, tiles - first)
            for t in range(count):
                i, j = (first + t) // wide, (first + t) % wide
                at = source + 2 * (i * line + FLOAT_BYTES * j * inputs)
                turned_in(at, at + line, at + 2 * line, at + 3 * line,
                          work + FLOAT_BYTES * t * inputs, in_plane, inputs, inputs)  # fmt: skip
            multiply(work, weights, made, count)
            for t in range(count):
                i, j = (first + t) // wide, (first + t) % wide
                at = target + 2 * (i * out_line + FLOAT_BYTES * j * outputs)
                turned_out(made + FLOAT_BYTES * t * outputs, out_plane, bias, slope, at, at + out_line, outputs,
                           outputs, SLOPES)  # fmt: skip

    return run
