"""The resampling rule of `mtcnn.resample` as nodes of a graph: pyramid levels and crops.

Windows are computed in float64 and weights stored as float32, as `engine.compiled_resample` does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .builder import Graph, Value

__all__ = ["for_each_crop", "resized"]


def resized(g: Graph, image: Value, height: Value, width: Value) -> str:
    """Image uint8 (H, W, 3) at another size, int64 scalars: float32 (3, height, width) of whole numbers."""
    rows = _mixed(g, g.op("Flatten", image, axis=1), g.side(image, 0), height)  # (height, W * 3)
    turned = g.op("Transpose", g.op("Reshape", rows, [0, -1, 3]), perm=[1, 0, 2])  # (W, height, 3)
    columns = _mixed(g, g.op("Flatten", turned, axis=1), g.side(image, 1), width)  # (width, height * 3)
    split = g.op("Reshape", columns, [0, -1, 3])  # (width, height, 3)
    planes = g.op("Transpose", split, perm=[2, 1, 0])  # (3, height, width)
    return g.op("Floor", g.op("Add", planes, np.float32(0.5)))


def _mixed(g: Graph, lines: Value, limit: Value, size: Value) -> str:
    """Lines (limit, K) resampled along the first axis: float32 (size, K)."""
    whole = g.cast(limit, np.float64)
    step = g.op("Div", whole, g.cast(size, np.float64))
    wide = g.op("Max", step, 1.0)
    taps = g.op("Min", g.op("Add", g.op("Ceil", wide), 1.0), whole)
    low, high = _edges(g, 0.0, step, size)
    first = g.op("Min", g.op("Clip", g.op("Floor", low), 0.0, whole), g.op("Sub", whole, taps))
    pixels = g.op("Add", g.op("Unsqueeze", first, [1]), g.op("Range", 0.0, taps, 1.0))  # (size, taps)
    shares = _shares(g, g.op("Unsqueeze", low, [1]), g.op("Unsqueeze", high, [1]), pixels)
    total = g.op("ReduceSum", g.cast(shares, np.float64), [1], keepdims=1)
    weights = g.op("Mul", shares, g.cast(g.op("Reciprocal", total), np.float32))
    touched = g.cast(g.op("Gather", lines, g.cast(pixels, np.int64), axis=0), np.float32)  # (size, taps, K)
    return g.op("Squeeze", g.op("MatMul", g.op("Unsqueeze", weights, [1]), touched), [1])


def _edges(g: Graph, start: Value, step: Value, size: Value) -> tuple[str, str]:
    """Lower and upper edges of the windows of `size` pixels, along the last axis."""
    each = g.op("Range", 0.0, g.cast(size, np.float64), 1.0) if isinstance(size, str) else np.arange(float(size))
    centres = g.op("Add", start, g.op("Mul", g.op("Add", each, 0.5), step))
    half = g.op("Mul", g.op("Max", step, 1.0), 0.5)
    return g.op("Sub", centres, half), g.op("Add", centres, half)


def _shares(g: Graph, low: Value, high: Value, pixels: Value) -> str:
    """How much of each source pixel is in a window, float32."""
    right, left = g.op("Min", high, g.op("Add", pixels, 1.0)), g.op("Max", low, pixels)
    return g.cast(g.op("Max", g.op("Sub", right, left), 0.0), np.float32)


def for_each_crop(
    g: Graph, image: Value, boxes: Value, size: int, compute: Callable[[Graph, str], str], length: int
) -> str:
    """A function of each of boxes float64 (N, 4), cut from image uint8 (H, W, 3) to (size, size): float32 (N, length).

    compute  (graph, crop float32 (1, 3, size, size) from 0 to 255) -> float32 (length,). The outside of the image is 0.

    Crop by crop: a face may be a hundred times as large as another, so that no batch has windows of one size.
    """
    corner, end = g.columns(boxes, 0, 2), g.columns(boxes, 2, 4)
    step = g.op("Unsqueeze", g.op("Div", g.op("Sub", end, corner), float(size)), [2])  # (N, 2, 1), x and y
    low, high = _edges(g, g.op("Unsqueeze", corner, [2]), step, size)  # (N, 2, size)
    norm = g.cast(g.op("Reciprocal", g.op("Max", step, 1.0)), np.float32)
    limit = g.cast(g.row(g.side(image, 1), g.side(image, 0)), np.float64)  # width, height
    first = g.op("Min", g.op("Max", g.op("Floor", g.op("ReduceMin", low, axes=[2], keepdims=0)), 0.0), limit)
    last = g.op("Min", g.op("Max", g.op("Ceil", g.op("ReduceMax", high, axes=[2], keepdims=0)), 0.0), limit)
    low, high = g.op("Unsqueeze", low, [3]), g.op("Unsqueeze", high, [3])  # (N, 2, size, 1)
    starts, ends = g.cast(first, np.int64), g.cast(last, np.int64)

    def body(b: Graph, at: str, _: list[str]) -> tuple[None, list[Value], list[tuple[Value, object, object]]]:
        def of(value: Value) -> str:
            return b.op("Gather", value, at, axis=0)

        start, stop = of(starts), of(ends)  # (2,)
        crop = _crop(b, image, (of(low), of(high), of(norm)), start, stop)
        planes = b.op("Unsqueeze", b.op("Transpose", crop, perm=[2, 0, 1]), [0])
        return None, [], [(compute(b, planes), np.float32, [length])]

    count = g.side(boxes, 0)
    found = g.loop(body, [], trips=count)[0]
    # OpenVINO returns those of the call before where there are none.
    return g.op("Slice", found, [0], g.op("Unsqueeze", count, [0]), [0])


def _crop(g: Graph, image: Value, windows: tuple[str, str, str], start: Value, stop: Value) -> str:
    """One crop, float32 (size, size, 3), of the pixels from start to stop (2,), x and y, that its windows touch.

    windows  lower and upper edges (2, size, 1), and the factor of their shares (2, 1).
    """
    low, high, norm = windows
    longest = g.op("ReduceMax", g.op("Sub", stop, start), keepdims=0)
    pixels = g.op("Add", g.op("Reshape", start, [2, 1, 1]), g.op("Range", 0, longest, 1))  # (2, 1, longest)
    shares = _shares(g, low, high, g.cast(pixels, np.float64))
    shares = g.op("Mul", shares, g.op("Unsqueeze", norm, [2]))  # (2, size, longest)
    across, down = (g.op("Gather", shares, axis, axis=0) for axis in (0, 1))  # (size, longest)
    turn = [1, 0]  # y before x, as an image has them
    patch = g.op("Slice", image, g.op("Gather", start, turn), g.op("Gather", stop, turn), [0, 1])
    wide, tall = g.side(patch, 1), g.side(patch, 0)
    down = g.op("Slice", down, [0], g.op("Unsqueeze", tall, [0]), [1])
    across = g.op("Slice", across, [0], g.op("Unsqueeze", wide, [0]), [1])
    rows = g.op("MatMul", down, g.cast(g.op("Flatten", patch, axis=1), np.float32))  # (size, wide * 3)
    shape = g.op("Concat", [-1], g.op("Unsqueeze", wide, [0]), [3], axis=0)
    return g.op("MatMul", across, g.op("Reshape", rows, shape))  # (size, size, 3)
