"""Weights packed for the compiled layers, and their scratch memory. Nothing here needs Numba."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..weights import Layer
from .registers import FLOAT_BYTES, LANES, TileShape, padded, tile_shape

__all__ = [
    "FLOAT_BYTES",
    "PAIR",
    "PIXEL_MEAN",
    "SLACK",
    "TILES",
    "Packed",
    "Pointers",
    "buffer",
    "crop_plane",
    "pack",
    "pack_conv",
    "pack_dense",
    "pack_heads",
    "pack_pixels",
    "pack_winograd",
    "scratch",
    "tiles_at_once",
    "turned",
]

Array = NDArray[Any]

SLACK = 64  # floats
KEPT = 1 << 22  # maximum scratch floats that a thread keeps: PNet's for a 4K image
PIXEL_MEAN, PIXEL_DIVISOR = 127.5, 128.0  # see nets.to_input
PAIR = 2  # output channels of a first layer that are computed together
TILES = 32  # see `tiles_at_once`
# Points of the polynomials of Winograd's tiles, by the side of a tile; infinity is one more. 1/2 and -2 together lose
# less precision than 2 and -2 do.
POINTS = {2: (0.0, 1.0, -1.0), 3: (0.0, 1.0, -1.0, 0.5), 4: (0.0, 1.0, -1.0, 0.5, -2.0)}


class Packed(NamedTuple):
    """A layer's weights (blocks, steps, lanes) as its tiles read them, bias and slope (padded channels), float32."""

    weights: Array
    bias: Array
    slope: Array


class Pointers:
    """Arrays that compiled code reads, and their addresses.

    arrays  float32; aligned to cache lines.
    each    their addresses.    table, at  the addresses as an int64 array, and its own address.

    Addresses are valid in one process: a pickle or copy contains the arrays and recomputes their addresses.
    """

    def __init__(self, *arrays: Array) -> None:
        self.arrays = tuple(map(_placed, arrays))
        self.each = tuple(int(array.ctypes.data) for array in self.arrays)
        self.table = np.array(self.each, np.int64)
        self.at = int(self.table.ctypes.data)

    def __reduce__(self) -> tuple[type[Pointers], tuple[Array, ...]]:
        return Pointers, self.arrays


_local = threading.local()  # scratch of a thread, kept for its next call: the system must clear new memory


