"""The vector registers of the target processor, and the tiles that fit in them.

Nothing here needs Numba, whose import takes longer than detecting faces in a photo.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

try:
    import llvmlite.binding
except ModuleNotFoundError:  # nothing is compiled, see `plain`: any shape will do
    llvmlite = None

__all__ = ["CELLS", "LANES", "NEAR", "REGISTERS", "TileShape", "halved", "has_feature", "padded", "tile_shape"]


def has_feature(feature: str) -> bool:
    """Whether the target processor has this feature: the host, or NUMBA_CPU_FEATURES."""
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is not None:
        return f"+{feature}" in features.split(",")
    if os.environ.get("NUMBA_CPU_NAME", "host") != "host":
        return False
    return bool(llvmlite.binding.get_host_cpu_features().get(feature))


def _registers() -> tuple[int, int]:
    """Floats in a vector register, and the number of registers."""
    if llvmlite is None:
        return 4, 16
    if llvmlite.binding.get_process_triple().startswith(("aarch64", "arm64")):
        return 4, 32
    if has_feature("avx512f"):
        return 16, 32
    return (8, 16) if has_feature("avx2") else (4, 16)


LANES, REGISTERS = _registers()
CELLS = LANES if REGISTERS > 16 else 2 * LANES  # that the first layers compute together: one weight serves all
FLOAT_BYTES = 4


class TileShape(NamedTuple):
    """A tile: vectors of output channels, and neighbouring positions, that are computed together."""

    vectors: int
    positions: int


def padded(channels: int) -> int:
    """`channels` rounded up to whole vectors."""
    return -(-channels // LANES) * LANES


def halved(channels: int) -> bool:
    """Whether half of the last vector, or more, is empty, so that the last channels of two positions can share it."""
    return channels > LANES and 0 < channels % LANES <= LANES // 2


NEAR = 96 << 10  # bytes of weights that stay in the L1 cache, with the inputs, while a row is computed
FAR = 12  # bytes of weights from the L2 cache, fetched ahead, in the time of a multiplication, measured


@lru_cache
def tile_shape(channels: int, columns: int, steps: int = 0, shared: bool = False) -> TileShape:
    """The shape that computes `columns` positions of `channels` outputs in the fewest cycles.

    A step of a tile loads its weight vectors and one input per position, and multiplies all pairs. It takes as long as
    the slower of loads and multiplications, and at least the latency of an addition. The sums, the weights and one
    input must fit into the registers. Weights of many `steps` come from the L2 cache, which takes longer; maps are then
    at the end of a net, and half as wide.

    shared  whether two positions may share a vector, see `halved`: their number is then even.
    """
    blocks = padded(channels) // LANES
    far = FLOAT_BYTES * steps * padded(channels) > NEAR
    columns = max(columns // 2, 1) if far else columns
    best = (float("inf"), TileShape(1, 1))
    shared = shared and halved(channels)
    for vectors in (v for v in (6, 5, 4, 3, 2, 1) if blocks % v == 0):
        for positions in range(1, min((REGISTERS - vectors - 1) // vectors, columns) + 1):
            step = max(vectors * positions, vectors + positions, 8)
            if far:
                step = max(step, vectors * LANES * FLOAT_BYTES // FAR)
            last = step - positions // 2 if shared and vectors > 1 and positions % 2 == 0 else step
            tiles = -(-columns // positions)
            cycles = (step * (blocks // vectors - 1) + last) * tiles
            best = min(best, (cycles + 0.01 * (vectors + positions) / step, TileShape(vectors, positions)))
    return best[1]
