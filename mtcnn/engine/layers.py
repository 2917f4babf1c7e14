"""Layers of the fast nets, made for given channels: each factory returns a compiled function.

Activations are float32 (rows, columns, channels) without padding between channels; functions take addresses, for a
layer works on parts of larger buffers. A buffer needs SLACK floats behind its end, since whole vectors are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..weights import Layer
from .tile import conv_tile, padded, pool_tile, pooled_tile, tile_shape
from .vectors import LANES, REGISTERS

__all__ = [
    "SLACK",
    "Packed",
    "addresses",
    "conv",
    "kernel_of",
    "max_pool",
    "pack",
    "pack_conv",
    "pack_dense",
    "pack_heads",
    "pooled_conv",
]

Array = NDArray[Any]

SLACK = 64  # floats
FLOAT_BYTES = 4
PIXEL_MEAN, PIXEL_DIVISOR = 127.5, 128.0  # see nets.to_input


class Packed(NamedTuple):
    """A layer's weights (blocks, steps, lanes) as its tiles read them, bias and slope (padded channels), float32."""

    weights: Array
    bias: Array
    slope: Array


def addresses(packed: Packed) -> list[int]:
    """Where its three arrays lie."""
    return [array.ctypes.data for array in packed]


def pack(weights: Array, bias: Array, slope: Array | None, columns: int) -> Packed:
    """Pack weights (steps, channels) for `conv(..., channels, columns)`; no slope is no PReLU."""
    steps, channels = weights.shape
    block = tile_shape(channels, columns).vectors * LANES
    behind = padded(channels) - channels
    wide = np.pad(np.asarray(weights, np.float32), ((0, 0), (0, behind)))
    wide = wide.reshape(steps, -1, block).transpose(1, 0, 2)  # (steps, blocks, lanes) -> (blocks, steps, lanes)
    bent = np.ones(channels) if slope is None else slope
    return Packed(np.ascontiguousarray(wide), *(np.pad(np.asarray(v, np.float32), (0, behind)) for v in (bias, bent)))


def kernel_of(layer: Layer) -> Array:
    """The weights of a convolution, float64 (y, x, in, out).

    In memory (out, y, x, in): NumPy's order of summation, and with it the last bit of a sum, depends on that.
    """
    return np.ascontiguousarray(layer.weight.transpose(0, 2, 3, 1), np.float64).transpose(1, 2, 3, 0)


def pack_conv(layer: Layer, columns: int, pixels: bool = False) -> Packed:
    """Pack a convolution and the PReLU behind it; with `pixels` its input is 0 to 255, as `to_input` is given it."""
    kernel, bias = kernel_of(layer), layer.bias.astype(np.float64)
    if pixels:  # w (x - 127.5) / 128 = (w / 128) x - (w / 128) 127.5
        kernel = kernel / PIXEL_DIVISOR
        bias = bias - PIXEL_MEAN * kernel.sum(axis=(0, 1, 2))
    steps = kernel.reshape(-1, kernel.shape[3])  # (y, x, in, out) -> (steps, out)
    return pack(steps, bias, layer.slope, columns)


def pack_dense(layer: Layer, side: int, columns: int) -> Packed:
    """Pack a dense layer over a flattened map of side x side positions."""
    outputs = len(layer.weight)
    weights = layer.weight.reshape(outputs, -1, side, side)
    steps = weights.transpose(2, 3, 1, 0).reshape(-1, outputs)  # (out, in, y, x) -> (y, x, in, out)
    return pack(steps, layer.bias, layer.slope, columns)


def pack_heads(face: Layer, others: Sequence[Layer], columns: int) -> Packed:
    """Pack heads side by side: the face logit, which is the second of the pair less the first, and the others."""
    weights, biases = (
        np.concatenate([_difference(pair), *(layer[part] for layer in others)]) for part, pair in enumerate(face[:2])
    )
    return pack(weights.T, biases, None, columns)


def _difference(pair: Array) -> Array:
    return np.diff(pair.astype(np.float64), axis=0)


def conv(step: int, channels: int, columns: int) -> Any:
    """A convolution with bias and PReLU over a row of positions.

    step      floats from one position to the next: the channels of the input, or all numbers of a crop.
    channels  of the output.    columns  about how many positions a row will have, to choose the tile by.
    """
    vectors, positions = tile_shape(channels, columns)
    blocks, lanes = padded(channels) // LANES // vectors, vectors * LANES

    @njit(cache=True, nogil=True)
    def run(source, row_stride, rows, run_length, weights, bias, slope, target, count):  # type: ignore[no-untyped-def]
        # The last block first: its padding lanes fall on the next position's first numbers, which are then written.
        for block in range(blocks - 1, -1, -1):
            used = weights + FLOAT_BYTES * block * rows * run_length * lanes
            shift = FLOAT_BYTES * block * lanes
            # A last tile that is not full begins earlier; what it computes again comes out the same.
            for at in range(0, count if count >= positions else 0, positions):
                first = min(at, count - positions)
                conv_tile(source + FLOAT_BYTES * first * step, row_stride, rows, run_length, used, bias + shift,
                          slope + shift, target + shift + FLOAT_BYTES * first * channels,
                          step, vectors, positions, channels)  # fmt: skip
            for at in range(count if count < positions else 0):
                conv_tile(source + FLOAT_BYTES * at * step, row_stride, rows, run_length, used, bias + shift,
                          slope + shift, target + shift + FLOAT_BYTES * at * channels,
                          step, vectors, 1, channels)  # fmt: skip

    return run


def pooled_conv(step: int, channels: int) -> Any:
    """A convolution with bias and PReLU over two rows, and the largest of each 2 x 2: a row of count outputs.

    columns, two_rows  tell of what is there: an odd last column, or a single row, is pooled by itself.
    """
    vectors = padded(channels) // LANES
    pairs = max((REGISTERS - vectors - 1) // (4 * vectors), 1)

    @njit(cache=True, nogil=True)
    def run(source, row_stride, rows, run_length, weights, bias, slope, target, columns, two_rows):  # type: ignore[no-untyped-def]
        below = row_stride if two_rows else 0
        full = columns // 2
        for at in range(0, full if full >= pairs else 0, pairs):
            first = min(at, full - pairs)
            pooled_tile(source + FLOAT_BYTES * 2 * first * step, row_stride, rows, run_length, weights, bias, slope,
                        target + FLOAT_BYTES * first * channels, step, below,
                        step, vectors, pairs, channels)  # fmt: skip
        for at in range(full if full >= pairs else 0, (columns + 1) // 2):
            beside = step if at < full else 0
            pooled_tile(source + FLOAT_BYTES * 2 * at * step, row_stride, rows, run_length, weights, bias, slope,
                        target + FLOAT_BYTES * at * channels, beside, below,
                        step, vectors, 1, channels)  # fmt: skip

    return run


def max_pool(side: int, channels: int) -> Any:
    """The largest of each side x side window at stride 2; windows are cut at the end, so that sizes are rounded up.

    Of a square map of `size`, whose rows lie `stride` floats apart.
    """

    @njit(cache=True, nogil=True)
    def run(source, stride, size, target):  # type: ignore[no-untyped-def]
        wide = (size - side + 1) // 2 + 1
        for i in range(wide):
            rows = min(side, size - 2 * i)
            for j in range(wide):
                pool_tile(source + FLOAT_BYTES * (2 * i * stride + 2 * j * channels), stride, rows,
                          min(side, size - 2 * j), target + FLOAT_BYTES * (i * wide + j) * channels,
                          channels)  # fmt: skip

    return run
