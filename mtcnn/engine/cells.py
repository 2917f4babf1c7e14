"""LLVM code for the steps of plans: a few cells of a map at a time.

As in `tile`, activations are (row, column, channel). Here every row of the input has an address of its own, so that
maps may be rings of a few rows, and the last vector of a cell may be shorter: nothing is read or written beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from .registers import LANES
from .steps import LINEAR, RELU, SIZE
from .tile import prelu
from .vectors import FLOAT, LONG, VECTOR, Builder, Value, load, loop, store

__all__ = [
    "INT",
    "POINTER",
    "ZERO",
    "Arguments",
    "activated",
    "for_cells",
    "load_part",
    "pointer",
    "row_at",
    "spans",
    "store_part",
]

POINTER = FLOAT.as_pointer()
INT = ir.IntType(32)
ZERO = ir.Constant(VECTOR, None)


def spans(channels: int) -> list[tuple[int, int]]:
    """(first, count) of the vectors of a cell; the last may be shorter."""
    return [(at, min(LANES, channels - at)) for at in range(0, channels, LANES)]


def load_part(b: Builder, base: Value, index: int | Value, count: int) -> Value:
    """As `load`, of `count` floats; the other lanes are 0."""
    if count == LANES:
        return load(b, base, index)
    part = load(b, base, index, ir.VectorType(FLOAT, count))
    lanes = [min(i, count) for i in range(LANES)]
    return b.shuffle_vector(part, ir.Constant(part.type, None), ir.Constant(ir.VectorType(INT, LANES), lanes))


def store_part(b: Builder, value: Value, base: Value, index: int, count: int) -> None:
    """As `store`, of the first `count` floats."""
    if count < LANES:
        lanes = ir.Constant(ir.VectorType(INT, count), list(range(count)))
        value = b.shuffle_vector(value, ir.Constant(VECTOR, ir.Undefined), lanes)
    store(b, value, base, index)


def relu(b: Builder, value: Value) -> Value:
    """max(value, 0); NaN stays NaN, as in torch."""
    return b.select(b.fcmp_ordered("<", value, ZERO), ZERO, value)


def activated(b: Builder, value: Value, mode: int, slope: Value) -> Value:
    if mode == LINEAR:
        return value
    return relu(b, value) if mode == RELU else prelu(b, value, slope)


def pointer(b: Builder, address: Value) -> Value:
    return b.inttoptr(address, POINTER)


def row_at(b: Builder, table: Value, index: Value | int) -> Value:
    """Entry `index` of a table of addresses, as a pointer."""
    place = b.gep(table, [LONG(index) if isinstance(index, int) else index])
    return pointer(b, b.load(place))


def table_at(b: Builder, address: Value) -> Value:
    return b.inttoptr(address, LONG.as_pointer())


class Arguments:
    """The arguments of a step, see `steps`, as values."""

    def __init__(self, b: Builder, address: Value) -> None:
        self.table = table_at(b, address)
        self.read = [b.load(b.gep(self.table, [LONG(i)])) for i in range(SIZE)]

    def __getitem__(self, index: int) -> Value:
        return self.read[index]


def for_cells(b: Builder, count: Value, shapes: Sequence[int], tile: Callable[[Value, int], None]) -> None:
    """tile(first cell, number of cells) over `count` cells, by the first of the `shapes`, falling to 1, that is not
    larger. A partial last tile begins earlier."""
    many, *others = shapes

    def tiles() -> None:
        number = b.sdiv(b.add(count, LONG(many - 1)), LONG(many))
        last = b.sub(count, LONG(many))

        def one(index: Value) -> None:
            first = b.mul(index, LONG(many))
            tile(b.select(b.icmp_signed("<", first, last), first, last), many)

        loop(b, number, one)

    if not others:
        tiles()
        return
    with b.if_else(b.icmp_signed(">=", count, LONG(many))) as (enough, fewer):
        with enough:
            tiles()
        with fewer:
            for_cells(b, count, others, tile)
