"""MobileNet-0.25 over an image: `detectors.trunks.mobilenet`, its batch norms folded in.

A separable convolution is done row by row, so that what lies between its two halves stays in the nearest cache. The
first stage, whose maps are the largest, is done some rows at a time for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..weights import MEAN_COLOUR
from .layers import conv
from .packing import FLOAT_BYTES, Packed, addresses, pack
from .planes import COLUMNS, Plane, pack_depthwise, separable, spread_rows

__all__ = ["LEAK", "PAIRS", "STAGES", "STEM", "STRIDES", "FastMobileNet", "folded", "pack_across"]

Array = NDArray[Any]

BAND = 320  # cells of the map at stride 8 at a time: what lies before them then takes less than a megabyte
LEAK = 0.1  # of LeakyReLU
NORM_EPSILON = 1e-5  # of batch norm

STEM = 8  # channels of the first map
# (outputs, stride) of the separable convolutions of the three stages.
STAGES = (
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),
    ((256, 2), (256, 1)),
)
STRIDES = (8, 16, 32)  # of the maps at the ends of the stages


def _pairs() -> list[list[tuple[int, int]]]:
    """(inputs, outputs) of the separable convolutions, stage by stage."""
    outputs = [[channels for channels, _ in stage] for stage in STAGES]
    before = [STEM, *(channels for stage in outputs for channels in stage)]
    inputs = iter(before)
    return [[(next(inputs), channels) for channels in stage] for stage in outputs]


PAIRS = _pairs()
_separables = {pair: separable(*pair) for pair in dict.fromkeys(pair for stage in PAIRS for pair in stage)}
_stem_row = conv(6, STEM, COLUMNS)
_s1, _s2, _s3, _s4, _s5 = (_separables[pair] for pair in PAIRS[0])


@njit(cache=True, nogil=True)
def _stem(image, first, last, mean, weights, bias, slope, target, out_row):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the first map: 3 x 3 at stride 2 over image (H, W * 3); the mean is in the bias."""
    width = image.shape[1]
    lines = np.empty((3, width + 6), np.float32)
    for r in range(3):
        for k in range(width + 6):
            lines[r, k] = mean[k % 3]
    for i in range(first, last):
        for r in range(3):
            if 2 * i - 1 + r >= 0:
                line, source = lines[r, 3:], image[2 * i - 1 + r]
                for k in range(width):
                    line[k] = source[k]
        _stem_row(lines.ctypes.data, width + 6, 3, 9, weights, bias, slope, target + FLOAT_BYTES * i * out_row,
                  width // 6)  # fmt: skip


@njit(cache=True, nogil=True)
def _hold(ring, base, keep, done):  # type: ignore[no-untyped-def]
    """Move the rows `keep` to `done` of a ring, whose first row is row `base` of the map, to its beginning."""
    if keep > base:
        for row in range(keep, done):
            ring[row - keep] = ring[row - base]
    return keep


@njit(cache=True, nogil=True)
def _ring(rows, columns, channels):  # type: ignore[no-untyped-def]
    """Room for so many rows, and the two of the frame, each with its frame of zeros and space for a vector."""
    return np.zeros((rows + 3, (columns + 2) * channels + 64), np.float32)


@njit(cache=True, nogil=True)
def _first_stage(image, first, last, band, mean, layers, target, out_row):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the map at stride 8 of image (H, W * 3), `band` at a time.

    layers  (6, 4) addresses: kernels (0 for the first convolution), weights, bias and slope of each.

    What a layer has made and the next has not used up stays in a ring: rows of the map from `base` on, up to `done`.
    """
    height, width = image.shape[0], image.shape[1] // 3
    # New rows of each map that a band needs at most; then the first row that the first band needs of each.
    m4 = band + 2
    m3 = 2 * m4 + 2
    m2 = m3 + 2
    m1 = 2 * m2 + 2
    m0 = m1 + 2
    r0, r1 = _ring(m0, width // 2, 8), _ring(m1, width // 2, 16)
    r2, r3, r4 = _ring(m2, width // 4, 32), _ring(m3, width // 4, 32), _ring(m4, width // 8, 64)
    base = np.empty(5, np.int64)
    base[4] = first - 1
    base[3] = 2 * base[4] - 1
    base[2] = base[3] - 1
    base[1] = 2 * base[2] - 1
    base[0] = base[1] - 1
    base[:] = np.maximum(base, -1)
    done = np.maximum(base, 0)
    half, quarter, eighth = height // 2, height // 4, height // 8
    for start in range(first, last, band):
        end = min(start + band, last)
        e4 = min(end + 1, eighth)
        e3 = min(2 * e4, quarter)
        e2 = min(e3 + 1, quarter)
        e1 = min(2 * e2, half)
        e0 = min(e1 + 1, half)
        base[0] = _hold(r0, base[0], done[1] - 1, done[0])
        _stem(image, done[0], e0, mean, layers[0, 1], layers[0, 2], layers[0, 3],
              r0.ctypes.data + FLOAT_BYTES * (8 - base[0] * r0.shape[1]), r0.shape[1])  # fmt: skip
        if e0 == half:
            r0[e0 - base[0]] = 0
        done[0] = e0
        base[1] = _hold(r1, base[1], 2 * done[2] - 1, done[1])
        _s1(r0.ctypes.data - FLOAT_BYTES * (1 + base[0]) * r0.shape[1], r0.shape[1], 1, layers[1, 0],
            layers[1, 1], layers[1, 2], layers[1, 3], r1.ctypes.data + FLOAT_BYTES * (16 - base[1] * r1.shape[1]),
            r1.shape[1], done[1], e1, width // 2)  # fmt: skip
        done[1] = e1
        base[2] = _hold(r2, base[2], done[3] - 1, done[2])
        _s2(r1.ctypes.data - FLOAT_BYTES * (1 + base[1]) * r1.shape[1], r1.shape[1], 2, layers[2, 0],
            layers[2, 1], layers[2, 2], layers[2, 3], r2.ctypes.data + FLOAT_BYTES * (32 - base[2] * r2.shape[1]),
            r2.shape[1], done[2], e2, width // 4)  # fmt: skip
        if e2 == quarter:
            r2[e2 - base[2]] = 0
        done[2] = e2
        base[3] = _hold(r3, base[3], 2 * done[4] - 1, done[3])
        _s3(r2.ctypes.data - FLOAT_BYTES * (1 + base[2]) * r2.shape[1], r2.shape[1], 1, layers[3, 0],
            layers[3, 1], layers[3, 2], layers[3, 3], r3.ctypes.data + FLOAT_BYTES * (32 - base[3] * r3.shape[1]),
            r3.shape[1], done[3], e3, width // 4)  # fmt: skip
        done[3] = e3
        base[4] = _hold(r4, base[4], start - 1, done[4])
        _s4(r3.ctypes.data - FLOAT_BYTES * (1 + base[3]) * r3.shape[1], r3.shape[1], 2, layers[4, 0],
            layers[4, 1], layers[4, 2], layers[4, 3], r4.ctypes.data + FLOAT_BYTES * (64 - base[4] * r4.shape[1]),
            r4.shape[1], done[4], e4, width // 8)  # fmt: skip
        if e4 == eighth:
            r4[e4 - base[4]] = 0
        done[4] = e4
        _s5(r4.ctypes.data - FLOAT_BYTES * (1 + base[4]) * r4.shape[1], r4.shape[1], 1, layers[5, 0],
            layers[5, 1], layers[5, 2], layers[5, 3], target, out_row, start, end, width // 8)  # fmt: skip


class FastMobileNet:
    """The trunk's weights, packed, and what runs it.

    numbers  parameters of `detectors.trunks.mobilenet.MobileNet` by name, behind "trunk.", as arrays.
    """

    def __init__(self, numbers: Mapping[str, Array]) -> None:
        names = [f"trunk.stages.{i}.{j + (i == 0)}" for i, stage in enumerate(STAGES) for j in range(len(stage))]
        self.mean = np.array(MEAN_COLOUR[0], np.float32)
        self.depthwise = [pack_depthwise(*folded(numbers, f"{name}.0"), LEAK) for name in names]
        self.across = [pack_across(*folded(numbers, f"{name}.1")) for name in names]
        self.stem = _pack_stem(*folded(numbers, "trunk.stages.0.0"))
        kernels = [0, *(kernel.ctypes.data for kernel in self.depthwise)]
        rows = zip(kernels, [self.stem, *self.across], strict=True)
        self.places = np.array([[kernel, *addresses(packed)] for kernel, packed in rows], np.int64)

    def __call__(self, image: NDArray[np.uint8], ends: Sequence[Plane], between: Sequence[Sequence[Plane]]) -> None:
        """Fill the maps at the ends of the stages for an image (H, W, 3).

        between  two maps of the second stage and two of the third, which its convolutions write to in turns.
        """
        lines = np.ascontiguousarray(image).reshape(len(image), -1)  # (H, W, 3) -> (H, W * 3)
        first: Any = _first_stage
        before, at = ends[0], len(STAGES[0])
        band = max(BAND // before.columns, 1)
        spread_rows(before.rows, lambda begin, stop: first(
            lines, begin, stop, band, self.mean, self.places, ends[0].first, ends[0].row))  # fmt: skip
        for pairs, planes, end in zip(PAIRS[1:], between, ends[1:], strict=True):
            for i, pair in enumerate(pairs):
                plane = end if i == len(pairs) - 1 else planes[i % 2]
                self._separable(_separables[pair], before, plane, self.places[at + 1])
                before, at = plane, at + 1

    def _separable(self, run: Any, before: Plane, plane: Plane, places: Array) -> None:
        spread_rows(plane.rows, lambda first, last: run(
            before.corner, before.row, before.rows // plane.rows, *places, plane.first, plane.row,
            first, last, plane.columns))  # fmt: skip


def folded(numbers: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    """Kernel (out, in, y, x) and bias (out,) of a convolution with the batch norm behind it folded in."""
    kernel = numbers[f"{name}.0.weight"]
    scale = numbers[f"{name}.1.weight"] / np.sqrt(numbers[f"{name}.1.running_var"] + NORM_EPSILON)
    bias = numbers[f"{name}.1.bias"] - scale * numbers[f"{name}.1.running_mean"]
    return kernel * scale[:, None, None, None], bias


def _pack_stem(kernel: Array, bias: Array) -> Packed:
    bias = bias - np.einsum("oiyx,i->o", kernel, np.array(MEAN_COLOUR[0]))
    steps = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))  # (out, in, y, x) -> (y, x, in, out) -> (27, out)
    return pack(steps, bias, np.full(len(bias), LEAK), COLUMNS)


def pack_across(kernel: Array, bias: Array) -> Packed:
    """A convolution across channels, kernel (out, in, 1, 1), and the LeakyReLU behind it."""
    return pack(kernel[:, :, 0, 0].T, bias, np.full(len(bias), LEAK), COLUMNS)
