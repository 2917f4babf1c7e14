"""LLVM code for the transforms of Winograd's tiles: see `winograd`. Their points are in `packing`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from llvmlite import ir

from .vectors import FLOAT, Builder, Value, fma

__all__ = ["both_ways", "turn_input", "turn_output"]


def _times(b: Builder, value: Value, factor: float, more: Value) -> Value:
    """value * factor + more."""
    return fma(b, value, ir.Constant(value.type, [ir.Constant(FLOAT, factor)] * value.type.count), more)


# The rows of the input's matrix, B^T, are the coefficients of the product of (x - p) over the other points p; the last,
# for infinity, over all. So rows share factors: x^2 - 1 of the points 1 and -1, and those of the points 1/2 and -2.


def _differences(b: Builder, d: list[Value]) -> list[Value]:
    """Of the factor x^2 - 1."""
    return [b.fsub(later, value) for value, later in zip(d, d[2:], strict=False)]


def _input_2(b: Builder, d: list[Value]) -> list[Value]:
    first, last = _differences(b, d)
    return [first, b.fadd(d[2], d[1]), b.fsub(d[2], d[1]), last]


def _input_3(b: Builder, d: list[Value]) -> list[Value]:
    f = [_times(b, value, -0.5, later) for value, later in pairwise(d)]  # x - 1/2
    return [b.fsub(f[2], f[0]), b.fadd(f[2], f[1]), b.fsub(f[2], f[1]), b.fsub(d[3], d[1]), b.fsub(f[3], f[1])]


def _input_4(b: Builder, d: list[Value]) -> list[Value]:
    e = _differences(b, d)
    f = [_times(b, value, 1.5, more) for value, more in zip(d[1:], e, strict=False)]  # (x - 1/2)(x + 2)
    ends = [b.fsub(f[2], f[0]), b.fsub(f[3], f[1])]
    return [ends[0], b.fadd(f[2], f[1]), b.fsub(f[2], f[1]),
            _times(b, e[1], 2.0, e[2]), _times(b, e[1], -0.5, e[2]), ends[1]]  # fmt: skip


# A column of the output's matrix, A^T, holds the powers of a point.


def _output_2(b: Builder, m: list[Value]) -> list[Value]:
    return [b.fadd(b.fadd(m[0], m[1]), m[2]), b.fadd(b.fsub(m[1], m[2]), m[3])]


def _output_3(b: Builder, m: list[Value]) -> list[Value]:
    both, apart = b.fadd(m[1], m[2]), b.fsub(m[1], m[2])
    return [b.fadd(b.fadd(m[0], m[3]), both), _times(b, m[3], 0.5, apart), _times(b, m[3], 0.25, b.fadd(both, m[4]))]


def _output_4(b: Builder, m: list[Value]) -> list[Value]:
    both, apart = b.fadd(m[1], m[2]), b.fsub(m[1], m[2])
    sums = [b.fadd(b.fadd(m[0], m[3]), m[4]), apart, both, b.fadd(apart, m[5])]
    return [b.fadd(sums[0], both)] + [
        _times(b, m[4], (-2.0) ** i, _times(b, m[3], 0.5**i, sums[i])) for i in range(1, 4)
    ]


turn_input = {2: _input_2, 3: _input_3, 4: _input_4}
turn_output = {2: _output_2, 3: _output_3, 4: _output_4}


def both_ways(
    b: Builder, turn: Callable[[Builder, list[Value]], list[Value]], table: list[list[Value]]
) -> list[list[Value]]:
    """turn(table) turn^T: along the columns, then along the rows."""
    columns = [turn(b, list(column)) for column in zip(*table, strict=True)]
    return [turn(b, list(row)) for row in zip(*columns, strict=True)]
