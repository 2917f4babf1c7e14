"""MobileNet-0.25 over an image: `detectors.trunks.mobilenet`, its batch norms folded in.

Separable convolutions run row by row, so that the intermediate row stays in the L1 cache. The first stage, whose maps
are the largest, runs a band of rows at a time for the same reason. The kernels are in `compiled_mobilenet` and
`compiled_planes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights import MEAN_COLOUR
from .kernel_cache import kernel
from .packing import Packed, Pointers, buffer, pack
from .planes import COLUMNS, Plane, pack_depthwise, separable_room, spread_rows

__all__ = ["PAIRS", "STAGES", "STEM", "STRIDES", "FastMobileNet", "first_stage_room", "folded", "pack_across"]

Array = NDArray[Any]

BAND = 320  # cells of the map at stride 8 in a band, whose inputs then take less than a megabyte
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


def first_stage_room(width: int, band: int) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
    """Layout of the first stage's scratch memory, for an image of `width` columns, in floats but for the first five.

    The rows of five ring buffers, which contain the part of the five maps that a band needs, the padding, and space for
    the tiles; the floats of a row with 8, 16, 32 and 64 channels; and the offsets, after the rings, of the pixel rows
    and of the row between the halves of a separable convolution.
    """
    # Maximum number of new rows of each map for a band.
    m4 = band + 2
    m3 = 2 * m4 + 2
    m2 = m3 + 2
    m1 = 2 * m2 + 2
    m0 = m1 + 2
    row8, row16 = (width // 2 + 2) * 8 + 64, (width // 2 + 2) * 16 + 64
    row32, row64 = (width // 4 + 2) * 32 + 64, (width // 8 + 2) * 64 + 64
    lines = (m0 + 3) * row8 + (m1 + 3) * row16 + (m2 + 3 + m3 + 3) * row32 + (m4 + 3) * row64
    between = lines + (3 * (3 * width + 6) + 15) // 16 * 16
    return m0 + 3, m1 + 3, m2 + 3, m3 + 3, m4 + 3, row8, row16, row32, row64, lines, between


class FastMobileNet:
    """The trunk: packed weights and kernels.

    numbers  parameters of `detectors.trunks.mobilenet.MobileNet`, by name with the prefix "trunk.", as arrays.
    leak     slope of its LeakyReLU.
    """

    def __init__(self, numbers: Mapping[str, Array], leak: float) -> None:
        names = [f"trunk.stages.{i}.{j + (i == 0)}" for i, stage in enumerate(STAGES) for j in range(len(stage))]
        self.mean = np.array(MEAN_COLOUR[0], np.float32)
        layers = [
            (np.zeros(1, np.float32), *_pack_stem(*folded(numbers, "trunk.stages.0.0"), leak))
        ]  # no depthwise kernel
        for name in names:
            across = pack_across(*folded(numbers, f"{name}.1"), leak)
            layers.append((pack_depthwise(*folded(numbers, f"{name}.0"), leak), *across))
        first = len(STAGES[0]) + 1
        self.first_stage = Pointers(*(array for layer in layers[:first] for array in layer))
        self.separables = [Pointers(*layer) for layer in layers[first:]]

    def __call__(self, image: NDArray[np.uint8], ends: Sequence[Plane], between: Sequence[Sequence[Plane]]) -> None:
        """Fill the maps at the ends of the stages for an image (H, W, 3).

        between  two maps of the second stage and two of the third, to which its convolutions write alternately.
        """
        self._first_stage(np.ascontiguousarray(image), ends[0])
        before, weights = ends[0], iter(self.separables)
        for pairs, planes, end in zip(PAIRS[1:], between, ends[1:], strict=True):
            for i, pair in enumerate(pairs):
                plane = end if i == len(pairs) - 1 else planes[i % 2]
                _separable(pair, before, plane, next(weights))
                before = plane

    def _first_stage(self, image: NDArray[np.uint8], end: Plane) -> None:
        height, width = image.shape[:2]
        band = min(max(BAND // end.columns, 1), end.rows)
        floats = first_stage_room(width, band)[-1] + separable_room(end.columns, end.data.shape[2])
        run = kernel("first_stage")

        def work(first: int, last: int) -> None:
            room = buffer(floats)
            run(image.ctypes.data, height, width, first, last, band, self.mean.ctypes.data, self.first_stage.at,
                end.first, end.row, room.ctypes.data)  # fmt: skip

        spread_rows(end.rows, work)


def _separable(pair: tuple[int, int], before: Plane, plane: Plane, weights: Pointers) -> None:
    """A separable convolution of a map into another, of the same size or half of it."""
    run, stride = kernel("separable", *pair), before.rows // plane.rows

    def work(first: int, last: int) -> None:
        room = buffer(separable_room(plane.columns, pair[0]))
        run(before.corner, before.row, stride, *weights.each, plane.first, plane.row, first, last, plane.columns,
            room.ctypes.data)  # fmt: skip

    spread_rows(plane.rows, work)


def folded(numbers: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    """Kernel (out, in, y, x) and bias (out,) of a convolution with the following batch norm folded in."""
    kernel = numbers[f"{name}.0.weight"]
    scale = numbers[f"{name}.1.weight"] / np.sqrt(numbers[f"{name}.1.running_var"] + NORM_EPSILON)
    bias = numbers[f"{name}.1.bias"] - scale * numbers[f"{name}.1.running_mean"]
    return kernel * scale[:, None, None, None], bias


def _pack_stem(kernel: Array, bias: Array, leak: float) -> Packed:
    bias = bias - np.einsum("oiyx,i->o", kernel, np.array(MEAN_COLOUR[0]))
    steps = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))  # (out, in, y, x) -> (y, x, in, out) -> (27, out)
    return pack(steps, bias, np.full(len(bias), leak), COLUMNS)


def pack_across(kernel: Array, bias: Array, leak: float) -> Packed:
    """Pack a pointwise convolution, kernel (out, in, 1, 1), and the LeakyReLU that follows."""
    return pack(kernel[:, :, 0, 0].T, bias, np.full(len(bias), leak), COLUMNS)
