"""The cascade as nodes of a graph: PNet over the pyramid, then RNet and ONet on crops.

Repeats `proposer.PNetProposer`, `refiner.NetRefiner` and the end of `cascade.Detector`, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import boxes as box
from ..proposer import PNetProposer
from ..pyramid import CELL, STRIDE
from ..refiner import NetRefiner
from ..scoring import Scoring
from ..second_pass import OF_CNET, OF_ONET
from ..weights import SCALING, SECOND, SIDES, Layer, Weights
from .builder import Graph, Value
from .resampling import for_each_crop, resized
from .suppression import nms, nms_by_smaller, order

__all__ = ["StageFaces", "crop_net", "finished", "logit", "proposed", "refined", "sigmoid"]

EDGE = 2.0**-24  # 1 - EDGE is the float32 before 1, as in `scoring.logits_of`

# Kernel and rounding of the max pooling after the convolutions of a net.
_POOLS: dict[str, tuple[int, ...]] = {"pnet": (2, 0, 0), "rnet": (3, 3, 0), "onet": (3, 3, 2, 0), SECOND: (3, 3, 2, 0)}


class StageFaces(NamedTuple):
    """Candidates of a stage: boxes float64 (N, 4) of float32 numbers, scores float32 (N,), landmarks float64
    (N, 5, 2) or None."""

    boxes: Value
    scores: Value
    landmarks: Value | None


def logit(g: Graph, probability: Value) -> str:
    """`scoring.logit` of a float64 scalar."""
    share = g.op("Clip", probability, 0.0, 1.0)
    return g.op("Log", g.op("Div", share, g.op("Sub", 1.0, share)))


def sigmoid(g: Graph, logits: Value) -> str:
    """Scores float32 of logits, computed in float64."""
    odds = g.op("Exp", g.op("Neg", g.cast(logits, np.float64)))
    return g.cast(g.op("Reciprocal", g.op("Add", odds, 1.0)), np.float32)


# ---- nets


def _layers(g: Graph, net: Weights, x: str) -> str:
    """The convolutions of a net on pixels (1, 3, h, w) from 0 to 255."""
    mean, divisor = SCALING
    x = g.op("Mul", g.op("Sub", x, np.array(mean, np.float32)), np.float32(1 / divisor))
    for layer, pool in zip(net.trunk(), _POOLS[net.net], strict=False):
        x = g.op("Conv", x, layer.weight, layer.bias)
        assert layer.slope is not None
        slopes = layer.slope[:, None, None]
        pooled = {"kernel_shape": [pool, pool], "strides": [2, 2], "ceil_mode": 1}
        if pool and (layer.slope >= 0).all():  # then both orders give the same, see `nets.PooledPReLU`
            x = g.op("PRelu", g.op("MaxPool", x, **pooled), slopes)
        else:
            x = g.op("PRelu", x, slopes)
            x = g.op("MaxPool", x, **pooled) if pool else x
    return x


def _logit_layer(net: Weights) -> Layer:
    """The two values of the head as one, their difference."""
    pair = net.layer("face")
    return Layer(pair.weight[1:] - pair.weight[:1], pair.bias[1:] - pair.bias[:1])


def _dense(g: Graph, x: Value, layer: Layer) -> str:
    return g.op("Gemm", x, layer.weight, layer.bias, transB=1)


# ---- stage 1


def proposed(
    g: Graph, net: Weights, image: Value, min_face: Value, scale_factor: Value, threshold: Value
) -> StageFaces:
    """`PNetProposer` on image uint8 (H, W, 3). The settings are float64 scalars."""
    stage = PNetProposer(net)
    sides = g.cast(g.op("Shape", image, start=0, end=2), np.float64)  # height, width
    shortest, min_logit = g.op("ReduceMin", sides, keepdims=0), logit(g, threshold)
    ratio = g.op("Clip", scale_factor, 1e-6, 0.99)  # at 1 the pyramid would never end
    face = g.op("Max", min_face, 1.0)

    def body(b: Graph, _: str, state: list[str]) -> tuple[Value, list[Value], list[Any]]:
        size = b.op("Ceil", b.op("Div", b.op("Mul", sides, float(CELL)), state[0]))
        boxes, logits, offsets = _level(b, stage, image, sides, size, min_logit)
        found = [b.op("Concat", old, new, axis=0) for old, new in zip(state[1:], (boxes, logits, offsets), strict=True)]
        larger = b.op("Div", state[0], ratio)
        return b.op("GreaterOrEqual", shortest, larger), [larger, *found], []

    # OpenVINO takes the length of a constant for that after every round, so nothing is gathered instead.
    none = g.where(g.op("Less", sides, 0.0))
    boxes, logits, offsets = (
        g.op("Gather", empty, none, axis=0)
        for empty in (np.zeros((1, 4)), np.zeros(1, np.float32), np.zeros((1, 4), np.float32))
    )
    state: list[tuple[Value, Any, list[Any]]] = [
        (face, np.float64, []),
        (boxes, np.float64, ["n", 4]),
        (logits, np.float32, ["n"]),
        (offsets, np.float32, ["n", 4]),
    ]
    _, boxes, logits, offsets = g.loop(body, state, condition=g.op("GreaterOrEqual", shortest, face))
    left = nms(g, boxes, logits, stage.nms_iou)
    boxes, logits, offsets = (g.op("Gather", value, left, axis=0) for value in (boxes, logits, offsets))
    return StageFaces(_float32(g, _moved(g, boxes, offsets)), sigmoid(g, logits), None)


def _level(g: Graph, stage: Any, image: Value, sides: Value, size: Value, min_logit: Value) -> tuple[str, str, str]:
    """Boxes float64 (N, 4), logits float32 (N,) and offsets float32 (N, 4) of a level of float64 (height, width)."""
    net = stage.net
    height, width = (g.op("Gather", g.cast(size, np.int64), axis) for axis in (0, 1))
    features = _layers(g, net, g.op("Unsqueeze", resized(g, image, height, width), [0]))
    head = _logit_layer(net)
    logits = g.op("Squeeze", g.op("Conv", features, head.weight, head.bias), [0, 1])  # (rows, columns)
    above = g.op("GreaterOrEqual", g.cast(logits, np.float64), min_logit)
    cells = g.op("Transpose", g.op("NonZero", above), perm=[1, 0])  # (N, 2): row, column
    values = g.op("GatherND", logits, cells)
    corner = g.op("Mul", g.cast(g.op("Gather", cells, [1, 0], axis=1), np.float64), float(STRIDE))
    boxes = g.op("Concat", corner, g.op("Add", corner, float(CELL)), axis=1)
    left = nms(g, boxes, values, stage.level_iou, [stage.per_level])
    boxes, values, cells = (g.op("Gather", value, left, axis=0) for value in (boxes, values, cells))
    chosen = g.op("GatherND", g.op("Transpose", g.op("Squeeze", features, [0]), perm=[1, 2, 0]), cells)  # (N, 32)
    moves = net.layer("offsets")
    offsets = g.op("Add", g.op("MatMul", chosen, moves.weight[:, :, 0, 0].T), moves.bias)
    step = g.op("Gather", g.op("Div", sides, size), [1, 0, 1, 0])
    return g.op("Mul", boxes, step), values, offsets


# ---- stages 2 and 3


def refined(
    g: Graph,
    net: Weights,
    image: Value,
    found: StageFaces,
    threshold: Value,
    behind_detector: bool = False,
    second: Weights | None = None,
) -> StageFaces:
    """`NetRefiner` on the candidates of the previous stage. The threshold is a float64 scalar."""
    stage, last = NetRefiner(net, net.net), net.net == "onet"
    squares = _squares(g, found.boxes, net.scoring.context)
    inside = g.where(_touches(g, squares, image))
    squares, given = g.op("Gather", squares, inside, axis=0), _taken(g, found, inside)
    own, offsets, points = _heads(g, net, image, squares)
    logits = _fused(g, net.scoring, own, given.scores, behind_detector)
    offsets = _shared(g, net.scoring, offsets, squares, given.boxes, behind_detector)
    least = logit(g, threshold)
    if last and second is not None:
        least = g.op("Sub", least, float(second.scoring.margin))
    chosen = g.where(g.op("Greater", logits, least))
    squares, logits, offsets = (g.op("Gather", value, chosen, axis=0) for value in (squares, logits, offsets))
    moved = _moved(g, squares, offsets)
    if last:
        left = nms_by_smaller(g, moved, logits, stage.nms_iou)
    else:  # without the context of the crops, as in `NetRefiner`
        left = nms(g, _squares(g, g.op("Gather", given.boxes, chosen, axis=0), 1.0), logits, stage.nms_iou)
    rows = g.op("Gather", chosen, left, axis=0)
    landmarks = _taken(g, given, rows).landmarks
    if points is not None and net.has_landmarks:
        corner, side = _corners(g, g.op("Gather", squares, left, axis=0))
        landmarks = g.op("Add", corner, g.op("Mul", g.op("Gather", points, rows, axis=0), side))
    scores = sigmoid(g, g.op("Gather", logits, left, axis=0))
    first = StageFaces(_float32(g, g.op("Gather", moved, left, axis=0)), scores, landmarks)
    if not last or (second is None and not net.scoring.second):
        return first
    return _seen_again(g, net, image, first, threshold, behind_detector, second)


def _seen_again(
    g: Graph,
    net: Weights,
    image: Value,
    first: StageFaces,
    threshold: Value,
    behind_detector: bool,
    second: Weights | None,
) -> StageFaces:
    """`NetRefiner.seen_again`."""
    first = _taken(g, first, g.where(_touches(g, first.boxes, image)))
    learned = net.has_landmarks and (second is None or second.has_landmarks)
    net, views = (net, OF_ONET) if second is None else (second, OF_CNET)
    passes = [_pass(g, net, image, first.boxes, share, mirrored) for share, mirrored in views]
    own, boxes, points = (g.op("Mul", g.op("Add", *both), 0.5) for both in zip(*passes, strict=True))
    landmarks, scoring = points if learned else first.landmarks, net.scoring
    if second is not None:
        logits = _fused(g, scoring, own, first.scores, behind_detector)
        if behind_detector:
            moved = g.op("Mul", boxes, float(scoring.detector_offsets))
            boxes = g.op("Add", moved, g.op("Mul", first.boxes, float(1 - scoring.detector_offsets)))
    elif behind_detector:
        return StageFaces(first.boxes, first.scores, landmarks)
    else:
        before = g.op("Mul", _logits_of(g, first.scores), float(1 - scoring.second))
        logits = g.op("Add", before, g.op("Mul", own, float(scoring.second / scoring.temperature)))
    chosen = g.where(g.op("Greater", logits, logit(g, threshold)))
    boxes, logits = (g.op("Gather", value, chosen, axis=0) for value in (boxes, logits))
    left = nms_by_smaller(g, boxes, logits, NetRefiner(net, net.net).nms_iou)
    if landmarks is not None:
        landmarks = g.op("Gather", landmarks, chosen, axis=0)
    return _taken(g, StageFaces(_float32(g, boxes), sigmoid(g, logits), landmarks), left)


def _pass(g: Graph, net: Weights, image: Value, boxes: Value, share: float, mirrored: bool) -> tuple[str, str, str]:
    """Own logits (N,), boxes (N, 4) and landmarks (N, 5, 2), float64, of one crop for each of the boxes (N, 4)."""
    squares = _squares(g, boxes, net.scoring.context * share)
    own, offsets, points = _heads(g, net, image, squares, mirrored)
    assert points is not None
    if mirrored:
        offsets = g.op("Mul", g.op("Gather", offsets, [2, 1, 0, 3], axis=1), np.array([-1.0, 1, -1, 1]))
        points = g.op("Mul", g.op("Gather", points, list(box.FLIP_ORDER), axis=1), np.array([-1.0, 1]))
        points = g.op("Add", points, np.array([1.0, 0]))
    corner, side = _corners(g, squares)
    return own, _moved(g, squares, offsets), g.op("Add", corner, g.op("Mul", points, side))


def _heads(g: Graph, net: Weights, image: Value, squares: Value, mirrored: bool = False) -> tuple[str, str, str | None]:
    """The net's logits (N,), offsets (N, 4) and landmark targets (N, 5, 2) or None for squares: float64.

    mirrored  whether the net sees the mirror images of the crops; its outputs are of what it sees.
    """
    *_, dense = net.trunk()
    length, size = dense.weight.shape[1], SIDES[net.net]

    def compute(b: Graph, crop: str) -> str:
        if mirrored:
            crop = b.op("Gather", crop, list(range(size - 1, -1, -1)), axis=3)
        return b.op("Reshape", _layers(b, net, crop), [length])

    features = for_each_crop(g, image, squares, size, compute, length)
    logits, offsets, points = _outputs(g, net, features)
    double = None if points is None else g.cast(points, np.float64)
    return g.cast(logits, np.float64), g.cast(offsets, np.float64), double


def _outputs(g: Graph, net: Weights, features: Value) -> tuple[str, str, str | None]:
    """The same in float32, of what the convolutions give, (N, length)."""
    *_, dense = net.trunk()
    assert dense.slope is not None
    hidden = g.op("PRelu", _dense(g, features, dense), dense.slope)
    logits = g.op("Squeeze", _dense(g, hidden, _logit_layer(net)), [1])
    points = None
    if net.net != "rnet":
        points = g.op("Reshape", _dense(g, hidden, net.layer("landmarks")), [-1, 5, 2])
    return logits, _dense(g, hidden, net.layer("offsets")), points


def crop_net(net: Weights) -> Any:
    """The ModelProto of RNet, ONet or the net of its second pass alone: crops float32 (N, 3, side, side) from 0 to 255
    -> logits (N,), offsets (N, 4) and, but for RNet, landmarks (N, 5, 2)."""
    g, side = Graph(), SIDES[net.net]
    *_, dense = net.trunk()
    crops = g.input("crops", np.float32, ["crops", 3, side, side])
    features = g.op("Reshape", _layers(g, net, crops), [-1, dense.weight.shape[1]])
    logits, offsets, points = _outputs(g, net, features)
    found: list[tuple[str, Value, Any, Sequence[int | str]]] = [
        ("logits", logits, np.float32, ["n"]), ("offsets", offsets, np.float32, ["n", 4])
    ]  # fmt: skip
    if points is not None:
        found.append(("landmarks", points, np.float32, ["n", 5, 2]))
    return g.model(found, {"net": net.net})


def _fused(g: Graph, scoring: Scoring, own: Value, given: Value, behind_detector: bool) -> str:
    """`Scoring.fused`."""
    weight, temperature = scoring.before, scoring.temperature
    if behind_detector:
        weight = scoring.detector
        temperature = temperature if scoring.detector_temperature is None else scoring.detector_temperature
    if weight:
        own = g.op("Add", own, g.op("Mul", _logits_of(g, given), float(weight)))
    return g.op("Div", own, float(temperature))


def _logits_of(g: Graph, scores: Value) -> str:
    """`scoring.logits_of`."""
    share = g.op("Clip", g.cast(scores, np.float64), EDGE, 1 - EDGE)
    return g.op("Log", g.op("Div", share, g.op("Sub", 1.0, share)))


def _shared(g: Graph, scoring: Scoring, offsets: Value, squares: Value, boxes: Value, behind_detector: bool) -> Value:
    """`NetRefiner.shared`."""
    share = scoring.detector_offsets
    if not behind_detector or share == 1:
        return offsets
    before = g.op("Div", g.op("Sub", boxes, squares), _sides(g, squares))
    return g.op("Add", g.op("Mul", offsets, float(share)), g.op("Mul", before, float(1 - share)))


def finished(g: Graph, image: Value, found: StageFaces, min_face: float | None = None) -> StageFaces:
    """The faces that touch the image, clipped to it, by descending score: float32. min_face  of their longer side."""
    taken = _taken(g, found, g.where(_touches(g, found.boxes, image)))
    if min_face:
        sides = g.op("ReduceMax", _sides(g, taken.boxes), axes=[1], keepdims=0)
        taken = _taken(g, taken, g.where(g.op("GreaterOrEqual", sides, float(min_face))))
    taken = _taken(g, taken, order(g, taken.scores))
    points = None if taken.landmarks is None else g.cast(taken.landmarks, np.float32)
    return StageFaces(g.cast(_clipped(g, taken.boxes, image), np.float32), taken.scores, points)


# ---- boxes, float64 (N, 4)


def _taken(g: Graph, found: StageFaces, index: Value) -> StageFaces:
    return StageFaces(*(None if value is None else g.op("Gather", value, index, axis=0) for value in found))


def _float32(g: Graph, boxes: Value) -> str:
    """Rounded as `types.Faces` rounds."""
    return g.cast(g.cast(boxes, np.float32), np.float64)


def _sides(g: Graph, boxes: Value) -> str:
    """Width, height, width, height."""
    sides = g.op("Sub", g.columns(boxes, 2, 4), g.columns(boxes, 0, 2))
    return g.op("Concat", sides, sides, axis=1)


def _moved(g: Graph, boxes: Value, offsets: Value) -> str:
    """`boxes.decode_offsets`."""
    return g.op("Add", boxes, g.op("Mul", g.cast(offsets, np.float64), _sides(g, boxes)))


def _squares(g: Graph, boxes: Value, context: float) -> str:
    """`boxes.square`."""
    low, high = g.columns(boxes, 0, 2), g.columns(boxes, 2, 4)
    centre = g.op("Mul", g.op("Add", low, high), 0.5)
    half = g.op("Mul", g.op("ReduceMax", g.op("Sub", high, low), axes=[1], keepdims=1), 0.5 * context)
    return g.op("Concat", g.op("Sub", centre, half), g.op("Add", centre, half), axis=1)


def _corners(g: Graph, boxes: Value) -> tuple[str, str]:
    """Upper left corners and sides (N, 1, 2)."""
    corner = g.columns(boxes, 0, 2)
    return g.op("Unsqueeze", corner, [1]), g.op("Unsqueeze", g.op("Sub", g.columns(boxes, 2, 4), corner), [1])


def _clipped(g: Graph, boxes: Value, image: Value) -> str:
    """`boxes.clip`."""
    sides = g.cast(g.op("Gather", g.op("Shape", image), [1, 0, 1, 0]), np.float64)
    return g.op("Min", g.op("Max", boxes, 0.0), sides)


def _touches(g: Graph, boxes: Value, image: Value) -> str:
    """`refiner.touches`: bool (N,)."""
    cut_off = _clipped(g, boxes, image)
    positive = g.op("Greater", g.columns(cut_off, 2, 4), g.columns(cut_off, 0, 2))  # (N, 2)
    wide, high = (g.op("Squeeze", g.columns(positive, k, k + 1), [1]) for k in (0, 1))
    return g.op("And", wide, high)
