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
from .packing import SLACK, TILES, Pointers, buffer, pack_conv, pack_winograd, scratch

__all__ = ["BAND", "COLUMNS", "Cells", "FastPNet"]

Array = NDArray[Any]

BAND = 8  # rows of the map in a band: the activations of a 640-pixel level then take half a megabyte
COLUMNS = 256  # of a typical map, which determines the tiles


PLANES = scratch(16, 32)


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


def room(width: int) -> tuple[int, int, int, int, int]:
    """Layout of the scratch memory for a band of a level with `width` columns: the offsets of three maps and of
    Winograd's planes, after the pixels, and the total, in floats. All are aligned to cache lines."""
    wide = (width - 1) // 2  # of the pooled map: ceil((width - 2) / 2)
    first = ((2 * (BAND + 4) + 3) * 3 * width + SLACK) // 16 * 16
    second = first + ((BAND + 4) * wide * 10 + SLACK) // 16 * 16 + 16
    third = second + (BAND + 2) * wide * 16 + SLACK
    planes = third + BAND * wide * 32 + SLACK
    return first, second, third, planes, planes + PLANES


class FastPNet:
    """PNet: packed weights and kernels."""

    def __init__(self, net: Weights) -> None:
        first, second, third = net.trunk()
        layers = (pack_conv(first, COLUMNS, pixels=True), pack_conv(second, COLUMNS), pack_winograd(third, TILES))
        self.weights, self.heads = Pointers(*(array for layer in layers for array in layer)), Pointers(_heads(net))

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