def buffer(floats: int) -> Array:
    """Scratch memory, float32 (floats,), aligned to a cache line; valid until this thread's next call."""
    found: Array | None = getattr(_local, "room", None)
    if found is None or len(found) < floats:
        room = np.empty(floats + 16, np.float32)
        found = room[-room.ctypes.data // FLOAT_BYTES % 16 :][:floats]
        _local.room = found if floats <= KEPT else None
    return found[:floats]


def _placed(values: Array) -> Array:
    """A copy aligned to cache lines, so that no vector spans two lines."""
    if values.flags.c_contiguous and values.ctypes.data % (16 * FLOAT_BYTES) == 0:
        return values
    room = np.empty(values.size + 16, np.float32)
    copy = room[-room.ctypes.data // FLOAT_BYTES % 16 :][: values.size].reshape(values.shape)
    copy[...] = values
    return copy


def pack(
    weights: Array, bias: Array, slope: Array | None, columns: int, tile: TileShape | None = None
) -> Packed:  # fmt: skip
    """Pack weights (steps, channels) for `conv(..., channels, columns)`, or for another tile; no slope is no PReLU."""
    steps, channels = weights.shape
    block = (tile or tile_shape(channels, columns)).vectors * LANES
    behind = padded(channels) - channels
    wide = np.pad(np.asarray(weights, np.float32), ((0, 0), (0, behind)))
    wide = wide.reshape(steps, -1, block).transpose(1, 0, 2)  # (steps, blocks, lanes) -> (blocks, steps, lanes)
    bent = np.ones(channels) if slope is None else slope
    return Packed(_placed(wide), *(_placed(np.pad(np.asarray(v, np.float32), (0, behind))) for v in (bias, bent)))


def kernel_of(layer: Layer) -> Array:
    """The weights of a convolution, float64 (y, x, in, out).

    In memory (out, y, x, in): NumPy's summation order, and so the last bit of a sum, depends on it.
    """
    return np.ascontiguousarray(layer.weight.transpose(0, 2, 3, 1), np.float64).transpose(1, 2, 3, 0)


def pack_conv(layer: Layer, columns: int, pixels: bool = False) -> Packed:
    """Pack a convolution and the PReLU that follows; with `pixels`, scaling is folded in: its input is 0 to 255."""
    kernel, bias = kernel_of(layer), layer.bias.astype(np.float64)
    if pixels:  # w (x - 127.5) / 128 = (w / 128) x - (w / 128) 127.5
        kernel = kernel / PIXEL_DIVISOR
        bias = bias - PIXEL_MEAN * kernel.sum(axis=(0, 1, 2))
    steps = kernel.reshape(-1, kernel.shape[3])  # (y, x, in, out) -> (steps, out)
    return pack(steps, bias, layer.slope, columns)


def pack_pixels(layer: Layer) -> Array:
    """Pack a first layer: (outputs / PAIR, 50 * PAIR) float32, as `pixel_tile` reads it.

    Scaling is folded in: its input is pixels less PIXEL_MEAN.
    """
    assert layer.slope is not None
    kernel, turn = kernel_of(layer) / PIXEL_DIVISOR, turn_of(2)
    planes = np.einsum("ay,bx,yxio->baio", turn, turn, kernel).reshape(48, -1)  # (column, row, colour, out) before
    rows = np.vstack([planes, layer.bias, layer.slope])
    return rows.reshape(50, -1, PAIR).transpose(1, 0, 2).reshape(-1, 50 * PAIR).astype(np.float32)


def crop_plane(side: int) -> int:
    """Floats of a plane of every second row and column of a crop, with room for the lanes behind its end."""
    return (side // 2) ** 2 + side + SLACK


def pack_dense(layer: Layer, side: int, columns: int) -> Packed:
    """Pack a dense layer over a flattened map of side x side positions."""
    outputs = len(layer.weight)
    weights = layer.weight.reshape(outputs, -1, side, side)
    steps = weights.transpose(2, 3, 1, 0).reshape(-1, outputs)  # (out, in, y, x) -> (y, x, in, out)
    return pack(steps, layer.bias, layer.slope, columns)


def pack_heads(face: Layer, others: Sequence[Layer], columns: int) -> Packed:
    """Pack heads side by side: the face logit, the second of the pair minus the first, and the others."""
    weights, biases = (
        np.concatenate([_difference(pair), *(layer[part] for layer in others)]) for part, pair in enumerate(face[:2])
    )
    return pack(weights.T, biases, None, columns)


def _difference(pair: Array) -> Array:
    return np.diff(pair.astype(np.float64), axis=0)


def pack_winograd(layer: Layer, usual: int, tile: int = 2) -> Packed:
    """Transform a 3 x 3 kernel and pack it: weights ((tile + 2)^2, blocks, inputs, lanes), see `turned`."""
    assert layer.slope is not None
    return turned(kernel_of(layer).transpose(3, 2, 0, 1), layer.bias, layer.slope, usual, tile)  # to (out, in, y, x)


def turned(kernel: Array, bias: Array, slope: Array, usual: int, tile: int = 2) -> Packed:
    """As `pack_winograd`, for a kernel (out, in, 3, 3).

    usual  tiles of a map or a part of it, which determine the shape of the products.
    tile   side of a tile of outputs, 2 to 4.
    """
    outputs, inputs = kernel.shape[:2]
    turn = turn_of(tile)
    both = np.einsum("ay,bx,oiyx->abio", turn, turn, kernel)
    lanes = tile_shape(outputs, usual).vectors * LANES
    planes = both.reshape(len(turn) ** 2, inputs, -1, lanes).transpose(0, 2, 1, 3)  # (planes, in, blocks, lanes) before
    return Packed(*(_placed(np.asarray(values, np.float32)) for values in (planes, bias, slope)))


def turn_of(tile: int) -> Array:
    """The matrix (tile + 2, 3) that transforms a kernel, G in the paper, for tiles of `tile` x `tile` outputs.

    A row holds the powers of a point over the product of its distances from the others; the last is for infinity.
    """
    points = np.array(POINTS[tile])
    apart = points[:, None] - points + np.eye(len(points))
    return np.vstack([np.vander(points, 3, increasing=True) / apart.prod(axis=1)[:, None], [0.0, 0.0, 1.0]])


def tiles_at_once(tile: int, usual: int) -> int:
    """Maximum tiles of `tile` x `tile` outputs that are transformed before the products: intermediates stay in the
    caches."""
    return TILES if tile == 2 else usual


def scratch(inputs: int, outputs: int, usual: int = TILES, tile: int = 2) -> int:
    """Scratch floats of a layer with these channels, see `winograd.winograd`."""
    return (tile + 2) ** 2 * (tiles_at_once(tile, usual) * (padded(inputs) + outputs) + 2 * SLACK)
