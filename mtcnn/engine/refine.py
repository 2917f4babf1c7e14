"""RNet and ONet over crops: the convolutions crop by crop, in the processor's cache; the dense layers for all crops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..weights import Weights
from .layers import SLACK, conv, max_pool, pack_conv, pack_dense, pack_heads
from .winograd import pack_winograd, scratch, winograd

__all__ = ["FastRefiner", "Refined"]

Array = NDArray[Any]

MANY = 64  # crops; a usual number, to choose the tiles of the dense layers by

_r1, _r2, _r3 = conv(3, 28, 22), winograd(28, 48, 25), conv(48, 64, 3)
_r_pool1, _r_pool2 = max_pool(3, 28), max_pool(3, 48)
_r_dense, _r_heads = conv(576, 128, MANY), conv(128, 5, MANY)
_o1, _o2, _o3, _o4 = conv(3, 32, 46), winograd(32, 64, 31), winograd(64, 64, 16), conv(64, 128, 3)
_o_pool1, _o_pool2, _o_pool3 = max_pool(3, 32), max_pool(3, 64), max_pool(2, 64)
_o_dense, _o_heads = conv(1152, 256, MANY), conv(256, 15, MANY)
R_WORK, O_WORK = scratch(28, 48), scratch(64, 64)


class Refined(NamedTuple):
    """What a net says of crops: logits (N,), offsets (N, 4), landmarks (N, 5, 2) or None; float32."""

    logits: Array
    offsets: Array
    landmarks: Array | None


@njit(cache=True, nogil=True)
def _rnet(crops, w1, b1, s1, w2, b2, s2, w3, b3, s3, w4, b4, s4, w5, b5, s5, out):  # type: ignore[no-untyped-def]
    """crops (N, 24 * 24 * 3) to out (N * 5 + SLACK,)."""
    count = len(crops)
    pixels = np.empty(24 * 72, np.float32)
    # What Winograd's tiles read or write beyond the edge lies in one more row and column.
    map1, pooled1 = np.empty(22 * 22 * 28 + SLACK, np.float32), np.empty(12 * 12 * 28 + SLACK, np.float32)
    map2, pooled2 = np.empty(10 * 10 * 48, np.float32), np.empty(4 * 4 * 48 + SLACK, np.float32)
    work = np.empty(R_WORK, np.float32)
    flat, dense = np.empty(count * 576 + SLACK, np.float32), np.empty(count * 128 + SLACK, np.float32)
    for n in range(count):
        for k in range(24 * 72):
            pixels[k] = crops[n, k]
        for row in range(22):
            _r1(pixels.ctypes.data + 4 * 72 * row, 72, 3, 9, w1.ctypes.data, b1.ctypes.data, s1.ctypes.data,
                map1.ctypes.data + 4 * 22 * 28 * row, 22)  # fmt: skip
        _r_pool1(map1.ctypes.data, 22 * 28, 22, pooled1.ctypes.data)
        _r2(pooled1.ctypes.data, 11 * 28, w2.ctypes.data, b2.ctypes.data, s2.ctypes.data, map2.ctypes.data, 10 * 48,
            9, 9, work.ctypes.data)  # fmt: skip
        _r_pool2(map2.ctypes.data, 10 * 48, 9, pooled2.ctypes.data)
        for row in range(3):
            _r3(pooled2.ctypes.data + 4 * 4 * 48 * row, 4 * 48, 2, 96, w3.ctypes.data, b3.ctypes.data, s3.ctypes.data,
                flat.ctypes.data + 4 * (576 * n + 3 * 64 * row), 3)  # fmt: skip
    _r_dense(flat.ctypes.data, 0, 1, 576, w4.ctypes.data, b4.ctypes.data, s4.ctypes.data, dense.ctypes.data, count)
    _r_heads(dense.ctypes.data, 0, 1, 128, w5.ctypes.data, b5.ctypes.data, s5.ctypes.data, out.ctypes.data, count)


@njit(cache=True, nogil=True)
def _onet(crops, w1, b1, s1, w2, b2, s2, w3, b3, s3, w4, b4, s4, w5, b5, s5, w6, b6, s6, out):  # type: ignore[no-untyped-def]
    """crops (N, 48 * 48 * 3) to out (N * 15 + SLACK,)."""
    count = len(crops)
    pixels = np.empty(48 * 144, np.float32)
    map1, pooled1 = np.empty(46 * 46 * 32, np.float32), np.empty(24 * 24 * 32, np.float32)
    map2, pooled2 = np.empty(22 * 22 * 64, np.float32), np.empty(10 * 10 * 64, np.float32)
    map3, pooled3 = np.empty(8 * 8 * 64, np.float32), np.empty(4 * 4 * 64, np.float32)
    work = np.empty(O_WORK, np.float32)
    flat, dense = np.empty(count * 1152 + SLACK, np.float32), np.empty(count * 256 + SLACK, np.float32)
    for n in range(count):
        for k in range(48 * 144):
            pixels[k] = crops[n, k]
        for row in range(46):
            _o1(pixels.ctypes.data + 4 * 144 * row, 144, 3, 9, w1.ctypes.data, b1.ctypes.data, s1.ctypes.data,
                map1.ctypes.data + 4 * 46 * 32 * row, 46)  # fmt: skip
        _o_pool1(map1.ctypes.data, 46 * 32, 46, pooled1.ctypes.data)
        _o2(pooled1.ctypes.data, 23 * 32, w2.ctypes.data, b2.ctypes.data, s2.ctypes.data, map2.ctypes.data, 22 * 64,
            21, 21, work.ctypes.data)  # fmt: skip
        _o_pool2(map2.ctypes.data, 22 * 64, 21, pooled2.ctypes.data)
        _o3(pooled2.ctypes.data, 10 * 64, w3.ctypes.data, b3.ctypes.data, s3.ctypes.data, map3.ctypes.data, 8 * 64,
            8, 8, work.ctypes.data)  # fmt: skip
        _o_pool3(map3.ctypes.data, 8 * 64, 8, pooled3.ctypes.data)
        for row in range(3):
            _o4(pooled3.ctypes.data + 4 * 4 * 64 * row, 4 * 64, 2, 128, w4.ctypes.data, b4.ctypes.data, s4.ctypes.data,
                flat.ctypes.data + 4 * (1152 * n + 3 * 128 * row), 3)  # fmt: skip
    _o_dense(flat.ctypes.data, 0, 1, 1152, w5.ctypes.data, b5.ctypes.data, s5.ctypes.data, dense.ctypes.data, count)
    _o_heads(dense.ctypes.data, 0, 1, 256, w6.ctypes.data, b6.ctypes.data, s6.ctypes.data, out.ctypes.data, count)


# How each convolution is computed, and the columns or tiles that it is packed for.
LAYERS = {
    "rnet": ((pack_conv, 22), (pack_winograd, 25), (pack_conv, 3)),
    "onet": ((pack_conv, 46), (pack_winograd, 31), (pack_winograd, 16), (pack_conv, 3)),
}


class FastRefiner:
    """RNet's or ONet's weights, packed, and what runs them."""

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
        self.weights = tuple(array for layer in packed for array in layer)
        self.run: Any = _onet if last else _rnet
        self.outputs = 15 if last else 5

    def __call__(self, crops: Array) -> Refined:
        """crops (N, side, side, 3), uint8 or float32 from 0 to 255."""
        out = np.empty(len(crops) * self.outputs + SLACK, np.float32)
        if len(crops):
            self.run(np.ascontiguousarray(crops).reshape(len(crops), -1), *self.weights, out)
        table = out[: len(crops) * self.outputs].reshape(-1, self.outputs)
        points = table[:, 5:].reshape(-1, 5, 2) if self.outputs > 5 else None
        return Refined(table[:, 0], table[:, 1:5], points)
