"""The stem and the first stage of MobileNet-0.25, compiled: see `mobilenet`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled_planes import separable
from .compiling import array_at, inner
from .layers import conv
from .mobilenet import PAIRS, STEM, first_stage_room
from .packing import FLOAT_BYTES
from .planes import COLUMNS

__all__ = ["first_stage"]

Array = NDArray[Any]

_stem_row = conv(6, STEM, COLUMNS)
_s1, _s2, _s3, _s4, _s5 = (inner()(separable(*pair)) for pair in PAIRS[0])
_room = inner()(first_stage_room)


@inner()
def _stem(
    image: Array, first: int, last: int, mean: Array, lines_at: int, weights: int, bias: int, slope: int, target: int,
    out_row: int,
) -> None:  # fmt: skip
    """Rows `first` to `last` of the first map: 3 x 3 at stride 2 over image (H, W * 3); the mean is in the bias.

    lines_at  address of scratch for three rows of the image, float32, padded with the mean colour.
    """
    width = image.shape[1]
    lines = array_at(lines_at, (3, width + 6), np.float32)
    for r in range(3):
        for k in range(width + 6):
            lines[r, k] = mean[k % 3]
    for i in range(first, last):
        for r in range(3):
            if 2 * i - 1 + r >= 0:
                line, source = lines[r], image[2 * i - 1 + r]
                for k in range(width):
                    line[3 + k] = source[k]
        _stem_row(lines_at, width + 6, 3, 9, weights, bias, slope, target + FLOAT_BYTES * i * out_row, width // 6)


@inner()
def _shift(ring: Array, base: int, keep: int, done: int) -> int:
    """Move the rows `keep` to `done` of a ring buffer, which starts at row `base` of the map, to its start."""
    if keep > base:
        for row in range(keep, done):
            target, source = ring[row - keep], ring[row - base]
            for k in range(len(target)):
                target[k] = source[k]
    return keep


@inner()
def _clear(row: Array) -> None:
    for k in range(len(row)):
        row[k] = 0.0


@inner()
def _cell(ring: Array, base: int, channels: int) -> int:
    """Address of the first cell of row 0 of the map, as if it were in the ring."""
    at: int = ring.ctypes.data + FLOAT_BYTES * (channels - base * ring.shape[1])
    return at


@inner()
def _corner(ring: Array, base: int) -> int:
    """Address of the first input of the first cell's kernel in row 0, as if it were in the ring."""
    at: int = ring.ctypes.data - FLOAT_BYTES * (1 + base) * ring.shape[1]
    return at


def first_stage(  # type: ignore[no-untyped-def]
    image_at, height, width, first, last, band, mean_at, layers_at, target, out_row, work
):
    """Rows `first` to `last` of the map at stride 8 of image (height, width * 3), `band` at a time.

    mean    (3,) float32.    work  address of scratch, see `mobilenet.first_stage_room`.
    layers  (6, 4) addresses: kernels (0 for the first convolution), weights, bias and slope of each.

    Rows that the next layer still needs stay in ring buffers: rows b0, b1 … up to d0, d1 … of the maps.
    """
    image, mean = array_at(image_at, (height, 3 * width), np.uint8), array_at(mean_at, (3,), np.float32)
    layers = array_at(layers_at, (6, 4), np.int64)
    half, quarter, eighth = height // 2, height // 4, height // 8
    m0, m1, m2, m3, m4, row8, row16, row32, row64, lines, end = _room(width, band)
    _clear(array_at(work, (lines,), np.float32))
    r0 = array_at(work, (m0, row8), np.float32)
    at = work + FLOAT_BYTES * m0 * row8
    r1 = array_at(at, (m1, row16), np.float32)
    at += FLOAT_BYTES * m1 * row16
    r2 = array_at(at, (m2, row32), np.float32)
    at += FLOAT_BYTES * m2 * row32
    r3 = array_at(at, (m3, row32), np.float32)
    at += FLOAT_BYTES * m3 * row32
    r4 = array_at(at, (m4, row64), np.float32)
    lines_at = work + FLOAT_BYTES * lines
    line = work + FLOAT_BYTES * end
    b4 = first - 1
    b3 = 2 * b4 - 1
    b2 = b3 - 1
    b1 = 2 * b2 - 1
    b0 = b1 - 1
    b0, b1, b2, b3, b4 = max(b0, -1), max(b1, -1), max(b2, -1), max(b3, -1), max(b4, -1)
    d0, d1, d2, d3, d4 = max(b0, 0), max(b1, 0), max(b2, 0), max(b3, 0), max(b4, 0)
    for start in range(first, last, band):
        stop = min(start + band, last)
        e4 = min(stop + 1, eighth)
        e3 = min(2 * e4, quarter)
        e2 = min(e3 + 1, quarter)
        e1 = min(2 * e2, half)
        e0 = min(e1 + 1, half)
        b0 = _shift(r0, b0, d1 - 1, d0)
        _stem(image, d0, e0, mean, lines_at, layers[0, 1], layers[0, 2], layers[0, 3], _cell(r0, b0, 8), row8)
        if e0 == half:
            _clear(r0[e0 - b0])
        d0 = e0
        b1 = _shift(r1, b1, 2 * d2 - 1, d1)
        _s1(_corner(r0, b0), row8, 1, layers[1, 0], layers[1, 1], layers[1, 2], layers[1, 3],
            _cell(r1, b1, 16), row16, d1, e1, width // 2, line)  # fmt: skip
        d1 = e1
        b2 = _shift(r2, b2, d3 - 1, d2)
        _s2(_corner(r1, b1), row16, 2, layers[2, 0], layers[2, 1], layers[2, 2], layers[2, 3],
            _cell(r2, b2, 32), row32, d2, e2, width // 4, line)  # fmt: skip
        if e2 == quarter:
            _clear(r2[e2 - b2])
        d2 = e2
        b3 = _shift(r3, b3, 2 * d4 - 1, d3)
        _s3(_corner(r2, b2), row32, 1, layers[3, 0], layers[3, 1], layers[3, 2], layers[3, 3],
            _cell(r3, b3, 32), row32, d3, e3, width // 4, line)  # fmt: skip
        d3 = e3
        b4 = _shift(r4, b4, start - 1, d4)
        _s4(_corner(r3, b3), row32, 2, layers[4, 0], layers[4, 1], layers[4, 2], layers[4, 3],
            _cell(r4, b4, 64), row64, d4, e4, width // 8, line)  # fmt: skip
        if e4 == eighth:
            _clear(r4[e4 - b4])
        d4 = e4
        _s5(_corner(r4, b4), row64, 1, layers[5, 0], layers[5, 1], layers[5, 2], layers[5, 3],
            target, out_row, start, stop, width // 8, line)  # fmt: skip
    return 0
