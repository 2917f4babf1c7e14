"""Zero-padded maps, and functions that run layers over their rows.

The layers themselves are in `compiled_planes`. Nothing here needs Numba.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel_cache import kernel
from .packing import FLOAT_BYTES, SLACK, Pointers, buffer, scratch
from .registers import LANES
from .threads import spread, threads

__all__ = [
    "COLUMNS", "Plane", "floats_of", "over", "over_wide", "pack_depthwise", "plane", "separable_room", "spread_rows",
]  # fmt: skip

Array = NDArray[Any]

COLUMNS = 40  # of a typical map, which determines the tiles


class Plane(NamedTuple):
    """A zero-padded map (rows, columns, channels): data (rows + 3, columns + 2, channels).

    The padding is one cell wide; Winograd's tiles may read a second row below it.
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
        """Address of the padding's first value: the first input of the first cell's 3 x 3 kernel."""
        return int(self.data.ctypes.data)

    @property
    def first(self) -> int:
        """Address of the first cell."""
        channels: int = self.data.shape[2]
        return self.corner + FLOAT_BYTES * (self.row + channels)

    def seal(self) -> None:
        """Clear the padding that tiles of two rows or columns have overwritten."""
        if self.rows % 2:
            self.data[self.rows + 1] = 0
        if self.columns % 2:
            self.data[:, self.columns + 1] = 0


def floats_of(rows: int, columns: int, channels: int) -> int:
    """Number of floats of a plane."""
    return (rows + 3) * (columns + 2) * channels + SLACK


def plane(buffer: Array, rows: int, columns: int, channels: int) -> Plane:
    """A plane in a buffer of `floats_of` floats: its padding is cleared, its cells are left unchanged."""
    data = buffer[:-SLACK].reshape(rows + 3, columns + 2, channels)
    data[0] = data[rows + 1 :] = 0
    data[:, 0] = data[:, columns + 1] = 0
    return Plane(data, rows, columns)


def separable_room(columns: int, inputs: int) -> int:
    """Scratch floats of `separable` for a map with these columns and channels."""
    return columns * inputs + SLACK


def pack_depthwise(kernel: Array, bias: Array, leak: float) -> Array:
    """Pack to (blocks, 11, LANES) float32, as `depthwise_row` reads them; channels that do not fill a block repeat."""
    channels = len(kernel)
    rows = np.concatenate([kernel.reshape(channels, 9).T, bias[None], np.full((1, channels), leak)])  # (11, channels)
    rows = np.tile(rows, (1, max(LANES // channels, 1)))
    return np.ascontiguousarray(rows.reshape(11, -1, LANES).transpose(1, 0, 2), np.float32)


def spread_rows(rows: int, work: Any) -> None:
    """work(first, last) over all rows, in `threads()` threads; each part begins at an even row."""
    parts = min(threads(), max(rows // 8, 1))
    ends = [2 * (rows * part // (2 * parts)) for part in range(parts)] + [rows]
    spread(lambda part: work(*part), list(itertools.pairwise(ends)))


def over(run: Callable[..., int], source: int, in_row: int, weights: Pointers, target: int, plane: Plane) -> None:
    """Run a kernel of `compiled_planes` over the rows of a plane, writing from the address `target` on."""

    def work(first: int, last: int) -> None:
        run(source, in_row, *weights.each, target, plane.row, first, last, plane.columns)

    spread_rows(plane.rows, work)


def over_wide(
    shape: tuple[int, int, int, int], source: int, in_row: int, weights: Pointers, target: int, plane: Plane
) -> None:
    """As `over`, for a 3 x 3 convolution `compiled_planes.wide` of this shape."""
    run = kernel("wide", *shape)

    def work(first: int, last: int) -> None:
        room = buffer(scratch(*shape[:2]))
        run(source, in_row, *weights.each, target, plane.row, first, last, plane.columns, room.ctypes.data)

    spread_rows(plane.rows, work)
