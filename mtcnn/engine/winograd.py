"""3 x 3 convolutions with fewer multiplications.

A tile of 2 x 2 outputs needs 4 x 4 inputs. Inputs, kernel and outputs are transformed by small matrices of additions;
in between are 16 products, summed over the channels, where a direct convolution has 4 times 9. Tiles of 3 x 3 outputs
take 25 instead of 81 and those of 4 x 4 take 36 instead of 144, at some loss of precision: errors of logits, which
reach 10, are below 0.00003 instead of 0.00001.
Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1, F(2 x 2, 3 x 3); the
points of larger tiles are in `packing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types

from .cells import activated, for_cells, load_part, pointer, spans, store_part
from .packing import FLOAT_BYTES, SLACK, tiles_at_once
from .registers import LANES, padded, tile_shape
from .steps import SLOPES
from .tile import tile_sums
from .vectors import LONG, Builder, Value, intrinsic, load, loop, store
from .winograd_turns import both_ways, turn_input, turn_output

__all__ = ["WinogradShape", "map_tiles", "moved", "products", "turned_in", "turned_out", "winograd"]


class WinogradShape(NamedTuple):
    """Constants of a layer.

    inputs, outputs  channels; `outputs` fills whole vectors.
    usual            typical number of tiles; of tiles larger than 2 x 2 also the most that are computed together.
    tile             side of a tile of outputs, 2 to 4.    step  floats from a cell of the input to the next.
    """

    inputs: int
    outputs: int
    usual: int
    tile: int
    step: int

    @property
    def planes(self) -> int:
        return (self.tile + 2) ** 2

    @property
    def width(self) -> int:
        """Floats from a tile of a plane of inputs to the next: whole vectors, if cells of the input hold these."""
        return padded(self.inputs) if self.step >= padded(self.inputs) else self.inputs

    @property
    def in_plane(self) -> int:
        """Floats from one plane to the next, of inputs."""
        return tiles_at_once(self.tile, self.usual) * self.width + SLACK

    @property
    def out_plane(self) -> int:
        return tiles_at_once(self.tile, self.usual) * self.outputs + SLACK


def moved(b: Builder, address: Value, count: Value, size: int = 1) -> Value:
    """The address `count` times `size` floats further."""
    return b.add(address, b.mul(count, LONG(FLOAT_BYTES * size)))


def _inputs(b: Builder, rows: list[Value], out: Value, plane: Value, channels: int, step: int) -> None:
    """Transform inputs at `rows` into planes from `out` on: see `turned_in`."""
    side = len(rows)
    planes = [b.gep(out, [b.mul(plane, LONG(i))]) for i in range(side**2)]
    for at, lanes in spans(channels):
        table = [[load_part(b, row, j * step + at, lanes) for j in range(side)] for row in rows]
        for i, row in enumerate(both_ways(b, turn_input[side - 2], table)):
            for j, value in enumerate(row):
                store(b, value, planes[side * i + j], at)


def _outputs(b: Builder, args: Any, rows: list[Value], beside: Value, channels: int, mode: int) -> None:
    """Transform planes back, to outputs at `rows`; args  source, plane, bias and slope of `turned_out`."""
    tile, side = len(rows), len(rows) + 2
    planes, more, bent = (pointer(b, args[i]) for i in (0, 2, 3))
    places = [[b.gep(row, [b.mul(beside, LONG(j))]) for j in range(tile)] for row in rows]
    sources = [[b.gep(planes, [b.mul(args[1], LONG(side * i + j))]) for j in range(side)] for i in range(side)]
    for at, lanes in spans(channels):
        table = [[load(b, place, at) for place in line] for line in sources]
        added, slopes = load(b, more, at), load(b, bent, at)
        values = both_ways(b, turn_output[tile], table)
        for i in reversed(range(tile)):
            for j in reversed(range(tile)):
                value = activated(b, b.fadd(values[i][j], added), mode, slopes)
                store_part(b, value, places[i][j], at, lanes)


@intrinsic(prefer_literal=True)
def turned_in(context, one, two, three, four, target, plane, channels, step):  # type: ignore[no-untyped-def]
    """Transform 4 x 4 inputs into 16 planes `plane` floats apart, from `target` on.

    one … four  addresses of the first inputs of four rows; the next ones are `step` floats further.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        *rows, out = (pointer(b, address) for address in args[:5])
        _inputs(b, rows, out, args[5], channels.literal_value, step.literal_value)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 6, channels, step), code


