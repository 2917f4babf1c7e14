"""3 x 3 convolutions of plans by Winograd's tiles: two rows of a map at a time, see `compiled_steps` and `winograd`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import array_at
from .packing import FLOAT_BYTES, TILES
from .registers import padded
from .steps import BELOW, BIAS, COLUMNS, ROOM, SIZE, SLOPE, TO, WEIGHTS
from .winograd import products, turned_in, turned_out

__all__ = ["winograd"]


def winograd(inputs: int, outputs: int, step: int, out_step: int, mode: int) -> Any:
    """A 3 x 3 convolution at stride 1. step, out_step  floats from a cell of the input, and of the output, to the next.

    With an odd number of columns, a column beyond the padding is read; it does not affect the outputs.
    """
    wide = padded(outputs)
    multiply, in_plane, out_plane = products(inputs, wide, TILES)

    def run(at):  # type: ignore[no-untyped-def]
        a = array_at(at, (SIZE,), np.int64)
        columns = a[COLUMNS]
        tiles = (columns + 1) // 2
        at_once = -(-tiles // -(-tiles // TILES))  # parts of about equal size
        work = a[ROOM]
        made = work + FLOAT_BYTES * 16 * in_plane
        for first in range(0, tiles, at_once):
            count = min(at_once, tiles - first)
            for t in range(count):
                shift = FLOAT_BYTES * 2 * (first + t) * step
                turned_in(a[0] + shift, a[1] + shift, a[2] + shift, a[3] + shift,
                          work + FLOAT_BYTES * t * inputs, in_plane, inputs, step)  # fmt: skip
            multiply(work, a[WEIGHTS], made, count)
            for t in range(count):
                shift = FLOAT_BYTES * 2 * (first + t) * out_step
                beside = out_step if 2 * (first + t) + 1 < columns else 0
                turned_out(made + FLOAT_BYTES * t * wide, out_plane, a[BIAS], a[SLOPE],
                           a[TO] + shift, a[BELOW] + shift, beside, outputs, mode)  # fmt: skip
        return 0

    return run
