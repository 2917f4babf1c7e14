"""ATSS and the losses of SCRFD: equal to slow loops, ties included, and finite where there is nothing to learn."""

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

from mtcnn.boxes import areas, ios, iou
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.anchors import RETINAFACE
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.errors import RecipeError
from mtcnn.types import ImageSize
from prepare.labels import IGNORE
from stages.objectives.adaptive import AdaptiveSettings, adaptive_match, nearest
from stages.objectives.atss import BETA, Atss, AtssSettings, quality_focal
from stages.objectives.box_overlaps import distance_iou, pair_iou
from stages.objectives.matching import BACKGROUND
from stages.objectives.targets import FACE, NO_FACE, stack
from stages.scene import Scene

Array = NDArray[Any]

SIDE = 96
SIZE = ImageSize(SIDE, SIDE)
DECODER = Distances(RETINAFACE)
ANCHORS = DECODER.anchors(SIZE)
COUNTS = DECODER.level_counts(SIZE)
STRIDES = np.repeat([8.0, 16.0, 32.0], COUNTS)


def scene(boxes: Any, ignore: Any = None, points: bool = True, complete: bool = True) -> Scene:
    """A picture with these faces, whose points stand in the usual places."""
    faces = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = faces[:, None, :2] + places * (faces[:, None, 2:] - faces[:, None, :2])
    landmarks[:] = landmarks if points else np.nan
    hidden = np.zeros(len(faces), bool) if ignore is None else np.array(ignore, bool)
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), faces, landmarks, hidden, complete)


# ---- assignment


def slow_match(boxes: Array, ignore: Array, candidates: int, inside: float) -> list[int]:
    """One face after the other, one level after the other."""
    owners: dict[int, tuple[float, int]] = {}
    taken_by = [0] * len(boxes)
    for face, box in enumerate(boxes.astype(float)):
        if ignore[face]:
            continue
        chosen: list[int] = []
        first = 0
        for count in COUNTS:
            rows = range(first, first + count)
            middle = (box[:2] + box[2:]) / 2
            centres = (ANCHORS[first : first + count, :2].astype(float) + ANCHORS[first : first + count, 2:]) / 2
            square = {row: float(((centres[row - first] - middle) ** 2).sum()) for row in rows}
            chosen += sorted(rows, key=lambda row: (square[row], row))[:candidates]
            first += count
        shared = {row: slow_iou(ANCHORS[row].astype(float), box) for row in chosen}
        mean = math.fsum(shared.values()) / len(shared)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in shared.values()) / (len(shared) - 1))
        size = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        for row, value in shared.items():
            x, y = (ANCHORS[row][:2].astype(float) + ANCHORS[row][2:]) / 2
            deep = min(x - box[0], y - box[1], box[2] - x, box[3] - y) / size > inside
            if value >= mean + deviation - 1e-9 and deep and (row not in owners or value > owners[row][0]):
                owners[row] = value, face
    for _, face in owners.values():
        taken_by[face] += 1
    hidden = boxes[[i for i in range(len(boxes)) if ignore[i] or not taken_by[i]]]
    found = []
    for row, anchor in enumerate(ANCHORS):
        near = any(doubtful(anchor, box) for box in hidden)
        found.append(owners[row][1] if row in owners else IGNORE if near else BACKGROUND)
    return found


def doubtful(anchor: Array, box: Array) -> bool:
    a, b = anchor[None], box[None]
    covered = float(ios(a, b)[0, 0]) >= 0.5 and areas(a)[0] <= areas(b)[0]
    return bool(covered or float(iou(a, b)[0, 0]) >= 0.1)


def slow_iou(a: Array, b: Array) -> float:
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(w, 0) * max(h, 0)
    return float(shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared))


# Multiples of 4 lie as far from several anchors, and overlap them equally.
_corner = st.tuples(st.integers(0, 20), st.integers(0, 20))
_sides = st.tuples(st.integers(1, 24), st.integers(1, 24))
_box = st.tuples(_corner, _sides, st.sampled_from([1.0, 4.0]), st.integers(0, 4))


def box_of(drawn: Any) -> list[float]:
    (x, y), (w, h), step, _ = drawn
    return [x * step, y * step, (x + w) * step, (y + h) * step]


@settings(max_examples=60)
@given(st.lists(_box, max_size=5), st.sampled_from([1, 4, 9, 300]), st.sampled_from([0.001, 0.2, -0.25]))
def test_assignment_equals_the_slow_loop(drawn: list[Any], candidates: int, inside: float) -> None:
    boxes = np.array([box_of(each) for each in drawn], np.float32).reshape(-1, 4)
    ignore = np.array([each[3] == 0 for each in drawn], bool)
    found = adaptive_match(ANCHORS, COUNTS, boxes, ignore, AdaptiveSettings(candidates, inside))
    assert found.tolist() == slow_match(boxes, ignore, candidates, inside)