@intrinsic(prefer_literal=True)
def turned_out(context, source, plane, bias, slope, above, below, beside, channels, mode):  # type: ignore[no-untyped-def]
    """Transform 16 planes at `source` back, with bias and activation, to 2 x 2 outputs.

    above, below  addresses of the first outputs of two rows.    beside  floats to the second.

    Where two of these are the same place, the first row and the first column stay.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        rows = [pointer(b, args[4]), pointer(b, args[5])]
        _outputs(b, args[:4], rows, args[6], channels.literal_value, mode.literal_value)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 7, channels, mode), code


def _products(b: Builder, shape: WinogradShape, work: Value, weights: Value, made: Value, count: Value) -> None:
    """The products of up to `tiles_at_once` tiles. work, made  addresses of planes of inputs, and of results."""
    inputs, outputs = shape.inputs, shape.outputs
    vectors, positions = tile_shape(outputs, shape.usual)
    blocks, lanes = outputs // LANES // vectors, vectors * LANES
    # Too few larger tiles are joined by what is left in the planes; tiles of 2 x 2 are computed one by one.
    shapes = [positions, 1] if shape.tile == 2 and positions > 1 else [positions]
    some = b.icmp_signed("<", count, LONG(positions))
    end = count if shape.tile == 2 else b.select(some, LONG(positions), count)

    def plane(number: Value) -> None:
        def block(part: Value) -> None:
            used = moved(b, weights, b.add(b.mul(number, LONG(blocks)), part), inputs * lanes)
            source = moved(b, work, number, shape.in_plane)
            target = moved(b, moved(b, made, number, shape.out_plane), part, lanes)

            def tiles(first: Value, cells: int) -> None:
                first_input = moved(b, source, first, shape.width)
                sums = tile_sums(b, (first_input, LONG(0), LONG(1), LONG(inputs), used, None), vectors,
                                 [LONG(p * shape.width) for p in range(cells)])  # fmt: skip
                out = pointer(b, moved(b, target, first, outputs))
                for p, at in enumerate(sums):
                    for i, total in enumerate(at):
                        store(b, b.load(total), out, p * outputs + i * LANES)

            for_cells(b, end, shapes, tiles)

        loop(b, LONG(blocks), block)

    loop(b, LONG(shape.planes), plane)


def products(inputs: int, outputs: int, usual: int) -> tuple[Any, int, int]:
    """The products of up to TILES tiles of 2 x 2 outputs: a function of the address of their 16 planes, of the weights,
    of the 16 planes of results, and the number of tiles; and the floats from one plane to the next, of inputs and of
    outputs. See `WinogradShape`."""
    assert outputs % LANES == 0
    shape = WinogradShape(inputs, outputs, usual, 2, inputs)

    @intrinsic
    def multiply(context, work, weights, made, count):  # type: ignore[no-untyped-def]
        def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
            _products(b, shape, *args)
            return _context.get_dummy_value()

        return types.void(*(types.intp,) * 4), code

    return multiply, shape.in_plane, shape.out_plane


def map_tiles(
    b: Builder,
    shape: WinogradShape,
    given: tuple[Value, ...],
    finish: Callable[[Value, Value, Value, Value], None],
) -> None:
    """All tiles of a map.

    given   as integers: address of the input, bytes from one row of it to the next, address of the weights, rows and
            columns of tiles, address of scratch.
    finish  takes the address of the first plane of a tile's products, the tile's number, row and column.
    """
    source, line, weights, rows, wide, work = given
    made = b.add(work, LONG(FLOAT_BYTES * shape.planes * shape.in_plane))
    tiles, most = b.mul(rows, wide), LONG(tiles_at_once(shape.tile, shape.usual))
    parts = b.sdiv(b.add(tiles, b.sub(most, LONG(1))), most)
    at_once = b.sdiv(b.add(tiles, b.sub(parts, LONG(1))), parts)  # parts of about equal size

    def part(number: Value) -> None:
        first = b.mul(number, at_once)
        rest = b.sub(tiles, first)
        count = b.select(b.icmp_signed("<", rest, at_once), rest, at_once)

        def place(t: Value) -> tuple[Value, Value, Value]:
            index = b.add(first, t)
            return index, b.sdiv(index, wide), b.srem(index, wide)

        def take(t: Value) -> None:
            _, i, j = place(t)
            at = moved(b, b.add(source, b.mul(b.mul(i, line), LONG(shape.tile))), j, shape.tile * shape.step)
            places = [pointer(b, b.add(at, b.mul(line, LONG(k)))) for k in range(shape.tile + 2)]
            out = pointer(b, moved(b, work, t, shape.width))
            _inputs(b, places, out, LONG(shape.in_plane), shape.width, shape.step)

        loop(b, count, take)
        _products(b, shape, work, weights, made, count)
        loop(b, count, lambda t: finish(moved(b, made, t, shape.outputs), *place(t)))

    loop(b, b.sdiv(b.add(tiles, b.sub(at_once, LONG(1))), at_once), part)


def winograd(inputs: int, outputs: int, usual: int, tile: int = 2, step: int = 0) -> Any:
    """A 3 x 3 convolution with bias and PReLU of a map, see `WinogradShape`.

    The output map has rows and columns for whole tiles; values beyond the given size are undefined. As many rows and
    columns beyond the input are read. With tiles of 2 x 2 they do not affect the valid outputs; with larger ones they
    do by rounding errors of their own size, so that they have to be small and finite.
    """
    assert outputs % LANES == 0
    shape = WinogradShape(inputs, outputs, usual, tile, step or inputs)

    @intrinsic
    def run(context, source, row_stride, weights, bias, slope, target, out_stride, rows, columns, work):  # type: ignore[no-untyped-def]
        def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
            source, row_stride, weights, bias, slope, target, out_stride, rows, columns, work = args
            line, out_line = (b.mul(stride, LONG(FLOAT_BYTES)) for stride in (row_stride, out_stride))
            sides = [b.sdiv(b.add(side, LONG(tile - 1)), LONG(tile)) for side in (rows, columns)]

            def finish(made: Value, _: Value, i: Value, j: Value) -> None:
                at = moved(b, b.add(target, b.mul(b.mul(i, out_line), LONG(tile))), j, tile * outputs)
                places = [pointer(b, b.add(at, b.mul(out_line, LONG(k)))) for k in range(tile)]
                _outputs(b, (made, LONG(shape.out_plane), bias, slope), places, LONG(outputs), outputs, SLOPES)

            map_tiles(b, shape, (source, line, weights, *sides, work), finish)
            return _context.get_dummy_value()

        return types.void(*(types.intp,) * 10), code

    return run
