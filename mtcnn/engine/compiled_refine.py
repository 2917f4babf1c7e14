"""RNet and ONet over crops, compiled: see `refine`."""

from __future__ import annotations

import numpy as np

from .compiling import array_at, inner
from .layers import conv, max_pool
from .packing import SLACK
from .refine import MANY, MAPS
from .winograd import winograd

__all__ = ["onet", "rnet"]

_r1, _r2, _r3 = conv(3, 28, 22), winograd(28, 48, 9, 3), conv(48, 64, 3)
_r_pool1, _r_pool2 = max_pool(3, 28), max_pool(3, 48)
_r_dense, _r_heads = conv(576, 128, MANY), conv(128, 5, MANY)
_o1, _o2, _o3, _o4 = conv(3, 32, 46), winograd(32, 64, 7, 3), winograd(64, 64, 4, 4), conv(64, 128, 3)
_o_pool1, _o_pool2, _o_pool3 = max_pool(3, 32), max_pool(3, 64), max_pool(2, 64)
_o_dense, _o_heads = conv(1152, 256, MANY), conv(256, 15, MANY)


def _places(net: str) -> list[int]:
    """Byte offsets in a net's scratch memory: its maps, Winograd's planes, and the features of all crops."""
    sizes = [size + SLACK for size in MAPS[net]]
    return [4 * sum(sizes[:i]) for i in range(len(sizes) + 1)]


R_PIXELS, R_MAP1, R_POOLED1, R_MAP2, R_POOLED2, R_PLANES, R_FLAT = _places("rnet")
O_PIXELS, O_MAP1, O_POOLED1, O_MAP2, O_POOLED2, O_MAP3, O_POOLED3, O_PLANES, O_FLAT = _places("onet")


@inner()
def _copy(source: int, target: int, floats: int) -> None:
    """Prefetch into the L1 cache: layers otherwise wait for memory."""
    numbers, copy = array_at(source, (floats,), np.float32), array_at(target, (floats,), np.float32)
    for k in range(floats):
        copy[k] = numbers[k]


def rnet(crops, count, weights_at, work, out):  # type: ignore[no-untyped-def]
    """crops (count, 24 * 24 * 3) to out (count * 5 + SLACK,); their addresses.

    weights  (15,) addresses: weights, bias and slope of the layers.    work  address of scratch, see `refine.room`.
    """
    w = array_at(weights_at, (15,), np.int64)
    map1, pooled1, map2, pooled2 = work + R_MAP1, work + R_POOLED1, work + R_MAP2, work + R_POOLED2
    flat = work + R_FLAT
    dense = flat + 4 * (count * 576 + SLACK)
    for n in range(count):
        _copy(crops + 4 * 24 * 72 * n, work + R_PIXELS, 24 * 72)
        for row in range(22):
            _r1(work + R_PIXELS + 4 * 72 * row, 72, 3, 9, w[0], w[1], w[2], map1 + 4 * 22 * 28 * row, 22)
        _r_pool1(map1, 22 * 28, 22, pooled1)
        _r2(pooled1, 11 * 28, w[3], w[4], w[5], map2, 9 * 48, 9, 9, work + R_PLANES)
        _r_pool2(map2, 9 * 48, 9, pooled2)
        for row in range(3):
            _r3(pooled2 + 4 * 4 * 48 * row, 4 * 48, 2, 96, w[6], w[7], w[8], flat + 4 * (576 * n + 3 * 64 * row), 3)
    _r_dense(flat, 0, 1, 576, w[9], w[10], w[11], dense, count)
    _r_heads(dense, 0, 1, 128, w[12], w[13], w[14], out, count)
    return 0


def onet(crops, count, weights_at, work, out):  # type: ignore[no-untyped-def]
    """crops (count, 48 * 48 * 3) to out (count * 15 + SLACK,); see `rnet`. Weights (18,)."""
    w = array_at(weights_at, (18,), np.int64)
    map1, pooled1, map2, pooled2 = work + O_MAP1, work + O_POOLED1, work + O_MAP2, work + O_POOLED2
    map3, pooled3, planes, flat = work + O_MAP3, work + O_POOLED3, work + O_PLANES, work + O_FLAT
    dense = flat + 4 * (count * 1152 + SLACK)
    for n in range(count):
        _copy(crops + 4 * 48 * 144 * n, work + O_PIXELS, 48 * 144)
        for row in range(46):
            _o1(work + O_PIXELS + 4 * 144 * row, 144, 3, 9, w[0], w[1], w[2], map1 + 4 * 46 * 32 * row, 46)
        _o_pool1(map1, 46 * 32, 46, pooled1)
        _o2(pooled1, 23 * 32, w[3], w[4], w[5], map2, 21 * 64, 21, 21, planes)
        _o_pool2(map2, 21 * 64, 21, pooled2)
        _o3(pooled2, 10 * 64, w[6], w[7], w[8], map3, 8 * 64, 8, 8, planes)
        _o_pool3(map3, 8 * 64, 8, pooled3)
        for row in range(3):
            _o4(
                pooled3 + 4 * 4 * 64 * row, 4 * 64, 2, 128, w[9], w[10], w[11], flat + 4 * (1152 * n + 3 * 128 * row), 3
            )
    _o_dense(flat, 0, 1, 1152, w[12], w[13], w[14], dense, count)
    _o_heads(dense, 0, 1, 256, w[15], w[16], w[17], out, count)
    return 0