def test_equal_faces_go_to_the_first() -> None:
    boxes = np.array([[20, 20, 60, 60]] * 2, np.float32)
    found = adaptive_match(ANCHORS, COUNTS, boxes, np.zeros(2, bool), AdaptiveSettings())
    assert (found == 0).any() and not (found == 1).any()


def test_all_overlaps_equal() -> None:
    """The face lies in all of its candidates, one for each level, of equal size here: none falls below their mean."""
    anchors = np.tile(np.array([[0, 0, 64, 64]], np.float32), (3, 1))
    found = adaptive_match(
        anchors, [1, 1, 1], np.array([[20, 20, 40, 47]], np.float32), np.zeros(1, bool), AdaptiveSettings()
    )
    assert found.tolist() == [0, 0, 0]


@given(st.integers(0, 40), st.integers(0, 4), st.integers(1, 12), st.integers(0, 1000))
def test_nearest_takes_the_earlier_of_equals(anchors: int, faces: int, count: int, seed: int) -> None:
    distances = np.random.default_rng(seed).integers(0, 4, (anchors, faces)).astype(float)
    found = nearest(distances, count)
    for face in range(faces):
        wanted = sorted(range(anchors), key=lambda row: (distances[row, face], row))[:count]
        assert found[:, face].tolist() == sorted(wanted)


def test_every_size_of_face_is_learned() -> None:
    """From 16 pixels to all of a picture of 640, anywhere; those over 40 % of the frame by dozens of anchors."""
    size = ImageSize(640, 640)
    anchors, counts = DECODER.anchors(size), DECODER.level_counts(size)
    rng = np.random.default_rng(0)
    for side in (16, 24, 40, 64, 128, 256, 300, 400, 500, 600, 639):
        for _ in range(20):
            x, y = rng.uniform(0, 640 - side, 2)
            box = np.array([[x, y, x + side, min(y + 1.2 * side, 640)]], np.float32)
            own = int((adaptive_match(anchors, counts, box, np.zeros(1, bool), AdaptiveSettings()) == 0).sum())
            assert own >= (2 if side >= 256 else 1), (side, box)


def test_a_face_without_anchors_is_no_background() -> None:
    """Of 7 pixels, between the corners of the cells."""
    made = Atss(AtssSettings(), DECODER).targets(scene([[33, 33, 40, 40]]))
    assert not (made.labels == FACE).any()
    assert (made.labels == IGNORE).any() and (made.labels == NO_FACE).any()


# ---- losses


def slow_losses(outputs: dict[str, Array], scenes: list[Scene], focus: float) -> dict[str, float]:
    objective = Atss(AtssSettings(focus=focus), DECODER)
    face = box = landmark = weights = shares = 0.0
    count = 0
    for n, made in enumerate(scenes):
        found = slow_match(made.boxes, made.ignore, 9, 0.001)
        codes = objective.decoder.encode(SIZE, np.arange(len(found)), *_of(made, found))
        for row, owner in enumerate(found):
            logit = float(outputs["logits"][n, row])
            score, truth = 1 / (1 + math.exp(-logit)), 0.0
            wanted = [float(value) for value in codes[0][row]]
            if owner >= 0 and made.complete:
                said = [float(value) for value in outputs["distances"][n, row]]
                a, b = ([-v[0], -v[1], v[2], v[3]] for v in (said, wanted))
                truth = slow_pair(a, b)
                box += score * (1 - truth + slow_apart(a, b))
                shares += score
                count += 1
            points = codes[1][row]
            if owner >= 0 and (made.complete or np.isfinite(points).any()):
                weights += score
            if owner >= 0:
                for value, goal in zip(outputs["landmarks"][n, row], points, strict=True):
                    if math.isfinite(goal):
                        d = abs(float(value) - float(goal))
                        landmark += score * (d * d / 2 / BETA if d < BETA else d - BETA / 2)
            if made.complete and owner != IGNORE:
                bce = -(truth * math.log(score) + (1 - truth) * math.log(1 - score))
                face += abs(truth - score) ** focus * bce
    return {"face": face / (count or 1), "box": box / (shares or 1), "landmark": landmark / (weights or 1)}


def _of(made: Scene, found: list[int]) -> tuple[Array, Array]:
    owners = np.array(found)
    boxes = np.full((len(found), 4), np.nan)
    points = np.full((len(found), 5, 2), np.nan)
    boxes[owners >= 0], points[owners >= 0] = made.boxes[owners[owners >= 0]], made.landmarks[owners[owners >= 0]]
    return boxes, points


