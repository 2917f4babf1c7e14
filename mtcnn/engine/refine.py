"""RNet and ONet on crops: convolutions crop by crop, in the processor's cache; dense layers for all crops.

The kernels are in `compiled_refine`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..weights import SIZES, Weights
from .kernel_cache import kernel
from .packing import SLACK, Pointers, buffer, pack_conv, pack_dense, pack_heads, pack_winograd, scratch

__all__ = ["DENSE", "MANY", "MAPS", "FastRefiner", "Refined"]

Array = NDArray[Any]

MANY = 64  # typical number of crops, which determines the tiles of the dense layers


class Refined(NamedTuple):
    """Outputs for crops: logits (N,), offsets (N, 4), landmarks (N, 5, 2) or None; float32."""

    logits: Array
    offsets: Array
    landmarks: Array | None


# The algorithm of each convolution, and the columns or tiles that it is packed for.
LAYERS = {
    "rnet": ((pack_conv, 22), (pack_winograd, 25), (pack_conv, 3)),
    "onet": ((pack_conv, 46), (pack_winograd, 31), (pack_winograd, 16), (pack_conv, 3)),
}


# Floats of the maps of one crop, as `compiled_refine` lays them out. One more row and column is for what Winograd's
# tiles read or write beyond the edge.
MAPS = {
    "rnet": (24 * 24 * 3, 22 * 22 * 28, 12 * 12 * 28, 10 * 10 * 48, 4 * 4 * 48, scratch(28, 48)),
    "onet": (
        48 * 48 * 3, 46 * 46 * 32, 24 * 24 * 32, 22 * 22 * 64, 10 * 10 * 64, 8 * 8 * 64, 4 * 4 * 64, scratch(64, 64)
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
        packed = [
            pack(layer, many) if i else pack_conv(layer, many, pixels=True)
            for i, (layer, (pack, many)) in enumerate(zip(convs, LAYERS[net.net], strict=True))
        ]
        packed.append(pack_dense(dense, 3, MANY))
        last = net.net == "onet"
        others = [net.layer(name) for name in (("offsets", "landmarks") if last else ("offsets",))]
        packed.append(pack_heads(net.layer("face"), others, MANY))
        self.weights = Pointers(*(array for layer in packed for array in layer))
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
