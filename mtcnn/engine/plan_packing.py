"""The weights of a plan: batch norms folded in, in the order in which the kernels of `compiled_steps` read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights import Scaling
from .bf16 import products
from .graph import Convolution, NetGraph, PlanNode
from .packing import TILES, Pointers, pack, turned
from .plan_maps import Storage
from .plan_matrix import MatrixShape, matrix_shape, pack_matrix, rounded
from .registers import LANES, NEAR, REGISTERS, TileShape, halved, padded, tile_shape
from .steps import LINEAR, RELU, SLOPES

__all__ = ["PackedGraph", "Packing", "folded", "packed", "shared"]

Array = NDArray[Any]

ONE = TileShape(1, 1)
THICK = 48  # channels from which on Winograd's tiles save more in products than their transforms cost, measured
COLUMNS = 40  # of a typical map, which determines the tiles
OTHERS = 5  # registers beside the sums of `conv_rows.taps_row`
FEW, LONG = 4, 64  # the sums of a quarter of a vector of outputs are cheaper as sums of lanes, if they are long


@dataclass(frozen=True)
class Packing:
    """A node's weights, bias and slopes, or None; and its activation.

    tile           of a convolution.
    few            whether a convolution has so few outputs that its vectors are of inputs, see `conv_rows.dot_row`.
    taps           whether a 3 x 3 convolution has one vector of outputs, see `conv_rows.taps_row`.
    matrix         of a convolution in bfloat16: its products.
    first, inputs  the channels of its input's buffer that a convolution reads.
    pairs          whether a 3 x 3 convolution computes two rows at once; by Winograd's tiles, or of each channel by
                   itself, so that rows of inputs are read half as often.
    """

    weights: Pointers | None
    mode: int
    tile: TileShape = ONE
    first: int = 0
    inputs: int = 0
    few: bool = False
    matrix: MatrixShape | None = None
    pairs: bool = False
    taps: bool = False

    def kernel(self, node: PlanNode, step: int, other_step: int, out_step: int) -> tuple[Any, ...]:
        """Name and constants of the node's kernel; given the floats from a cell of each map to the next."""
        channels = node.channels
        if node.kind == "conv":
            if self.matrix is not None:
                return products(), self.mode
            if self.pairs:
                return "winograd", self.inputs, channels, step, out_step, self.mode
            if self.taps:
                around = node.stride, node.dilation
                return "taps", step, channels, out_step, self.mode, self.tile.positions, *around
            if self.few:
                return "dot", node.stride * step, channels, out_step, self.mode, self.tile.positions
            assert self.weights is not None
            far = self.weights.arrays[0].nbytes > NEAR
            return "conv", node.stride * step, channels, out_step, self.mode, *self.tile, int(far)
        if node.kind == "depthwise":
            return "depthwise", channels, node.stride, step, out_step, self.mode, 1 + self.pairs
        if node.kind == "pool":
            return "pool", channels, step, out_step
        if node.kind == "add":
            return "add", channels, step, other_step, out_step, int(node.twice), self.mode
        if node.kind == "norm":
            return "affine", channels, step, out_step, self.mode
        raise ValueError(f"node is a {node.kind}")


@dataclass(frozen=True)
class PackedGraph:
    """The packing of each node, and the colour of the image's padding, float32 (3,)."""

    of: tuple[Packing, ...]
    colour: Array


def packed(
    graph: NetGraph, numbers: Mapping[str, Array], scaling: Scaling, places: Storage, bf16: bool = False
) -> PackedGraph:
    """Pack all nodes. numbers  parameters by name, float64.    bf16  convolutions in bfloat16, see `plan_matrix`."""
    mean, divisor = scaling
    colour = np.resize(np.asarray(mean, np.float64), 3)
    alone = {number for chain in places.later.values() for number in chain}  # single cells
    found = [_pack(node, numbers, places, (colour, divisor), bf16, number not in alone)
             for number, node in enumerate(graph.nodes)]  # fmt: skip
    return PackedGraph(tuple(found), colour.astype(np.float32))


