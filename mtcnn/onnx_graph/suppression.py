"""Non-maximum suppression as nodes of a graph, see `mtcnn.nms`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .builder import Graph, Value

__all__ = ["nms", "nms_by_smaller", "order"]


def nms(g: Graph, boxes: Value, scores: Value, threshold: float, limit: Value = None) -> str:
    """Indices int64 (K,) of the remaining boxes (N, 4) by descending score (N,); of equal scores the earlier first."""
    ceiling = g.side(boxes, 0) if limit is None else limit
    # The operator takes corners in any order; here an inverted box overlaps nothing, like one without an area.
    low, high = g.columns(boxes, 0, 2), g.columns(boxes, 2, 4)
    boxes = g.op("Concat", low, g.op("Max", low, high), axis=1)
    # OpenVINO also drops a box whose overlap equals the threshold, as that of many cells of PNet does.
    found = g.op(
        "NonMaxSuppression",
        g.op("Unsqueeze", g.cast(boxes, np.float32), [0]),
        g.op("Unsqueeze", g.cast(scores, np.float32), [0, 1]),
        ceiling,
        np.nextafter(np.array([threshold], np.float32), np.float32(1)),
    )  # (K, 3): image, class, box
    return g.op("Gather", found, 2, axis=1)


def order(g: Graph, scores: Value) -> str:
    """Indices of scores (N,), the highest first; of equal ones the earlier."""
    return g.ops("TopK", 2, scores, g.op("Shape", scores), axis=0)[1]


def nms_by_smaller(g: Graph, boxes: Value, scores: Value, threshold: float) -> str:
    """The same with intersection over the smaller area, for which ONNX has no operator.

    Whether a box remains depends on those before it in the order of scores. Starting from all boxes, those which
    overlap a remaining one are dropped, and again with what then remains, until nothing changes: after n rounds at
    least the first n are settled, usually all after three.
    """
    ranks = order(g, g.cast(scores, np.float64))
    suppressed = _suppresses(g, g.op("Gather", boxes, ranks, axis=0), threshold)  # (N, N)
    count = g.op("Shape", scores)
    every = g.op("Expand", np.float32(1), count)

    def body(b: Graph, _: str, state: list[str]) -> tuple[Any, list[Value], list[Any]]:
        remaining = state[0]
        hits = b.op("MatMul", suppressed, b.op("Unsqueeze", remaining, [1]))  # (N, 1)
        after = b.cast(b.op("Less", b.op("Squeeze", hits, [1]), np.float32(0.5)), np.float32)
        changes = b.op("ReduceSum", b.op("Abs", b.op("Sub", after, remaining)), keepdims=0)
        return b.op("Greater", changes, np.float32(0)), [after], []

    trips = g.op("Squeeze", g.op("Add", count, [1]))
    remaining = g.loop(body, [(every, np.float32, ["n"])], trips)[0]
    return g.op("Gather", ranks, g.where(remaining), axis=0)


def _suppresses(g: Graph, boxes: Value, threshold: float) -> str:
    """float32 (N, N): 1 where the row's box overlaps the column's, which comes before it. Boxes are in order."""
    x1, y1, x2, y2 = (g.columns(boxes, k, k + 1) for k in range(4))  # (N, 1)
    area = g.op("Mul", g.op("Sub", x2, x1), g.op("Sub", y2, y1))

    def shared(low: Value, high: Value) -> str:
        right = g.op("Min", high, g.op("Transpose", high, perm=[1, 0]))
        return g.op("Max", g.op("Sub", right, g.op("Max", low, g.op("Transpose", low, perm=[1, 0]))), 0.0)

    overlap = g.op("Mul", shared(x1, x2), shared(y1, y2))  # (N, N)
    smaller = g.op("Min", area, g.op("Transpose", area, perm=[1, 0]))
    positive = g.op("Greater", overlap, 0.0)
    hit = g.op("And", positive, g.op("Greater", overlap, g.op("Mul", smaller, threshold)))
    return g.op("Trilu", g.cast(hit, np.float32), -1, upper=0)
