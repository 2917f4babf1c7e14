"""PNet on a pyramid level, in bands of rows whose activations stay in the processor's cache.

Offsets are computed only for the few cells that pass. The kernels are in `compiled_pnet`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pyramid import map_size
from ..types import ImageSize
from ..weights import Weights
from .kernel_cache import kernel
from .packing import SLACK, Pointers, buffer, pack_pixels, pack_winograd, scratch
from .registers import padded

__all__ = ["BAND", "FIRST", "MANY", "TILE", "Cells", "FastPNet"]

Array = NDArray[Any]

BAND = 8  # rows of the map in a band: the activations of a 640-pixel level then take half a megabyte
TILE, MANY = 4, 8  # side of the tiles of the later layers, which are Winograd's, and how many are computed at once
FIRST = padded(10)  # floats of a cell of the first layer's map
LINE = 16  # columns of that map, and of pixels, are a multiple: at least the lanes of a vector

PLANES = max(scratch(10, 16, MANY, TILE), scratch(16, 32, MANY, TILE))


class Cells(NamedTuple):
    """Cells of a map that pass: row and column (N,), logit (N,) and offsets (N, 4)."""

    rows: Array
    columns: Array
    logits: Array
    offsets: Array


def _heads(net: Weights) -> Array:
    """The logit's and the offsets' weights and bias: (5, 33) float32."""
    layers = (net.layer("face"), net.layer("offsets"))
    pair, moves = (np.column_stack([layer.weight[:, :, 0, 0], layer.bias]).astype(np.float64) for layer in layers)
    return np.concatenate([pair[1:] - pair[:1], moves]).astype(np.float32)


def room(width: int) -> tuple[int, int, int, int, int, int, int, int]:
    """Layout of the scratch memory for a band of a level with `width` columns: columns of the first layer's map, and of
    each plane of pixels; after four rows of pixels the offsets of three maps, of logits and of Winograd's planes, and
    the total, in floats. All are aligned to cache lines.

    The third layer computes whole tiles. So the second has a tile more of rows and of columns than the map, and the
    first has two more than that.
    """
    wide = ((width - 1) // 2 - 4 + TILE - 1) // TILE * TILE  # of the map, see `pyramid.map_size`, in whole tiles
    columns = (wide + 6 + LINE - 1) // LINE * LINE
    plane = columns + LINE
    first = 4 * 6 * plane + SLACK
    second = first + (BAND + 6) * columns * FIRST + SLACK
    third = second + (BAND + 4) * (wide + 4) * 16 + SLACK
    logits = third + BAND * wide * 32 + SLACK
    planes = logits + BAND * wide + SLACK
    return columns, plane, first, second, third, logits, planes, planes + PLANES


class FastPNet:
    """PNet: packed weights and kernels."""

    def __init__(self, net: Weights) -> None:
        first, second, third = net.trunk()
        later = [pack_winograd(layer, MANY, TILE) for layer in (second, third)]
        packed = (array for layer in later for array in layer)
        self.weights, self.heads = Pointers(pack_pixels(first), *packed), Pointers(_heads(net))

    def cells(self, level: Array, min_logit: float, first: int, last: int) -> Cells:
        """The cells of level (H, W, 3), uint8 or float32 0 to 255, with a logit of at least `min_logit`, by rows.

        first, last  rows of the map to compute.
        """
        level = np.ascontiguousarray(level, np.uint8 if level.dtype == np.uint8 else np.float32)
        height, width = level.shape[:2]
        columns = map_size(ImageSize(height, width)).width
        cells = np.empty(((last - first) * columns, 2), np.int32)
        values = np.empty((len(cells), 5), np.float32)
        work = buffer(room(width)[-1])
        count = kernel("pnet")(
            level.ctypes.data, level.dtype == np.float32, height, width, first, last, min_logit,
            self.weights.at, self.heads.each[0], work.ctypes.data, cells.ctypes.data,
            values.ctypes.data,
        )  # fmt: skip
        return Cells(cells[:count, 0], cells[:count, 1], values[:count, 0], values[:count, 1:])
