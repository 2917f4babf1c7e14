"""3 x 3 convolutions with 16 multiplications instead of 36.

A tile of 2 x 2 outputs needs 4 x 4 inputs. Inputs, kernel and outputs are transformed by small matrices of additions;
in between are 16 products, summed over the channels, where a direct convolution has 4 times 9.
Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1, F(2 x 2, 3 x 3).
"""

from __future__ import annotations

from typing import Any

from numba import types

from .compiling import inner
from .packing import FLOAT_BYTES, SLACK, TILES
from .registers import LANES, padded, tile_shape
from .tile import prelu, product_tile
from .vectors import FLOAT, LONG, Builder, Value, intrinsic, load, store

__all__ = ["winograd"]


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
def _turned_in(context, source, row_stride, target, plane, channels, step):  # type: ignore[no-untyped-def]
    """Transform the 4 x 4 inputs at `source`, `step` floats apart, into 16 planes `plane` floats apart."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        image, out = (b.inttoptr(args[i], FLOAT.as_pointer()) for i in (0, 2))
        rows = [b.gep(image, [b.mul(args[1], LONG(i))]) for i in range(4)]
        planes = [b.gep(out, [b.mul(args[3], LONG(i))]) for i in range(16)]
        count = channels.literal_value
        for at in range(0, padded(count), LANES):
            four = [[load(b, row, j * step.literal_value + at) for j in range(4)] for row in rows]
            for i, row in enumerate(_both_ways(b, _turn_input, four)):
                for j, value in enumerate(row):
                    store(b, value, planes[4 * i + j], at)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 4, channels, step), code


@intrinsic(prefer_literal=True)
def _turned_out(context, source, plane, bias, slope, target, row_stride, channels, step):  # type: ignore[no-untyped-def]
    """Transform 16 planes at `source` back, with bias and PReLU, to 2 x 2 outputs at `target`, `step` floats apart."""

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        planes, more, bent, out = (b.inttoptr(args[i], FLOAT.as_pointer()) for i in (0, 2, 3, 4))
        count = channels.literal_value
        rows = [out, b.gep(out, [args[5]])]
        sources = [[b.gep(planes, [b.mul(args[1], LONG(4 * i + j))]) for j in range(4)] for i in range(4)]
        for at in range(0, padded(count), LANES):
            four = [[load(b, place, at) for place in line] for line in sources]
            added, slopes = load(b, more, at), load(b, bent, at)
            for row, values in zip(rows, _both_ways(b, _turn_output, four), strict=True):
                for j, value in enumerate(values):
                    store(b, prelu(b, b.fadd(value, added), slopes), row, j * step.literal_value + at)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 6, channels, step), code


def winograd(inputs: int, outputs: int, usual: int, in_step: int = 0, out_step: int = 0) -> Any:
    """A 3 x 3 convolution with bias and PReLU of a map.

    inputs, outputs  channels; `outputs` fills whole vectors.    usual  typical number of tiles of a map, at most TILES.
    in_step, out_step  floats from one position to the next, if a map is part of a wider one.

    The output map has even numbers of rows and columns; values beyond the given size are undefined. One row and column
    beyond the input may be read; they do not affect the valid outputs.
    """
    assert outputs % LANES == 0
    vectors, positions = tile_shape(outputs, usual)
    blocks, lanes = outputs // LANES // vectors, vectors * LANES
    in_step, out_step = in_step or inputs, out_step or outputs
    in_plane, out_plane = TILES * inputs + SLACK, TILES * outputs + SLACK

    @inner()
    def run(source, row_stride, weights, bias, slope, target, out_stride, rows, columns, work):  # type: ignore[no-untyped-def]
        wide = (columns + 1) // 2
        tiles = (rows + 1) // 2 * wide
        at_once = -(-tiles // -(-tiles // TILES))  # parts of about equal size
        products = work + FLOAT_BYTES * 16 * in_plane
        for first in range(0, tiles, at_once):
            count = min(at_once, tiles - first)
            for t in range(count):
                i, j = (first + t) // wide, (first + t) % wide
                _turned_in(source + FLOAT_BYTES * 2 * (i * row_stride + j * in_step), row_stride,
                           work + FLOAT_BYTES * t * inputs, in_plane, inputs, in_step)  # fmt: skip
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
            for t in range(count):
                i, j = (first + t) // wide, (first + t) % wide
                _turned_out(products + FLOAT_BYTES * t * outputs, out_plane, bias, slope,
                            target + FLOAT_BYTES * 2 * (i * out_stride + j * out_step), out_stride, outputs,
                            out_step)  # fmt: skip

    return run