def slow_pair(a: list[float], b: list[float]) -> float:
    """IoU of which one box may be turned inside out, and then has no area."""
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(w, 0) * max(h, 0)
    sizes = [max(box[2] - box[0], 0) * max(box[3] - box[1], 0) for box in (a, b)]
    return shared / max(sum(sizes) - shared, 1e-7)


def slow_apart(a: list[float], b: list[float]) -> float:
    d = sum(((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2) ** 2 for i in (0, 1))
    return d / max(sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1)), 1e-7)


def said(seed: int, pictures: int) -> dict[str, Tensor]:
    rng, count = np.random.default_rng(seed), len(ANCHORS)
    shapes = {"logits": (count,), "distances": (count, 4), "landmarks": (count, 10)}
    return {
        name: torch.from_numpy(rng.normal(0.5, 1.5, (pictures, *shape)).astype(np.float32)).requires_grad_()
        for name, shape in shapes.items()
    }


CASES = {
    "faces": [scene([[10, 10, 40, 50], [50, 40, 90, 90]]), scene([[0, 0, 96, 96]], points=False)],
    "one without faces": [scene([]), scene([[10, 10, 40, 50], [12, 12, 44, 55]])],
    "no faces": [scene([]), scene([])],
    "ignored alone": [scene([[10, 10, 40, 50]], ignore=[True]), scene([[0, 0, 90, 90]], ignore=[True])],
    "incomplete": [scene([[10, 10, 40, 50]], complete=False), scene([[50, 40, 90, 90]])],
    "incomplete alone": [scene([[10, 10, 40, 50]], complete=False, points=False)],
    "too small": [scene([[33, 33, 40, 40]])],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("focus", [1.0, 2.0])
def test_losses_equal_the_slow_loop(case: str, focus: float) -> None:
    scenes, objective = CASES[case], Atss(AtssSettings(focus=focus), DECODER)
    outputs = said(1, len(scenes))
    losses = objective.loss(outputs, stack([objective.targets(made) for made in scenes]))
    plain = {name: value.detach().numpy() for name, value in outputs.items()}
    wanted = slow_losses(plain, scenes, focus)
    assert {name: losses[name].item() for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert losses["total"].item() == pytest.approx(
        wanted["face"] + 2 * wanted["box"] + 0.1 * wanted["landmark"], rel=1e-4
    )
    losses["total"].backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in outputs.values())


def test_a_net_without_landmarks() -> None:
    objective, outputs = Atss(AtssSettings(), DECODER), said(2, 1)
    del outputs["landmarks"]
    losses = objective.loss(outputs, stack([objective.targets(scene([[10, 10, 40, 50]]))]))
    assert losses["landmark"].item() == 0 and losses["box"].item() > 0


_pair = st.lists(st.floats(-4, 4, width=32), min_size=4, max_size=4)


@given(_pair, _pair)
def test_overlaps_equal_the_slow_loop(a: list[float], b: list[float]) -> None:
    x, y = (torch.tensor([box], dtype=torch.float64) for box in (a, b))
    assert pair_iou(x, y).item() == pytest.approx(slow_pair(a, b), rel=1e-9, abs=1e-9)
    assert distance_iou(x, y).item() == pytest.approx(slow_pair(a, b) - slow_apart(a, b), rel=1e-9, abs=1e-9)


def test_overlaps_by_hand() -> None:
    """Equal boxes; two that touch, whose centres are 2 apart in a box of 2 x 4; and one within another."""
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 4, 4]])
    b = torch.tensor([[0.0, 0, 2, 2], [0, 2, 2, 4], [0, 0, 2, 2]])
    assert pair_iou(a, b).tolist() == [1, 0, 0.25]
    assert distance_iou(a, b).tolist() == pytest.approx([1, -4 / 20, 0.25 - 2 / 32])


def test_quality_focal_by_hand() -> None:
    """At a score of 1/2: cross-entropy ln 2 whatever the truth; away from it by 1/2, 1/4 and 0."""
    found = quality_focal(torch.zeros(3), torch.tensor([0.0, 0.75, 0.5]), 2.0)
    assert found.tolist() == pytest.approx([math.log(2) / 4, math.log(2) / 16, 0])


def test_other_nets_are_refused() -> None:
    with pytest.raises(RecipeError, match="objective is atss for a net with SsdCodes; expected SCRFD"):
        Atss(AtssSettings(), SsdCodes(RETINAFACE))
    assert all(isinstance(spec.decoder, Distances) for name, spec in DETECTORS.items() if name.startswith("scrfd"))
