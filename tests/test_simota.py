"""SimOTA and its losses: equal to slow loops, with empty photos, without points, and in a training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.detectors.anchors import RETINAFACE
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.point_decoders import YuNetPoints
from mtcnn.errors import RecipeError
from mtcnn.types import ImageSize
from prepare.labels import IGNORE
from stages.objectives.assigning import FAR, AssignSettings, assign, dynamic_k, overlaps
from stages.objectives.box_overlaps import extended_iou
from stages.objectives.cells import CellPlaces, boxes_of, product_logits
from stages.objectives.matching import BACKGROUND
from stages.objectives.simota import BETA, SMOOTH, SimOTA, SimOTASettings
from stages.objectives.targets import stack
from stages.scene import Scene

SIDE = 64
DECODER = YuNetPoints()
SIZE = ImageSize(SIDE, SIDE)
PLACES = CellPlaces.of(DECODER, SIZE)
CELLS = len(PLACES.corners)

Array = NDArray[Any]


def said(seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Outputs of a net that says anything, for two pictures."""
    rng = np.random.default_rng(seed)
    widths = {"class_logits": 1, "object_logits": 1, "boxes": 4, "landmarks": 10}
    return {
        name: torch.from_numpy(rng.normal(0, scale, (2, CELLS, width)).astype(np.float32)).requires_grad_()
        for name, width in widths.items()
    }


def scene(boxes: list[list[float]], points: bool = True, ignore: tuple[bool, ...] = (), complete: bool = True) -> Scene:
    """A picture with these faces, whose points stand in the usual places."""
    faces = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = faces[:, None, :2] + places * (faces[:, None, 2:] - faces[:, None, :2])
    landmarks[:] = landmarks if points else np.nan
    hidden = np.array(ignore or [False] * len(faces), bool)
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), faces, landmarks, hidden, complete)


# ---- slow loops


def slow_iou(a: Array, b: Array) -> float:
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(w, 0) * max(h, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return float(shared / max(union, 1e-7))


def slow_signed_iou(a: Array, b: Array) -> float:
    """By cases: apart on no axis, on one, on both."""
    (ax, ay), extent = (np.minimum(a[:2], b[:2])), [0.0, 0.0]
    x1, x2 = max(a[0], b[0]) - ax, min(a[2], b[2]) - ax
    y1, y2 = max(a[1], b[1]) - ay, min(a[3], b[3]) - ay
    extent = [x2 - x1, y2 - y1]
    if extent[0] >= 0 and extent[1] >= 0:
        shared = extent[0] * extent[1]
    elif extent[1] >= 0:
        shared = extent[0] * (y1 + y2)
    elif extent[0] >= 0:
        shared = extent[1] * (x1 + x2)
    else:
        shared = 2 * (x2 * y2 - x1 * y1)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return float(shared / (union + 1e-7))


def slow_dynamic_k(cost: Array, shared: Array, candidates: int) -> list[int]:
    """Face by face: how many cells, which, and who gets those that several take."""
    rows, faces = cost.shape
    takers: list[list[int]] = [[] for _ in range(rows)]
    for g in range(faces):
        best = sorted(shared[:, g], reverse=True)[:candidates]
        total = np.float32(0)
        for value in best:
            total += np.float32(value)
        for row in sorted(range(rows), key=lambda v: (cost[v, g], v))[: max(int(total), 1)]:
            takers[row].append(g)
    owners = []
    for row in range(rows):
        if len(takers[row]) > 1:
            owners.append(min(range(faces), key=lambda g: (cost[row, g], g)))
        else:
            owners.append(takers[row][0] if takers[row] else -1)
    return owners


def slow_assign(boxes: Array, scores: Array, faces: Array, ignored: Array) -> tuple[list[int], list[float]]:
    corners, strides = (values.numpy() for values in PLACES)
    rows, costs, shares = [], [], []
    chosen, found = [BACKGROUND] * CELLS, [0.0] * CELLS
    for a in range(CELLS):
        stride = float(strides[a, 0])
        x, y = (float(v) + stride / 2 for v in corners[a])
        if any(b[0] < x < b[2] and b[1] < y < b[3] for b in ignored):
            chosen[a] = IGNORE
        inside = [b[0] < x < b[2] and b[1] < y < b[3] for b in faces]
        reach = 2.5 * stride
        near = [abs(x - (b[0] + b[2]) / 2) < reach and abs(y - (b[1] + b[3]) / 2) < reach for b in faces]
        if any(inside) or any(near):
            rows.append(a)
            shares.append([slow_iou(boxes[a], b) for b in faces])
            costs.append([
                -math.log(scores[a]) - 3 * math.log(share + 1e-7) + FAR * (not (one and two))
                for share, one, two in zip(shares[-1], inside, near, strict=True)
            ])  # fmt: skip
    if rows:
        owners = slow_dynamic_k(np.array(costs), np.array(shares), 10)
        for a, owner, share in zip(rows, owners, shares, strict=True):
            if owner >= 0:
                chosen[a], found[a] = owner, share[owner]
    return chosen, found


# ---- assignment


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 12), st.integers(0, 10_000))
def test_cells_of_each_face_as_a_slow_loop_takes_them(rows: int, faces: int, candidates: int, seed: int) -> None:
    """With many ties, as costs and overlaps are sixteenths."""
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 6, (rows, faces)).astype(np.float32) / 16
    shared = rng.integers(0, 17, (rows, faces)).astype(np.float32) / 16
    found = dynamic_k(torch.from_numpy(cost), torch.from_numpy(shared), candidates)
    assert found.tolist() == slow_dynamic_k(cost, shared, candidates)


