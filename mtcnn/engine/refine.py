"""RNet and ONet on crops: convolutions crop by crop, in the processor's cache; dense layers for all crops.

The kernels are in `compiled_refine`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..weights import SIZES, Layer, Weights
from .kernel_cache import kernel
from .packing import (
    SLACK,
    Packed,
    Pointers,
    buffer,
    crop_plane,
    pack_conv,
    pack_dense,
    pack_heads,
    pack_pixels,
    pack_winograd,
    scratch,
)
from .registers import CELLS, padded

__all__ = ["DENSE", "MANY", "MAPS", "WIDE", "FastRefiner", "Refined"]

Array = NDArray[Any]

MANY = 64  # typical number of crops, which determines the tiles of the dense layers


class Refined(NamedTuple):
    """Outputs for crops: logits (N,), offsets (N, 4), landmarks (N, 5, 2) or None; float32."""

    logits: Array
    offsets: Array
    landmarks: Array | None


# Each later convolution is packed for its columns; or for Winograd's tiles: how many are computed together, and their
# side. Maps of 9 and 21 cells are whole tiles of 3, and one of 8 is of 4.
LAYERS: dict[str, tuple[Callable[[Layer], Packed], ...]] = {
    "rnet": (
        partial(pack_winograd, usual=9, tile=3),
        partial(pack_conv, columns=3),
    ),
    "onet": (
        partial(pack_winograd, usual=7, tile=3),
        partial(pack_winograd, usual=4, tile=4),
        partial(pack_conv, columns=3),
    ),
}


# Floats of the maps of one crop, as `compiled_refine` lays them out: pixels by planes, scratch for the maxima of the
# first layer, its map with a row before and a few cells behind, and scratch for a step; the other maps; Winograd's
# planes.
WIDE = {"rnet": padded(28), "onet": padded(32)}  # floats of a cell of the first map


def _first(side: int, channels: int) -> tuple[int, ...]:
    plane, half = crop_plane(side), side // 2
    cells = (half + 1) * half + 2 * CELLS
    return 12 * plane, channels * plane, cells * padded(channels), (48 + padded(channels)) * CELLS


MAPS = {
    "rnet": (*_first(24, 28), 9 * 9 * 48, 4 * 4 * 48, scratch(28, 48, 9, 3)),
    "onet": (
        *_first(48, 32), 21 * 21 * 64, 10 * 10 * 64, 8 * 8 * 64, 4 * 4 * 64,
        max(scratch(32, 64, 7, 3), scratch(64, 64, 4, 4)),
    ),
}  # fmt: skip
DENSE = {"rnet": (576, 128), "onet": (1152, 256)}  # inputs and outputs of the dense layer


def room(net: str, count: int) -> int:
    """Scratch floats of a net for `count` crops."""
    return sum(size + SLACK for size in (*MAPS[net], *(count * size for size in DENSE[net])))


class FastRefiner:
    """RNet or ONet: packed weights and kernels."""

    def __init__(self, net: Weights) -> None:
        *convs, dense = net.trunk()
        first, *later = convs
        packed = [pack(layer) for layer, pack in zip(later, LAYERS[net.net], strict=True)]
        packed.append(pack_dense(dense, 3, MANY))
        last = net.net == "onet"
        others = [net.layer(name) for name in (("offsets", "landmarks") if last else ("offsets",))]
        packed.append(pack_heads(net.layer("face"), others, MANY))
        self.weights = Pointers(pack_pixels(first), *(array for layer in packed for array in layer))
        self.name, self.outputs = net.net, 15 if last else 5

    def __call__(self, crops: Array) -> Refined:
        """crops (N, side, side, 3), uint8 or float32 from 0 to 255."""
        out = np.empty(len(crops) * self.outputs + SLACK, np.float32)
        if len(crops):
            side = SIZES[self.name]
            pixels = np.ascontiguousarray(crops, np.float32).reshape(len(crops), side, side, 3)
            work = buffer(room(self.name, len(crops)))
            kernel(self.name)(pixels.ctypes.data, len(crops), self.weights.at, work.ctypes.data, out.ctypes.data)
        table = out[: len(crops) * self.outputs].reshape(-1, self.outputs)
        points = table[:, 5:].reshape(-1, 5, 2) if self.outputs > 5 else None
        return Refined(table[:, 0], table[:, 1:5], points)
