"""RetinaFace with MobileNet-0.25 over an image: `detectors.retinaface`, its batch norms folded in.

After the trunk, all 3 x 3 convolutions use Winograd's algorithm. Convolutions of the same map are merged: two of the
context module's first step, two of its second.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernel_cache import kernel
from .mobilenet import PAIRS, STAGES, STEM, STRIDES, FastMobileNet, folded, pack_across
from .packing import FLOAT_BYTES, SLACK, TILES, Pointers, pack, turned
from .planes import COLUMNS, floats_of, over, over_wide, plane, spread_rows

__all__ = ["FastRetinaFace"]

Array = NDArray[Any]

KEPT = 128 << 20  # maximum bytes of activation memory kept between images

WIDTH = 64  # channels of the pyramid
# Channels of the context module, side by side at each position: the 3 x 3 branch, the reduction for the other two, the
# 5 x 5 branch, the second reduction, the 7 x 7 branch.
NEAR, REDUCED, MIDDLE, DEEPER, FAR, CONTEXT = 0, 32, 48, 64, 80, 96
OUTPUTS = 32  # of both anchors of a cell: 2 logits, 2 x 4 of boxes, 2 x 10 of points, 2 of padding

# Channels in and out, and floats from one position to the next, of the 3 x 3 convolutions after the trunk.
_MERGE = (WIDTH, WIDTH, WIDTH, WIDTH)
_CONTEXT1 = (WIDTH, MIDDLE, WIDTH, CONTEXT)
_CONTEXT2 = (MIDDLE - REDUCED, FAR - MIDDLE, CONTEXT, CONTEXT)
_CONTEXT3 = (FAR - DEEPER, CONTEXT - FAR, CONTEXT, CONTEXT)


class _Workspace:
    """Memory for the maps of an image: a buffer that grows, and is partitioned anew for each size."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.float32)
        self.height = self.width = 0

    def fit(self, height: int, width: int) -> None:
        """Lay out the maps of an image of height x width pixels, multiples of 32."""
        if (height, width) == (self.height, self.width):
            return
        self.height, self.width = height, width
        sizes = [(height // stride, width // stride) for stride in STRIDES]
        shapes = [(*size, stage[-1][0]) for size, stage in zip(sizes, STAGES, strict=True)]
        # Within a stage, convolutions alternate between two maps.
        shapes += [(*size, stage[-1][0]) for size, stage in zip(sizes[1:], STAGES[1:], strict=True) for _ in range(2)]
        shapes += [(*size, WIDTH) for size in (*sizes, *sizes[:-1])] + [(*size, CONTEXT) for size in sizes]
        needed = sum(floats_of(*shape) for shape in shapes)
        if needed > len(self.buffer):
            self.buffer = np.empty(0, np.float32)  # free the old one before allocating the new one
            self.buffer = np.empty(needed, np.float32)
        ends = np.cumsum([floats_of(*shape) for shape in shapes])
        planes = [
            plane(self.buffer[end - floats_of(*shape) : end], *shape) for end, shape in zip(ends, shapes, strict=True)
        ]
        self.stages, self.between = planes[:3], [planes[3:5], planes[5:7]]
        self.levels, self.merged, self.context = planes[7:10], planes[10:12], planes[12:]


_local = threading.local()  # a thread's workspaces, for its next images


def _workspace(height: int, width: int) -> _Workspace:
    """One of two per thread, the latest first: a detector alternates between an image and a smaller copy of it."""
    recent: list[_Workspace] = getattr(_local, "workspaces", [])
    same = [each for each in recent if (each.height, each.width) == (height, width)]
    found = same[0] if same else recent[1] if len(recent) > 1 else _Workspace()
    _local.workspaces = []  # so that an exception below leaves no half-partitioned workspace
    found.fit(height, width)
    others = [each for each in recent if each is not found]
    kept = [found, *others][:2]
    while sum(each.buffer.nbytes for each in kept) > KEPT:
        kept.pop()
    _local.workspaces = kept
    return found


def _shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of the parameters that the net has."""
    layers = {"trunk.stages.0.0": (STEM, 3, 3, 3)}
    for i, pairs in enumerate(PAIRS):
        for j, (inputs, outputs) in enumerate(pairs, start=1 if i == 0 else 0):
            layers[f"trunk.stages.{i}.{j}.0"] = (inputs, 1, 3, 3)
            layers[f"trunk.stages.{i}.{j}.1"] = (outputs, inputs, 1, 1)
        layers[f"pyramid.lateral.{i}"] = (WIDTH, pairs[-1][1], 1, 1)
        half, quarter = WIDTH // 2, WIDTH // 4
        layers |= {f"context.{i}.window3": (half, WIDTH, 3, 3), f"context.{i}.reduce": (quarter, WIDTH, 3, 3)}
        layers |= {f"context.{i}.{name}": (quarter, quarter, 3, 3) for name in ("window5", "deepen", "window7")}
        if i:
            layers[f"pyramid.merge.{i - 1}"] = (WIDTH, WIDTH, 3, 3)
    found: dict[str, tuple[int, ...]] = {f"{name}.0.weight": shape for name, shape in layers.items()}
    for part in ("weight", "bias", "running_mean", "running_var"):
        found |= {f"{name}.1.{part}": shape[:1] for name, shape in layers.items()}
    for name, outputs in (("classes", 4), ("boxes", 8), ("landmarks", 20)):
        for i in range(len(STAGES)):
            found |= {f"{name}.levels.{i}.weight": (outputs, WIDTH, 1, 1), f"{name}.levels.{i}.bias": (outputs,)}
    return found


class FastRetinaFace:
    """The net: packed weights and kernels.

    state  parameters of `detectors.retinaface.RetinaFace` with MobileNet-0.25, by name, as arrays of these `shapes`.
    leak   slope of its LeakyReLU, as there.
    """

    shapes = staticmethod(_shapes)
    engine = "compiled code"

    def __init__(self, state: Mapping[str, Any], leak: float = 0.1) -> None:
        numbers = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self.trunk = FastMobileNet(numbers, leak)
        levels = range(len(STAGES))
        self.laterals = [Pointers(*pack_across(*folded(numbers, f"pyramid.lateral.{i}"), leak)) for i in levels]
        self.merge = [_pack_wide([folded(numbers, f"pyramid.merge.{i}")], [leak]) for i in levels[:-1]]
        self.context = [
            (
                _pack_wide([folded(numbers, f"context.{i}.{part}") for part in ("window3", "reduce")], [0.0, leak]),
                _pack_wide([folded(numbers, f"context.{i}.{part}") for part in ("window5", "deepen")], [0.0, leak]),
                _pack_wide([folded(numbers, f"context.{i}.window7")], [0.0]),
            )
            for i in levels
        ]
        self.heads = [_pack_heads(numbers, i) for i in levels]

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        """Outputs of the net, see `decoders.SsdCodes`, for an image (H, W, 3) whose sides are multiples of 32."""
        height, width = image.shape[:2]
        if height % 32 or width % 32 or not image.size:
            raise ValueError(f"image is {width} x {height}; expected sides that are multiples of 32")
        space = _workspace(height, width)
        self.trunk(image, space.stages, space.between)
        self._pyramid(space)
        return _outputs([self._level(space, i) for i in range(len(STAGES))])

    def _pyramid(self, space: _Workspace) -> None:
        for stage, level, packed in zip(space.stages, space.levels, self.laterals, strict=True):
            lateral = kernel("pointwise", stage.data.shape[2], WIDTH)
            over(lateral, stage.first, stage.row, packed, level.first, level)
        coarser = space.levels[-1]
        for i in range(len(space.levels) - 2, -1, -1):
            level, merged = space.levels[i], space.merged[i]
            kernel("add_coarser")(level.first, level.row, coarser.first, coarser.row, level.rows, level.columns, WIDTH)
            over_wide(_MERGE, level.corner, level.row, self.merge[i], merged.first, merged)
            coarser = merged

    def _level(self, space: _Workspace, i: int) -> Array:
        """The heads' outputs of one level: (rows * columns, OUTPUTS)."""
        source, context = [*space.merged, space.levels[-1]][i], space.context[i]
        near, middle, far = self.context[i]
        over_wide(_CONTEXT1, source.corner, source.row, near, context.first, context)
        context.seal()
        part = FLOAT_BYTES * REDUCED
        over_wide(_CONTEXT2, context.corner + part, context.row, middle, context.first + FLOAT_BYTES * MIDDLE, context)
        context.seal()
        part = FLOAT_BYTES * DEEPER
        over_wide(_CONTEXT3, context.corner + part, context.row, far, context.first + FLOAT_BYTES * FAR, context)
        out = np.empty(context.rows * context.columns * OUTPUTS + SLACK, np.float32)
        run, rows = kernel("pointwise", CONTEXT, OUTPUTS), context.columns * OUTPUTS
        spread_rows(context.rows, lambda first, last: run(
            context.first, context.row, *self.heads[i].each, out.ctypes.data, rows, first, last,
            context.columns))  # fmt: skip
        return out[:-SLACK].reshape(-1, OUTPUTS)


def _outputs(levels: Sequence[Array]) -> dict[str, Array]:
    """Split the heads' outputs (cells, OUTPUTS) of all levels into values per anchor, two anchors per cell."""
    table = np.concatenate(levels)
    return {
        "logits": table[:, :2].reshape(-1),  # (cells, 2) -> (2 * cells,)
        "boxes": table[:, 2:10].reshape(-1, 4),  # (cells, 2 * 4) -> (2 * cells, 4)
        "landmarks": table[:, 10:30].reshape(-1, 10),  # (cells, 2 * 10) -> (2 * cells, 10)
    }


# ---- packing


def _pack_wide(parts: Sequence[tuple[Array, Array]], leaks: Sequence[float]) -> Pointers:
    """Merge 3 x 3 convolutions of the same map into one, each with its own slope."""
    kernel = np.concatenate([part[0] for part in parts])
    bias = np.concatenate([part[1] for part in parts])
    slope = np.concatenate([np.full(len(part[1]), leak) for part, leak in zip(parts, leaks, strict=True)])
    return Pointers(*turned(kernel, bias, slope, TILES))


def _pack_heads(numbers: Mapping[str, Array], level: int) -> Pointers:
    """Pack the heads for classes, boxes and landmarks side by side, for the context module's order of channels."""
    kernels, biases = [], []
    for name in ("classes", "boxes", "landmarks"):
        kernel, bias = (numbers[f"{name}.levels.{level}.{part}"] for part in ("weight", "bias"))
        kernel = kernel[:, :, 0, 0]  # (out, 64)
        if name == "classes":  # (no face, face) of both anchors: reduced to one logit each
            kernel, bias = kernel[1::2] - kernel[::2], bias[1::2] - bias[::2]
        kernels.append(kernel)
        biases.append(bias)
    kernel, bias = np.concatenate(kernels), np.concatenate(biases)
    weights = np.zeros((CONTEXT, OUTPUTS))
    for start, end, at in ((0, 32, NEAR), (32, 48, MIDDLE), (48, 64, FAR)):
        weights[at : at + end - start, : len(kernel)] = kernel[:, start:end].T
    return Pointers(*pack(weights, np.pad(bias, (0, OUTPUTS - len(bias))), None, COLUMNS))
