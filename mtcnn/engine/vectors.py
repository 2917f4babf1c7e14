"""LLVM code for vectors of floats, the building blocks of the compiled tiles.

Numba leaves the sums of Python loops in memory and adds needless shuffles; the innermost loops are therefore written
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from . import notice
from .registers import LANES

__all__ = [
    "FLOAT", "LONG", "VECTOR", "Builder", "Value", "fma", "intrinsic", "load", "loop",
    "mix_pixels", "prefetch", "slot", "splat", "store",
]  # fmt: skip

notice.listen()

# Numba's types are wrong about the first argument of an intrinsic function, and missing for the other.
intrinsic: Any = extending.intrinsic
slot: Any = cgutils.alloca_once

Builder: TypeAlias = Any  # llvmlite has no types: an ir.IRBuilder
Value: TypeAlias = Any  # an ir.Value, or a type of LLVM


FLOAT, LONG, INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, LANES)
PIXEL = ir.VectorType(FLOAT, 4)  # three colours, and a value that is ignored


def load(b: Builder, base: Value, index: int | Value, kind: Value = VECTOR) -> Value:
    """The vector that begins at base[index], aligned or not."""
    place = b.gep(base, [LONG(index) if isinstance(index, int) else index])
    found = b.load(b.bitcast(place, kind.as_pointer()))
    found.align = 4
    return found


def store(b: Builder, value: Value, base: Value, index: int) -> None:
    """Store a vector at base[index]."""
    b.store(value, b.bitcast(b.gep(base, [LONG(index)]), value.type.as_pointer())).align = 4


def splat(b: Builder, number: Value, kind: Value = VECTOR) -> Value:
    """A vector with `number` in every lane."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(nothing, number, INT(0))
    return b.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT, kind.count), [0] * kind.count))


def fma(b: Builder, one: Value, other: Value, more: Value) -> Value:
    """one * other + more, in one instruction if available."""
    name = f"llvm.fmuladd.v{one.type.count}f32"
    insert: Any = cgutils.get_or_insert_function
    function = insert(b.module, ir.FunctionType(one.type, [one.type] * 3), name)
    return b.call(function, [one, other, more])


def prefetch(b: Builder, place: Value) -> None:
    """Ask for the cache line at an address, which need not exist."""
    byte = ir.IntType(8).as_pointer()
    insert: Any = cgutils.get_or_insert_function
    function = insert(b.module, ir.FunctionType(ir.VoidType(), [byte, INT, INT, INT]), "llvm.prefetch")
    b.call(function, [b.bitcast(place, byte), INT(0), INT(3), INT(1)])  # to read, keep in all caches, data


def loop(b: Builder, count: Value, body: Callable[[Value], None]) -> None:
    """`body` with 0 to count - 1; count is at least 1."""
    before, head = b.block, b.append_basic_block("loop")
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(LONG)
    index.add_incoming(LONG(0), before)
    body(index)
    following = b.add(index, LONG(1))
    index.add_incoming(following, b.block)
    after = b.append_basic_block("after")
    b.cbranch(b.icmp_signed("<", following, count), head, after)
    b.position_at_end(after)


@intrinsic
def mix_pixels(context, pixels, weights, count, target):  # type: ignore[no-untyped-def]
    """The weighted sum of `count` neighbouring pixels of three floats, as three floats at `target`.

    Addresses are integers. A fourth float is read after the last pixel, and written after the sum.
    """

    def code(_context: Any, b: Builder, _signature: Any, args: Any) -> Value:
        source, factors, out = (b.inttoptr(args[i], FLOAT.as_pointer()) for i in (0, 1, 3))
        total = slot(b, PIXEL)
        b.store(ir.Constant(PIXEL, None), total)

        def add(index: Value) -> None:
            factor = splat(b, b.load(b.gep(factors, [index])), PIXEL)
            pixel = load(b, source, b.mul(index, LONG(3)), PIXEL)
            b.store(fma(b, factor, pixel, b.load(total)), total)

        loop(b, args[2], add)
        store(b, b.load(total), out, 0)
        return _context.get_dummy_value()

    return types.void(*(types.intp,) * 4), code
