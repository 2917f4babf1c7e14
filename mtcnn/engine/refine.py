"""RNet and ONet on crops: convolutions crop by crop, in the processor's cache; dense layers for all crops.

The kernels are in `compiled_refine`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..weights import SECOND, SIDES, Layer, Weights
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

__all__ = ["DENSE", "MANY", "MAPS", "WIDE", "FastRefiner", "OutputMaps", "Refined", "output_maps"]

Array = NDArray[Any]

MANY = 64  # typical number of crops, which determines the tiles of the dense layers


class Refined(NamedTuple):
    """Outputs for crops: logits (N,), offsets (N, 4), landmarks (N, 5, 2) or None; float32."""

    logits: Array
    offsets: Array
    landmarks: Array | None


class OutputMaps(NamedTuple):
    """Sides of the maps of ONet, or of the net of its second pass, for crops of a given side.

    tiles   of 3 x 3 cells in a row of the second map; the last ones may be partly outside.
    third   tiles of 4 x 4 that the third map is computed in at once.
    """

    half: int
    second: int
    tiles: int
    pooled: int
    third: int
    last: int


def output_maps(side: int) -> OutputMaps:
    """For crops of 48 or 64: maps of 21, 10, 8, 4 and 3 cells, or of 29, 14, 12, 6 and 5."""
    second = side // 2 - 3
    pooled = (second - 2) // 2 + 1
    return OutputMaps(side // 2, second, -(-second // 3), pooled, 4 if side == 48 else 9, (pooled - 2) // 2 - 1)


# Each later convolution is packed for its columns; or for Winograd's tiles: how many are computed together, and their
# side. Maps of 9 and 21 cells are whole tiles of 3, and those of 8 and 12 are of 4.
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
LAYERS[SECOND] = (
    LAYERS["onet"][0],
    partial(pack_winograd, usual=output_maps(SIDES[SECOND]).third, tile=4),
    partial(pack_conv, columns=5),
)


# Floats of the maps of one crop, as `compiled_refine` lays them out: pixels by planes, scratch for the maxima of the
# first layer, its map with a row before and a few cells behind, and scratch for a step; the other maps; Winograd's
# planes.
WIDE = {"rnet": padded(28), "onet": padded(32), SECOND: padded(32)}  # floats of a cell of the first map


def _first(side: int, channels: int) -> tuple[int, ...]:
    plane, half = crop_plane(side), side // 2
    cells = (half + 1) * half + 2 * CELLS
    return 12 * plane, channels * plane, cells * padded(channels), (48 + padded(channels)) * CELLS


def _output(side: int) -> tuple[int, ...]:
    maps = output_maps(side)
    sides = (3 * maps.tiles, maps.pooled, maps.pooled - 2, maps.last + 1)
    planes = max(scratch(32, 64, 7, 3), scratch(64, 64, maps.third, 4))
    return *_first(side, 32), *(64 * side**2 for side in sides), planes


MAPS = {
    "rnet": (*_first(24, 28), 9 * 9 * 48, 4 * 4 * 48, scratch(28, 48, 9, 3)),
    **{net: _output(SIDES[net]) for net in ("onet", SECOND)},
}
DENSE = {"rnet": (576, 128), "onet": (1152, 256), SECOND: (3200, 256)}  # inputs and outputs of the dense layer


def room(net: str, count: int) -> int:
    """Scratch floats of a net for `count` crops."""
    return sum(size + SLACK for size in (*MAPS[net], *(count * size for size in DENSE[net])))


class FastRefiner:
    """RNet, ONet or the net of its second pass: packed weights and kernels."""

    def __init__(self, net: Weights) -> None:
        *convs, dense = net.trunk()
        first, *later = convs
        packed = [pack(layer) for layer, pack in zip(later, LAYERS[net.net], strict=True)]
        last = net.net != "rnet"
        packed.append(pack_dense(dense, output_maps(SIDES[net.net]).last if last else 3, MANY))
        others = [net.layer(name) for name in (("offsets", "landmarks") if last else ("offsets",))]
        packed.append(pack_heads(net.layer("face"), others, MANY))
        self.weights = Pointers(pack_pixels(first), *(array for layer in packed for array in layer))
        self.name, self.outputs = net.net, 15 if last else 5

    def __call__(self, crops: Array) -> Refined:
        """crops (N, side, side, 3), uint8 or float32 from 0 to 255."""
        out = np.empty(len(crops) * self.outputs + SLACK, np.float32)
        if len(crops):
            side = SIDES[self.name]
            pixels = np.ascontiguousarray(crops, np.float32).reshape(len(crops), side, side, 3)
            work = buffer(room(self.name, len(crops)))
            run = kernel("rnet") if self.name == "rnet" else kernel("onet", side)
            run(pixels.ctypes.data, len(crops), self.weights.at, work.ctypes.data, out.ctypes.data)
        table = out[: len(crops) * self.outputs].reshape(-1, self.outputs)
        points = table[:, 5:].reshape(-1, 5, 2) if self.outputs > 5 else None
        return Refined(table[:, 0], table[:, 1:5], points)
