"""A single-stage detector as nodes of a graph: scaling, padding, net, decoding and NMS.

Repeats `detectors.single_stage.SingleStage` at one size of the image, without tiles and without coarser looks.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..detectors import DETECTORS, Spec
from ..detectors.single_stage import CONFIDENT, SingleStage
from .builder import Graph, Value
from .cascade import StageFaces, logit, sigmoid
from .decoding import DECODERS, Predictions
from .exported import needed
from .resampling import resized
from .suppression import nms, order

__all__ = ["detected", "net_model"]


def net_model(name: str, models: Path | None) -> Any:
    """The ModelProto of a net alone, for images (N, 3, H, W) from 0 to 255, with the outputs of its decoder."""
    from ..onnx_export import write_net

    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        write_net(name, path, models)
        return needed("onnx").load(str(path))


def detected(
    g: Graph, name: str, net: Any, image: Value, threshold: Value, max_side: float | None = None
) -> StageFaces:
    """The faces in image uint8 (H, W, 3). The threshold is a float64 scalar; net is a `net_model`."""
    spec = DETECTORS[name]
    pixels, step = _shrunk(g, image, max_side)
    padded = _padded(g, pixels, spec)
    outputs = g.embed(net, "net.", {"images": g.op("Unsqueeze", padded, [0])})
    single = {output: g.op("Squeeze", value, [0]) for output, value in outputs.items()}
    found = DECODERS[type(spec.decoder)](g, spec.decoder, single, g.op("Shape", padded, start=1, end=3))
    faces = _selected(g, found, spec, threshold)
    if step is None:
        return faces
    boxes = g.op("Mul", faces.boxes, g.op("Concat", step, step, axis=0))
    return StageFaces(boxes, faces.scores, None if faces.landmarks is None else g.op("Mul", faces.landmarks, step))


def _shrunk(g: Graph, image: Value, max_side: float | None) -> tuple[str, str | None]:
    """Pixels float32 (3, h, w) of the image, its longer side at most `max_side`; and pixels of the image per pixel, x
    and y, float64 (2,), or None for one."""
    if max_side is None:
        return g.op("Transpose", g.cast(image, np.float32), perm=[2, 0, 1]), None
    sides = g.op("Shape", image, start=0, end=2)
    real = g.cast(sides, np.float64)
    longest = g.op("Max", g.op("ReduceMax", real, keepdims=0), 1.0)
    factor = g.op("Min", g.op("Div", float(max_side), longest), 1.0)
    size = g.op("Max", g.op("Round", g.op("Mul", real, factor)), 1.0)
    size = g.op("Min", size, real)  # an empty image stays empty
    height, width = (g.op("Gather", g.cast(size, np.int64), axis) for axis in (0, 1))
    step = g.op("Div", real, g.op("Max", size, 1.0))
    return resized(g, image, height, width), g.op("Gather", step, [1, 0])


def _padded(g: Graph, pixels: Value, spec: Spec) -> str:
    """`single_stage.pad`, of float32 (3, h, w), to one multiple at least."""
    size = g.op("Shape", pixels, start=1, end=3)
    wanted = g.op("Mul", g.op("Div", g.op("Add", size, spec.multiple - 1), spec.multiple), spec.multiple)
    extra = g.op("Sub", g.op("Max", wanted, spec.multiple), size)
    colour = np.array(spec.padding, np.float32)[:, None, None]
    pads = g.op("Concat", [0, 0, 0, 0], extra, axis=0)
    return g.op("Add", g.op("Pad", g.op("Sub", pixels, colour), pads), colour)


def _selected(g: Graph, found: Predictions, spec: Spec, threshold: Value) -> StageFaces:
    """`single_stage.select`, with the limits of `SingleStage`."""
    above = g.where(g.op("GreaterOrEqual", g.cast(found.logits, np.float64), logit(g, threshold)))
    confident = _confident(g, g.op("Gather", found.logits, above))
    logits = g.op("Gather", found.logits, above)
    first = g.op("Slice", order(g, logits), [0], g.row(g.op("Max", confident, SingleStage.pre_nms)))
    rows, logits = g.op("Gather", above, first), g.op("Gather", logits, first)
    boxes = found.boxes(rows)
    left = nms(g, boxes, logits, spec.nms_iou, g.row(g.op("Max", confident, SingleStage.max_faces)))
    remaining = _confident(g, g.op("Gather", logits, left))
    left = g.op("Slice", left, [0], g.row(g.op("Max", remaining, SingleStage.max_faces)))
    points = None
    if found.landmarks is not None:
        points = g.cast(found.landmarks(g.op("Gather", rows, left)), np.float64)
    real = g.cast(g.op("Gather", boxes, left, axis=0), np.float64)
    return StageFaces(real, sigmoid(g, g.op("Gather", logits, left)), points)


def _confident(g: Graph, logits: Value) -> str:
    """How many logits are those of a score of 0.5 or more: they are never cut."""
    sure = g.cast(g.op("GreaterOrEqual", logits, np.float32(CONFIDENT)), np.int64)
    return g.op("ReduceSum", sure, [0], keepdims=0)