def _pack(
    node: PlanNode, numbers: Mapping[str, Array], places: Storage, scaling: tuple[Array, float], bf16: bool, rows: bool
) -> Packing:
    """rows  whether whole rows of the node's map are computed."""
    if not node.convolutions:
        return Packing(None, RELU if node.slope == 0 else LINEAR)
    if node.kind == "norm":
        one = node.convolutions[0]
        weight, bias = (np.asarray(numbers[str(name)], np.float32) for name in (one.weight, one.bias))
        return Packing(Pointers(weight, bias), RELU if node.slope == 0 else LINEAR)
    parts_of = [folded(numbers, one) for one in node.convolutions]
    kernel, bias = (np.concatenate([each[i] for each in parts_of]) for i in range(2))
    slopes = [one.slope for one in node.convolutions]
    mode = LINEAR if {*slopes} == {None} else RELU if {*slopes} == {0.0} else SLOPES
    slope = np.concatenate([
        np.full(one.channels, 1.0 if one.slope is None else one.slope) for one in node.convolutions
    ])  # fmt: skip
    if node.kind == "depthwise":
        of_each = Pointers(_pack_each(kernel, bias, slope), *np.zeros((2, LANES), np.float32))
        return Packing(of_each, mode, pairs=rows)
    parts = node.inputs[0]
    if parts[0].node == 0:
        colour, divisor = scaling
        kernel = kernel / divisor
        if bf16:  # pixels are exact: their colour is taken off with the factors that they have
            kernel = rounded(kernel)
        bias = bias - np.einsum("oiyx,i->o", kernel, colour)
    first, last = min(map(places.first, parts)), max(places.first(part) + part.count for part in parts)
    wide = np.zeros((len(kernel), last - first, *kernel.shape[2:]))
    start = 0
    for part in parts:
        place = places.first(part) - first
        wide[:, place : place + part.count] = kernel[:, start : start + part.count]
        start += part.count
    shape = matrix_shape(node, last - first) if bf16 else None
    if shape is not None:
        return Packing(pack_matrix(wide, bias, slope, shape), mode, ONE, first, last - first, matrix=shape)
    if rows and _by_winograd(node, last - first):
        behind = (0, padded(len(wide)) - len(wide))
        kernel = np.pad(wide, (behind, (0, 0), (0, 0), (0, 0)))
        made = turned(kernel, np.pad(bias, behind), np.pad(slope, behind), TILES)
        return Packing(Pointers(*made), mode, ONE, first, last - first, pairs=True)
    steps = wide.transpose(2, 3, 1, 0).reshape(-1, len(wide))  # (out, in, y, x) -> (y, x, in, out) -> (steps, out)
    if len(wide) <= LANES // FEW and (last - first) % LANES == 0 and len(steps) >= LONG:
        tile = TileShape(len(wide), max((REGISTERS - len(wide) - 2) // len(wide) // 2, 1))
        weights = steps.reshape(-1, LANES, len(wide)).transpose(0, 2, 1)  # (steps, out) -> (vectors, out, lanes)
        behind = (0, LANES - len(wide))
        values = (np.asarray(each, np.float32) for each in (weights, np.pad(bias, behind), np.pad(slope, behind)))
        return Packing(Pointers(*map(np.ascontiguousarray, values)), mode, tile, first, last - first, True)
    if node.kernel == 3 and len(wide) <= LANES:
        steps = wide.transpose(2, 1, 3, 0).reshape(-1, len(wide))  # (out, in, y, x) -> (y, in, x, out) -> (steps, out)
        tile = TileShape(1, -(-COLUMNS // -(-COLUMNS // (REGISTERS - OTHERS))))
        made = pack(steps, bias, slope, COLUMNS, tile)
        return Packing(Pointers(*made), mode, tile, first, last - first, taps=True)
    tile = tile_shape(len(wide), COLUMNS, len(steps), True)
    made = pack(shared(steps), shared(bias), shared(slope), COLUMNS, tile)
    return Packing(Pointers(*made), mode, tile, first, last - first)


def shared(values: Array) -> Array:
    """Values of outputs (..., out); where two cells may share the last vector, those of its half twice."""
    if not halved(values.shape[-1]):
        return values
    behind = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % (LANES // 2))]
    whole = np.pad(values, behind)
    return np.concatenate([whole, whole[..., -(LANES // 2) :]], axis=-1)


def _by_winograd(node: PlanNode, inputs: int) -> bool:
    """Whether Winograd's tiles compute a convolution of `inputs` channels faster."""
    shape = (node.kernel, node.stride, node.padding, node.dilation)
    return shape == (3, 1, 1, 1) and min(inputs, node.channels) >= THICK


def folded(numbers: Mapping[str, Array], one: Convolution) -> tuple[Array, Array]:
    """Kernel (out, in, y, x) and bias (out,) of a convolution with the batch norm behind it."""
    kernel = numbers[one.weight]
    bias = numbers[one.bias] if one.bias is not None else np.zeros(len(kernel))
    if one.norm is None:
        return kernel, bias
    weight, shift, mean, variance = (
        numbers[f"{one.norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + one.epsilon)
    return kernel * scale[:, None, None, None], shift + scale * (bias - mean)


def _pack_each(kernel: Array, bias: Array, slope: Array) -> Array:
    """(blocks, 11, LANES): the kernel's nine numbers of each channel, bias, slope; channels beyond the last are 0."""
    channels = len(kernel)
    rows = np.concatenate([kernel.reshape(channels, 9).T, bias[None], slope[None]])
    rows = np.pad(rows, ((0, 0), (0, padded(channels) - channels)))
    return np.ascontiguousarray(rows.reshape(11, -1, LANES).transpose(1, 0, 2), np.float32)
