"""Layers of the compiled nets for given numbers of channels: each factory returns a compiled function.

Activations are float32 (rows, columns, channels) without padding between channels; functions take addresses, since a
layer works on parts of larger buffers. A buffer needs SLACK floats after its end, since whole vectors are written.
"""

from __future__ import annotations

from typing import Any

from .compiling import inner
from .packing import FLOAT_BYTES
from .registers import LANES, padded, tile_shape
from .tile import conv_tile, pool_tile

__all__ = ["conv", "max_pool"]


def conv(step: int, channels: int, columns: int) -> Any:
    """A convolution with bias and PReLU over a row of positions.

    step      floats from one position to the next: the channels of the input, or all values of a crop.
    channels  of the output.    columns  typical number of positions in a row, which determines the tile.
    """
    vectors, positions = tile_shape(channels, columns)
    blocks = padded(channels) // LANES // vectors

    @inner()
    def run(source, row_stride, rows, run_length, weights, bias, slope, target, count):  # type: ignore[no-untyped-def]
        # The last block first: its padding lanes overlap the next position's first values, which are written later.
        for block in range(blocks - 1, -1, -1):
            used = weights + FLOAT_BYTES * block * rows * run_length * vectors * LANES
            shift = FLOAT_BYTES * block * vectors * LANES
            # A partial last tile begins earlier and recomputes equal values.
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


def max_pool(side: int, channels: int) -> Any:
    """Max pooling with stride 2 of side x side windows, clipped at the end, so that sizes are rounded up.

    The map is square, of `size`; its rows are `stride` floats apart.
    """

    @inner()
    def run(source, stride, size, target):  # type: ignore[no-untyped-def]
        wide = (size - side + 1) // 2 + 1
        for i in range(wide):
            rows = min(side, size - 2 * i)
            for j in range(wide):
                pool_tile(source + FLOAT_BYTES * (2 * i * stride + 2 * j * channels), stride, rows,
                          min(side, size - 2 * j), target + FLOAT_BYTES * (i * wide + j) * channels,
                          channels)  # fmt: skip

    return run
