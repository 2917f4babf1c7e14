"""RNet and ONet over crops, compiled: see `refine`."""

from __future__ import annotations

import numpy as np

from .compiling import array_at
from .layers import conv, max_pool
from .packing import PIXEL_MEAN, SLACK, crop_plane
from .pixel_tile import pooled_crop, split_pixels
from .refine import MANY, MAPS, WIDE
from .winograd import winograd

__all__ = ["onet", "rnet"]

_r2, _r3 = winograd(28, 48, 9, 3, WIDE["rnet"]), conv(48, 64, 3)
_r_pool2 = max_pool(3, 48)
_r_dense, _r_heads = conv(576, 128, MANY), conv(128, 5, MANY)
_o2, _o3, _o4 = winograd(32, 64, 7, 3, WIDE["onet"]), winograd(64, 64, 4, 4), conv(64, 128, 3)
_o_pool2, _o_pool3 = max_pool(3, 64), max_pool(2, 64)
_o_dense, _o_heads = conv(1152, 256, MANY), conv(256, 15, MANY)
R_WIDE, O_WIDE = WIDE["rnet"], WIDE["onet"]
R_PLANE, O_PLANE = crop_plane(24), crop_plane(48)


def _places(net: str) -> list[int]:
    """Byte offsets in a net's scratch memory: its maps, Winograd's planes, and the features of all crops."""
    sizes = [size + SLACK for size in MAPS[net]]
    return [4 * sum(sizes[:i]) for i in range(len(sizes) + 1)]


R_PIXELS, R_BEST, R_MAP1, R_STEP, R_MAP2, R_POOLED2, R_PLANES, R_FLAT = _places("rnet")
O_PIXELS, O_BEST, O_MAP1, O_STEP, O_MAP2, O_POOLED2, O_MAP3, O_POOLED3, O_PLANES, O_FLAT = _places("onet")


def rnet(crops, count, weights_at, work, out):  # type: ignore[no-untyped-def]
    """crops (count, 24 * 24 * 3) to out (count * 5 + SLACK,); their addresses.

    weights  (13,) addresses: the first layer's; weights, bias and slope of the others.    work  address of scratch, see
             `refine.room`.
    """
    w = array_at(weights_at, (13,), np.int64)
    map1, map2, pooled2 = work + R_MAP1 + 4 * 12 * R_WIDE, work + R_MAP2, work + R_POOLED2
    flat = work + R_FLAT
    dense = flat + 4 * (count * 576 + SLACK)
    for n in range(count):
        for row in range(24):
            split_pixels(crops + 4 * 72 * (24 * n + row), PIXEL_MEAN,
                         work + R_PIXELS + 4 * (row % 2 * 6 * R_PLANE + row // 2 * 12), R_PLANE, 12, 1)  # fmt: skip
        pooled_crop(work + R_PIXELS, w[0], work + R_BEST, map1, work + R_STEP, 24, 28)
        _r2(map1, 12 * R_WIDE, w[1], w[2], w[3], map2, 9 * 48, 9, 9, work + R_PLANES)
        _r_pool2(map2, 9 * 48, 9, pooled2)
        for row in range(3):
            _r3(pooled2 + 4 * 4 * 48 * row, 4 * 48, 2, 96, w[4], w[5], w[6], flat + 4 * (576 * n + 3 * 64 * row), 3)
    _r_dense(flat, 0, 1, 576, w[7], w[8], w[9], dense, count)
    _r_heads(dense, 0, 1, 128, w[10], w[11], w[12], out, count)
    return 0


def onet(crops, count, weights_at, work, out):  # type: ignore[no-untyped-def]
    """crops (count, 48 * 48 * 3) to out (count * 15 + SLACK,); see `rnet`. Weights (16,)."""
    w = array_at(weights_at, (16,), np.int64)
    map1, map2, pooled2 = work + O_MAP1 + 4 * 24 * O_WIDE, work + O_MAP2, work + O_POOLED2
    map3, pooled3, planes, flat = work + O_MAP3, work + O_POOLED3, work + O_PLANES, work + O_FLAT
    dense = flat + 4 * (count * 1152 + SLACK)
    for n in range(count):
        for row in range(48):
            target = work + O_PIXELS + 4 * (row % 2 * 6 * O_PLANE + row // 2 * 24)
            source = crops + 4 * 144 * (48 * n + row)
            for part in range(2):
                split_pixels(source + 4 * 72 * part, PIXEL_MEAN, target + 4 * 12 * part, O_PLANE, 12, 1)
        pooled_crop(work + O_PIXELS, w[0], work + O_BEST, map1, work + O_STEP, 48, 32)
        _o2(map1, 24 * O_WIDE, w[1], w[2], w[3], map2, 21 * 64, 21, 21, planes)
        _o_pool2(map2, 21 * 64, 21, pooled2)
        _o3(pooled2, 10 * 64, w[4], w[5], w[6], map3, 8 * 64, 8, 8, planes)
        _o_pool3(map3, 8 * 64, 8, pooled3)
        for row in range(3):
            _o4(pooled3 + 4 * 4 * 64 * row, 4 * 64, 2, 128, w[7], w[8], w[9], flat + 4 * (1152 * n + 3 * 128 * row), 3)
    _o_dense(flat, 0, 1, 1152, w[10], w[11], w[12], dense, count)
    _o_heads(dense, 0, 1, 256, w[13], w[14], w[15], out, count)
    return 0