@settings(max_examples=40)
@given(st.integers(0, 6), st.integers(0, 2), st.integers(0, 10_000))
def test_assignment_equals_a_slow_loop(count: int, hidden: int, seed: int) -> None:
    """Faces of 2 to 40 pixels, so that some hold no middle of a cell, and more of them than fit; or none."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(math.log(2), math.log(40), (count + hidden, 2)))
    corners = rng.uniform(-4, SIDE - 4, (count + hidden, 2))
    faces = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    boxes = boxes_of(said(seed)["boxes"][0].detach(), PLACES)
    scores = torch.from_numpy(rng.uniform(0.01, 0.99, CELLS).astype(np.float32))
    mine, others = torch.from_numpy(faces[:count]), torch.from_numpy(faces[count:])
    found = assign(boxes, scores, PLACES, mine, others, AssignSettings())
    chosen, shares = slow_assign(boxes.numpy(), scores.numpy(), faces[:count], faces[count:])
    assert found.faces.tolist() == chosen
    np.testing.assert_allclose(found.overlaps.numpy(), shares, atol=1e-5)


def test_every_face_that_a_cell_can_have_gets_one() -> None:
    """Even one of 3 pixels between the middles of cells, which is in no cell's reach but by its centre."""
    faces = torch.tensor([[6.5, 6.5, 9.5, 9.5], [20.0, 20, 60, 60]])
    found = assign(torch.zeros(CELLS, 4), torch.full((CELLS,), 0.5), PLACES, faces, torch.zeros(0, 4), AssignSettings())
    assert {0, 1} <= {*found.faces.tolist()}


def test_more_overlap_is_more_cells() -> None:
    face = torch.tensor([[8.0, 8, 56, 56]])
    counts = []
    for share in (0.35, 0.99):
        boxes = torch.cat([face[:, :2], face[:, :2] + share**0.5 * 48], dim=1).expand(CELLS, 4)
        found = assign(boxes, torch.full((CELLS,), 0.5), PLACES, face, torch.zeros(0, 4), AssignSettings())
        counts.append(int((found.faces == 0).sum()))
    assert counts == [3, 9], "ten overlaps of .35 are 3.5, ten of .99 are 9.9, rounded down"


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.lists(st.floats(1, 40), min_size=4, max_size=4))
def test_extended_iou_by_cases(corners: list[float], sides: list[float]) -> None:
    a, b = (np.array([x, y, x + w, y + h], np.float64) for x, y, w, h in
            ((*corners[:2], *sides[:2]), (*corners[2:], *sides[2:])))  # fmt: skip
    found = float(extended_iou(torch.from_numpy(a)[None], torch.from_numpy(b)[None])[0])
    assert found == pytest.approx(slow_signed_iou(a, b), abs=1e-9)
    if slow_iou(a, b) > 0:
        assert found == pytest.approx(slow_iou(a, b), abs=1e-6)
        assert float(overlaps(torch.from_numpy(a)[None], torch.from_numpy(b)[None])) == pytest.approx(slow_iou(a, b))


