"""RNet and ONet over crops, compiled: see `refine`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..weights import SECOND, SIDES
from .compiling import array_at
from .layers import conv, max_pool
from .packing import PIXEL_MEAN, SLACK, crop_plane
from .pixel_tile import pooled_crop, split_pixels
from .refine import DENSE, MANY, MAPS, WIDE, output_maps
from .winograd import winograd

__all__ = ["onet", "rnet"]

_r2, _r3 = winograd(28, 48, 9, 3, WIDE["rnet"]), conv(48, 64, 3)
_r_pool2 = max_pool(3, 48)
_r_dense, _r_heads = conv(576, 128, MANY), conv(128, 5, MANY)
R_WIDE, R_PLANE = WIDE["rnet"], crop_plane(24)


def _places(net: str) -> list[int]:
    """Byte offsets in a net's scratch memory: its maps, Winograd's planes, and the features of all crops."""
    sizes = [size + SLACK for size in MAPS[net]]
    return [4 * sum(sizes[:i]) for i in range(len(sizes) + 1)]


R_PIXELS, R_BEST, R_MAP1, R_STEP, R_MAP2, R_POOLED2, R_PLANES, R_FLAT = _places("rnet")


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


def onet(side: int) -> Any:
    """The kernel of ONet, or of the net of its second pass, for crops of `side`: 48 or 64."""
    net = "onet" if side == SIDES["onet"] else SECOND
    maps, wide, plane, pairs = output_maps(side), WIDE[net], crop_plane(side), side // 4
    half, side2, pooled_side, last, features = maps.half, maps.second, maps.pooled, maps.last, DENSE[net][0]
    line2, whole = 3 * maps.tiles * 64, side2 == 3 * maps.tiles
    side3, run = pooled_side - 2, last * 128
    second, third, fourth = winograd(32, 64, 7, 3, wide), winograd(64, 64, maps.third, 4), conv(64, 128, last)
    pool2, pool3 = max_pool(3, 64), max_pool(2, 64)
    dense_layer, heads = conv(features, 256, MANY), conv(256, 15, MANY)
    at_pixels, at_best, at_map1, at_step, at_map2, at_pooled2, at_map3, at_pooled3, at_planes, at_flat = _places(net)

    def kernel(crops, count, weights_at, work, out):  # type: ignore[no-untyped-def]
        """crops (count, side * side * 3) to out (count * 15 + SLACK,); see `rnet`. Weights (16,)."""
        w = array_at(weights_at, (16,), np.int64)
        map1, map2, pooled2 = work + at_map1 + 4 * half * wide, work + at_map2, work + at_pooled2
        map3, pooled3, planes, flat = work + at_map3, work + at_pooled3, work + at_planes, work + at_flat
        dense = flat + 4 * (count * features + SLACK)
        for n in range(count):
            for row in range(side):
                target = work + at_pixels + 4 * (row % 2 * 6 * plane + row // 2 * half)
                source = crops + 4 * 3 * side * (side * n + row)
                for part in range(2):
                    split_pixels(source + 24 * pairs * part, PIXEL_MEAN, target + 4 * pairs * part, plane, pairs, 1)
            pooled_crop(work + at_pixels, w[0], work + at_best, map1, work + at_step, side, 32)
            if not whole:  # what the last tiles see beyond the map, which must be finite
                array_at(map1 + 4 * (half - 1) * half * wide, (half * wide,), np.float32)[:] = 0
                for row in range(half - 1):
                    array_at(map1 + 4 * ((row + 1) * half - 1) * wide, (wide,), np.float32)[:] = 0
            second(map1, half * wide, w[1], w[2], w[3], map2, line2, side2, side2, planes)
            pool2(map2, line2, side2, pooled2)
            third(pooled2, pooled_side * 64, w[4], w[5], w[6], map3, side3 * 64, side3, side3, planes)
            pool3(map3, side3 * 64, side3, pooled3)
            for row in range(last):
                fourth(pooled3 + 4 * (last + 1) * 64 * row, (last + 1) * 64, 2, 128, w[7], w[8], w[9],
                       flat + 4 * (features * n + run * row), last)  # fmt: skip
        dense_layer(flat, 0, 1, features, w[10], w[11], w[12], dense, count)
        heads(dense, 0, 1, 256, w[13], w[14], w[15], out, count)
        return 0

    return kernel
