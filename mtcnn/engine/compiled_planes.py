"""Compiled layers over rows of zero-padded maps: see `planes`.

A factory takes numbers of channels and returns a function of addresses. `source` is the address of the first input of
the first cell's kernel, `target` that of the first cell to write; rows `first` to `last` are computed.
`in_row` and `out_row` are the floats from one row of a map to the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import array_at, inner
from .layers import conv_row
from .packing import FLOAT_BYTES, TILES
from .planes import COLUMNS
from .registers import LANES, padded, tile_shape
from .tile import depthwise_row
from .winograd import winograd

__all__ = ["add_coarser", "pointwise", "separable", "wide"]


def separable(inputs: int, outputs: int) -> Any:
    """A depthwise 3 x 3 convolution and a pointwise one, each with bias and LeakyReLU.

    work  address of scratch for a row of the map between the two: `planes.separable_room`.
    """
    vectors, positions = tile_shape(outputs, COLUMNS)
    rest = padded(outputs) // LANES // vectors
    # Where vectors are longer than the channels, they take several columns.
    together, blocks = max(LANES // inputs, 1), max(inputs // LANES, 1)
    out_step = max(LANES, inputs)

    def run(  # type: ignore[no-untyped-def]
        source, in_row, stride, kernels, weights, bias, slope, target, out_row, first, last, columns, work
    ):
        for i in range(first, last):
            for block in range(blocks):
                depthwise_row(source + FLOAT_BYTES * (stride * i * in_row + block * LANES), in_row, inputs,
                              stride * inputs * together, kernels + FLOAT_BYTES * block * 11 * LANES,
                              work + FLOAT_BYTES * block * LANES, out_step, columns // together)  # fmt: skip
            conv_row(work, 0, 1, inputs, weights, bias, slope, target + FLOAT_BYTES * i * out_row, columns,
                     inputs, vectors, positions, outputs, rest)  # fmt: skip
        return 0

    return run


def pointwise(inputs: int, outputs: int) -> Any:
    """A pointwise convolution with bias and LeakyReLU."""
    vectors, positions = tile_shape(outputs, COLUMNS)
    blocks = padded(outputs) // LANES // vectors

    def run(source, in_row, weights, bias, slope, target, out_row, first, last, columns):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            conv_row(source + FLOAT_BYTES * i * in_row, 0, 1, inputs, weights, bias, slope,
                     target + FLOAT_BYTES * i * out_row, columns,
                     inputs, vectors, positions, outputs, blocks)  # fmt: skip
        return 0

    return run


def wide(inputs: int, outputs: int, in_step: int, out_step: int) -> Any:
    """A 3 x 3 convolution by Winograd's tiles; `first` is even.

    With an odd number of rows or columns, tiles write one more: see `Plane.seal`.

    in_step, out_step  floats from one position to the next.    work  address of `packing.scratch` floats.
    """
    tiles = winograd(inputs, outputs, TILES, in_step, out_step)

    def run(source, in_row, weights, bias, slope, target, out_row, first, last, columns, work):  # type: ignore[no-untyped-def]
        tiles(source + FLOAT_BYTES * first * in_row, in_row, weights, bias, slope,
              target + FLOAT_BYTES * first * out_row, out_row, last - first, columns, work)  # fmt: skip
        return 0

    return run


@inner()
def _add(source: int, target: int, floats: int) -> None:
    more, total = array_at(source, (floats,), np.float32), array_at(target, (floats,), np.float32)
    for c in range(floats):
        total[c] += more[c]


def add_coarser(fine, fine_row, coarse, coarse_row, rows, columns, channels):  # type: ignore[no-untyped-def]
    """Add to each cell of a map the cell of the next coarser map that covers it; addresses of their first cells."""
    for i in range(rows):
        for j in range(columns):
            source = coarse + FLOAT_BYTES * (i // 2 * coarse_row + j // 2 * channels)
            _add(source, fine + FLOAT_BYTES * (i * fine_row + j * channels), channels)
    return 0