def test_boxes_apart_have_a_slope() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]], requires_grad=True)
    extended_iou(a, torch.tensor([[30.0, 40, 40, 50]])).sum().backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None and (a.grad[0, 2:] > 0).all(), "growing towards the other box makes them nearer"


# ---- losses


def slow_smooth_l1(x: float, beta: float) -> float:
    return 0.5 * x * x / beta if abs(x) < beta else abs(x) - beta / 2


def slow_bce(logit: float, truth: float) -> float:
    return max(logit, 0) - logit * truth + math.log1p(math.exp(-abs(logit)))


def slow_losses(outputs: dict[str, Tensor], scenes: list[Scene]) -> dict[str, float]:
    sums, positives, known = {"face": 0.0, "object": 0.0, "box": 0.0, "landmark": 0.0}, 0, 0
    for n, made in enumerate(scenes):
        c, o = (outputs[f"{name}_logits"][n, :, 0].detach().double().numpy() for name in ("class", "object"))
        codes = outputs["landmarks"][n].detach().numpy()
        boxes = DECODER.boxes({"boxes": outputs["boxes"][n].detach().numpy()}, SIZE, np.arange(CELLS))
        scores = np.sqrt(1 / (1 + np.exp(-c)) / (1 + np.exp(-o)))
        faces, points = made.boxes[~made.ignore], made.landmarks[~made.ignore]
        chosen, shares = slow_assign(boxes, scores, faces, made.boxes[made.ignore])
        for a, face in enumerate(chosen):
            if face != IGNORE and made.complete:
                sums["object"] += slow_bce(o[a], float(face >= 0))
            if face < 0:
                continue
            if made.complete:
                positives += 1
                sums["face"] += slow_bce(c[a], shares[a])
                sums["box"] += slow_smooth_l1(1 - slow_signed_iou(boxes[a], faces[face]), SMOOTH)
            if np.isfinite(points[face]).all():
                known += 1
                wanted = (points[face] - PLACES.corners[a].numpy()) / float(PLACES.strides[a, 0])
                sums["landmark"] += sum(slow_smooth_l1(float(d), BETA) for d in codes[a] - wanted.reshape(10))
    return {name: value / max(known if name == "landmark" else positives, 1) for name, value in sums.items()}


FACES: list[list[float]] = [[4, 6, 30, 40], [30, 20, 50, 44], [50, 50, 58, 60]]
CASES = {
    "faces in both": [scene(FACES), scene(FACES[1:])],
    "one photo is empty": [scene([]), scene(FACES)],
    "both are empty": [scene([]), scene([])],
    "no face has points": [scene(FACES, points=False), scene([], points=False)],
    "one has points": [scene(FACES[:2], points=False), scene(FACES[2:])],
    "an ignored face": [scene(FACES, ignore=(True, False, False)), scene(FACES[:1], ignore=(True,))],
    "a page of points": [scene(FACES, complete=False), scene([FACES[1]])],
}


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_a_slow_loop(name: str) -> None:
    objective, outputs = SimOTA(SimOTASettings(), DECODER), said(3)
    losses = objective.loss(outputs, stack([objective.targets(made) for made in CASES[name]]))
    expected = slow_losses(outputs, CASES[name])
    assert {each: losses[each].item() for each in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    total = expected["face"] + expected["object"] + 5 * expected["box"] + 0.1 * expected["landmark"]
    assert losses["total"].item() == pytest.approx(total, rel=1e-4)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in outputs.values())


def test_scores_and_boxes_are_those_of_detection() -> None:
    outputs = said(5, 3.0)
    plain = {name: value[0].detach().numpy() for name, value in outputs.items()}
    decoded = DECODER.decode(plain, SIZE)
    np.testing.assert_allclose(product_logits(outputs)[0].detach().numpy(), decoded.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(boxes_of(outputs["boxes"], PLACES)[0].detach().numpy(), decoded.boxes, rtol=1e-5)


def test_which_nets_it_is_for() -> None:
    with pytest.raises(RecipeError, match="objective is simota for a net with SsdCodes; expected YuNet"):
        SimOTA(SimOTASettings(), SsdCodes(RETINAFACE))
