"""Convolutions of a plan in bfloat16: the shapes of their products, and packed weights, both for the tiles of AMX; see
`bf16` for what computes them.

Inputs are rounded cell by cell. A row of the kernel is one run of inputs if its cells are neighbours, else one for each
of them; a run is `parts` products of `pairs` pairs of inputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import steps as at
from .graph import PlanNode
from .packing import FLOAT_BYTES, Pointers

__all__ = ["MatrixShape", "bfloat", "fill", "matrix_shape", "pack_matrix", "rooms", "rounded", "tile_shapes"]

Array = NDArray[Any]

TILE = 16  # cells of a tile, outputs, and pairs of inputs
HALF_BYTES, LINE_BYTES = 2, 64
ZEROS = 16  # inputs of a cell that are zero, behind its last: as many as are certain


class MatrixShape(NamedTuple):
    """The products of a row of a kernel: `taps` runs of `parts` parts of `pairs` pairs.

    halves, tap  numbers of a rounded cell, and from the first of a run to that of the next.
    """

    taps: int
    parts: int
    pairs: int
    halves: int
    tap: int


def matrix_shape(node: PlanNode, inputs: int) -> MatrixShape | None:
    """The products of a convolution of `inputs` channels; None if they would be too many."""
    if node.kernel > 1 and node.dilation == 1:
        # The number behind the pixels of a row is a pixel or 0: it may have a factor, which is 0. Other maps have NaN.
        together = _split(node.kernel * inputs, inputs % 2 if node.inputs[0][0].node == 0 else 0)
        if together is not None:
            return MatrixShape(1, *together, inputs, 0)
    alone = _split(inputs, ZEROS - inputs % ZEROS)
    if alone is None:
        return None
    halves = 2 * alone[0] * alone[1]
    return MatrixShape(node.kernel, *alone, halves, node.dilation * halves)


def _split(run: int, more: int) -> tuple[int, int] | None:
    """The fewest parts, of equal numbers of pairs, of a run and up to `more` numbers; None if it takes many."""
    wanted = -(-run // 2)
    fewest = -(-wanted // TILE)
    for parts in range(fewest, 2 * fewest + 1):
        pairs = -(-wanted // parts)
        if 2 * parts * pairs - run <= more:
            return parts, pairs
    return None


def bfloat(values: Array) -> NDArray[np.uint16]:
    """Finite numbers in bfloat16, to the nearest, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def rounded(values: Array) -> Array:
    """Finite numbers rounded to bfloat16, float64."""
    return (bfloat(values).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def pack_matrix(kernel: Array, bias: Array, slope: Array, shape: MatrixShape) -> Pointers:
    """Weights (blocks, rows, taps, parts, 16, 16, 2) of a kernel (out, in, y, x), bias and slope (16 * blocks).

    The last axes are pairs, outputs, and the two of a pair. Pairs beyond those of a part are 0.
    """
    outputs, rows = len(kernel), kernel.shape[2]
    behind = -outputs % TILE
    run = kernel.transpose(2, 3, 1, 0).reshape(rows, shape.taps, -1, outputs)  # (y, taps, inputs of a run, out)
    wide = np.zeros((rows, shape.taps, 2 * shape.parts * shape.pairs, outputs + behind), np.uint16)
    wide[:, :, : run.shape[2], :outputs] = bfloat(run)
    parts = wide.reshape(rows, shape.taps, shape.parts, shape.pairs, 2, -1, TILE).transpose(5, 0, 1, 2, 3, 6, 4)
    made = np.zeros((*parts.shape[:4], TILE, TILE, 2), np.uint16)
    made[:, :, :, :, : shape.pairs] = parts
    values = (np.pad(np.asarray(each, np.float32), (0, behind)) for each in (bias, slope))
    return Pointers(made.reshape(-1).view(np.float32), *values)


def tile_shapes(pairs: int) -> Array:
    """What the processor reads to set up its tiles, uint8 (64,): four of sums, two of cells, two of weights."""
    made = np.zeros(LINE_BYTES, np.uint8)
    made[0] = 1  # the palette; bytes of a row are from 16 on, rows from 48
    made[16:32].view(np.uint16)[:] = [FLOAT_BYTES * TILE] * 4 + [2 * HALF_BYTES * pairs] * 2 + [FLOAT_BYTES * TILE] * 2
    made[48:56] = [TILE] * 6 + [pairs] * 2
    return made


def rooms(node: PlanNode, shape: MatrixShape) -> tuple[int, int]:
    """Bytes of a rounded row, and of all scratch memory of a convolution: two tiles of cells are rounded at a time."""
    reach = node.dilation * (node.kernel - 1)
    cells = (2 * TILE - 1) * node.stride + reach + 1
    row = -(-(cells * shape.halves + 2 * ZEROS) * HALF_BYTES // LINE_BYTES) * LINE_BYTES
    return row, 4 * FLOAT_BYTES * TILE * TILE + node.kernel * row


def fill(values: Array, node: PlanNode, shape: MatrixShape, shapes: int, steps: tuple[int, int], inputs: int) -> None:
    """Write the arguments of a convolution of `inputs` channels but for scratch memory.

    shapes  address of the shapes of tiles.    steps  floats from a cell of the input, and of the output, to the next.
    """
    values[at.KERNEL_ROWS : at.RUN + 1] = node.kernel, shape.taps, HALF_BYTES * shape.tap, shape.parts
    values[at.SHAPES] = shapes
    values[at.IN_STEP], values[at.OUT_STEP] = steps
    values[at.INPUTS], values[at.OUTPUTS], values[at.EACH] = inputs, node.channels, node.stride
    values[at.REACH] = node.dilation * (node.kernel - 1)
    values[at.CELL_BYTES], values[at.ROW_BYTES] = HALF_BYTES * shape.halves, rooms(node, shape)[0]
    values[at.PART] = 2 * HALF_BYTES * shape.pairs
