"""Maps in a frame of zeros, and layers over the rows of them: what nets that pad their maps are computed with.

Each factory returns a compiled function for given channels. It takes addresses, as those of `layers` do: of the number
that the first cell's kernel begins with, and of the first cell to be written; and computes rows `first` to `last`.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .layers import conv_row
from .packing import FLOAT_BYTES, SLACK, TILES, Packed, addresses, buffer, scratch
from .registers import LANES, padded, tile_shape
from .threads import spread, threads
from .tile import depthwise_row
from .winograd import winograd

__all__ = [
    "COLUMNS", "Plane", "add_coarser", "floats_of", "over", "pack_depthwise", "plane", "pointwise", "separable",
    "spread_rows", "wide",
]  # fmt: skip

Array = NDArray[Any]

COLUMNS = 40  # of a usual map, to choose the tiles by


class Plane(NamedTuple):
    """A map (rows, columns, channels) in a frame of zeros: data (rows + 3, columns + 2, channels).

    The frame is one cell wide; Winograd's tiles may read a second row below it.
    """

    data: Array
    rows: int
    columns: int

    @property
    def row(self) -> int:
        """Floats from one row to the next."""
        floats: int = self.data.strides[0] // FLOAT_BYTES
        return floats

    @property
    def corner(self) -> int:
        """Address of the frame's first number: what the 3 x 3 kernel of the first cell begins with."""
        return int(self.data.ctypes.data)

    @property
    def first(self) -> int:
        """Address of the first cell."""
        channels: int = self.data.shape[2]
        return self.corner + FLOAT_BYTES * (self.row + channels)

    def seal(self) -> None:
        """Zeros again where tiles of two rows or columns have written into the frame."""
        if self.rows % 2:
            self.data[self.rows + 1] = 0
        if self.columns % 2:
            self.data[:, self.columns + 1] = 0


def floats_of(rows: int, columns: int, channels: int) -> int:
    """Numbers that a plane takes."""
    return (rows + 3) * (columns + 2) * channels + SLACK


def plane(buffer: Array, rows: int, columns: int, channels: int) -> Plane:
    """A plane in a buffer of `floats_of` numbers: its frame is made zero, its cells are left as they are."""
    data = buffer[:-SLACK].reshape(rows + 3, columns + 2, channels)
    data[0] = data[rows + 1 :] = 0
    data[:, 0] = data[:, columns + 1] = 0
    return Plane(data, rows, columns)


def separable(inputs: int, outputs: int) -> Any:
    """A 3 x 3 convolution of each channel by itself, and one across channels, each with bias and LeakyReLU."""
    vectors, positions = tile_shape(outputs, COLUMNS)
    rest = padded(outputs) // LANES // vectors
    # Where vectors are longer than the channels, they take several columns.
    together, blocks = max(LANES // inputs, 1), max(inputs // LANES, 1)
    out_step = max(LANES, inputs)

    @njit(cache=True, nogil=True)
    def run(source, in_row, stride, kernels, weights, bias, slope, target, out_row, first, last, columns):  # type: ignore[no-untyped-def]
        line = np.empty(columns * inputs + SLACK, np.float32)
        for i in range(first, last):
            for block in range(blocks):
                depthwise_row(source + FLOAT_BYTES * (stride * i * in_row + block * LANES), in_row, inputs,
                              stride * inputs * together, kernels + FLOAT_BYTES * block * 11 * LANES,
                              line.ctypes.data + FLOAT_BYTES * block * LANES, out_step,
                              columns // together)  # fmt: skip
            conv_row(line.ctypes.data, 0, 1, inputs, weights, bias, slope, target + FLOAT_BYTES * i * out_row, columns,
                     inputs, vectors, positions, outputs, rest)  # fmt: skip

    return run


def pack_depthwise(kernel: Array, bias: Array, leak: float) -> Array:
    """(blocks, 11, LANES) float32, as `depthwise_row` reads a block; channels repeated where they do not fill one."""
    channels = len(kernel)
    rows = np.concatenate([kernel.reshape(channels, 9).T, bias[None], np.full((1, channels), leak)])  # (11, channels)
    rows = np.tile(rows, (1, max(LANES // channels, 1)))
    return np.ascontiguousarray(rows.reshape(11, -1, LANES).transpose(1, 0, 2), np.float32)


def pointwise(inputs: int, outputs: int) -> Any:
    """A convolution across channels, of rows of a map."""
    vectors, positions = tile_shape(outputs, COLUMNS)
    blocks = padded(outputs) // LANES // vectors

    @njit(cache=True, nogil=True)
    def run(source, in_row, weights, bias, slope, target, out_row, first, last, columns):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            conv_row(source + FLOAT_BYTES * i * in_row, 0, 1, inputs, weights, bias, slope,
                     target + FLOAT_BYTES * i * out_row, columns,
                     inputs, vectors, positions, outputs, blocks)  # fmt: skip

    return run


def wide(inputs: int, outputs: int, in_step: int = 0, out_step: int = 0) -> Any:
    """A 3 x 3 convolution of rows of a map, of which `first` is even. Winograd's tiles write a last row or column more
    where there is an odd number of them: see `Plane.seal`."""
    tiles = winograd(inputs, outputs, TILES, in_step, out_step)
    space = scratch(inputs, outputs)

    def run(
        source: int, in_row: int, weights: int, bias: int, slope: int, target: int, out_row: int, first: int, last: int,
        columns: int,
    ) -> None:  # fmt: skip
        work = buffer(space)
        tiles(source + FLOAT_BYTES * first * in_row, in_row, weights, bias, slope,
              target + FLOAT_BYTES * first * out_row, out_row, last - first, columns, work.ctypes.data)  # fmt: skip

    return run


@njit(cache=True, nogil=True)
def add_coarser(fine, coarse, rows, columns):  # type: ignore[no-untyped-def]
    """Add to each cell of fine (rows + 3, columns + 2, C) the cell of coarse that covers it."""
    for i in range(rows):
        for j in range(columns):
            target, source = fine[1 + i, 1 + j], coarse[1 + i // 2, 1 + j // 2]
            for c in range(len(target)):
                target[c] += source[c]


def spread_rows(rows: int, work: Any) -> None:
    """work(first, last) over all rows, by as many threads as there are to use; each begins at an even row."""
    parts = min(threads(), max(rows // 8, 1))
    ends = [2 * (rows * part // (2 * parts)) for part in range(parts)] + [rows]
    spread(lambda part: work(*part), list(itertools.pairwise(ends)))


def over(run: Any, source: int, in_row: int, packed: Packed, target: int, plane: Plane) -> None:
    """`run` over the rows of a plane, beginning to write at the address `target`."""
    weights = addresses(packed)
    spread_rows(
        plane.rows, lambda first, last: run(source, in_row, *weights, target, plane.row, first, last, plane.columns)
    )
