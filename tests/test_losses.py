"""Losses: each kind of crop feeds what the table says and nothing else; the hardest count; NaN stays out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import plain_iou
from torch import Tensor

from mtcnn.types import NetOutput
from prepare.labels import Kind
from stages.crops.loss import FEEDS, Targets, multitask_loss
from stages.crops.recipe import TrainSettings

# docs/conventions.md: what a crop teaches.
TEACHES = {
    Kind.NEG: {"face"},
    Kind.PART: {"box"},
    Kind.POS: {"face", "box"},
    Kind.LANDMARK: {"landmark"},
}
QUALITY = {Kind.NEG, Kind.PART, Kind.POS}  # what teaches the face score where its target follows the box
ALL = TrainSettings(hard=1.0, face=1.0, box=0.5, landmark=0.25)


def output(count: int, seed: int = 0, points: bool = True) -> NetOutput:
    torch.manual_seed(seed)
    shapes = [(count,), (count, 4), (count, 5, 2)] if points else [(count,), (count, 4)]
    values = [torch.randn(shape, requires_grad=True) for shape in shapes]
    return NetOutput(values[0], values[1], values[2] if points else None)


def targets(kinds: Sequence[int], seed: int = 1) -> Targets:
    """Targets of every task for every crop, so that only the kinds decide which losses apply."""
    torch.manual_seed(seed)
    count = len(kinds)
    offsets, points = torch.randn(count, 4), torch.rand(count, 5, 2)
    return Targets(torch.tensor(kinds, dtype=torch.uint8), offsets, points, torch.ones(count))


def fed(found: NetOutput, row: int) -> set[str]:
    """The tasks whose output of crop `row` has a gradient."""
    names = {"face": found.face_logits, "box": found.offsets, "landmark": found.landmarks}
    return {name for name, value in names.items() if value is not None and bool((value.grad[row] != 0).any())}


@pytest.mark.parametrize("kind", Kind)
def test_gates_alone(kind: Kind) -> None:
    found = output(4)
    losses = multitask_loss(found, targets([kind] * 4), ALL)
    torch.autograd.backward(losses["total"])
    assert [fed(found, row) for row in range(4)] == [TEACHES[kind]] * 4
    for name in ("face", "box", "landmark"):
        assert (float(losses[name].detach()) != 0) == (name in TEACHES[kind])


def test_gates_in_a_mixed_batch() -> None:
    kinds = [Kind.LANDMARK, Kind.NEG, Kind.POS, Kind.PART, Kind.NEG, Kind.LANDMARK, Kind.PART, Kind.POS]
    found = output(len(kinds))
    torch.autograd.backward(multitask_loss(found, targets(kinds), ALL)["total"])
    assert [fed(found, row) for row in range(len(kinds))] == [TEACHES[kind] for kind in kinds]


def test_the_table_is_that_of_the_conventions() -> None:
    table = {task: set(kinds) for task, kinds in FEEDS.items()}
    assert table.pop("quality") == QUALITY
    assert {kind: {task for task, kinds in table.items() if kind in kinds} for kind in Kind} == TEACHES


def smooth_l1(difference: float) -> float:
    return difference**2 / 0.2 if abs(difference) < 0.1 else abs(difference) - 0.05


def plain_loss(found: NetOutput, wanted: Targets, share: float) -> list[float]:
    """face, box and landmark loss, one crop at a time."""
    face: list[float] = []
    box: list[float] = []
    landmark: list[float] = []
    for row, kind in enumerate(wanted.kinds.tolist()):
        if "face" in TEACHES[Kind(kind)]:
            z = float(found.face_logits[row].detach())
            face.append(math.log1p(math.exp(-z)) if kind == Kind.POS else math.log1p(math.exp(z)))
        for name, losses in (("offsets", box), ("landmarks", landmark)):
            if {"offsets": "box", "landmarks": "landmark"}[name] in TEACHES[Kind(kind)]:
                difference = (getattr(found, name)[row] - getattr(wanted, name)[row]).flatten().tolist()
                losses.append(sum(map(smooth_l1, difference)))
    count = len(face) * round(share * 10)
    hardest = sorted(face, reverse=True)[: -(-count // 10)]
    return [sum(part) / len(part) if part else 0.0 for part in (hardest, box, landmark)]


@settings(max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=30),
    share=st.sampled_from([0.1, 0.5, 0.7, 1.0]),
    seed=st.integers(0, 1000),
)
def test_like_the_plain_loop(kinds: list[Kind], share: float, seed: int) -> None:
    found, wanted = output(len(kinds), seed), targets(kinds, seed + 1)
    losses = multitask_loss(found, wanted, TrainSettings(hard=share, face=2.0, box=0.5, landmark=0.25))
    face, box, landmark = plain_loss(found, wanted, share)
    assert [float(loss.detach()) for loss in list(losses.values())[1:]] == pytest.approx(
        [face, box, landmark], rel=1e-4, abs=1e-6
    )
    assert float(losses["total"].detach()) == pytest.approx(2 * face + 0.5 * box + 0.25 * landmark, rel=1e-4, abs=1e-6)


def plain_distance_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU less the squared distance of the centres over the squared diagonal around both."""
    apart = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    wide, high = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    return plain_iou(a, b) - apart / (wide**2 + high**2)


@pytest.mark.parametrize("seed", range(5))
def test_loss_of_boxes_that_overlap_too_little(seed: int) -> None:
    """1 - DIoU of the boxes that the offsets lead to, of the crops that train boxes; boxes apart are among them."""
    kinds = [Kind.NEG, Kind.POS, Kind.PART, Kind.LANDMARK, Kind.POS, Kind.PART, Kind.POS]
    found, wanted = output(len(kinds), seed), targets(kinds, seed + 1)
    offsets, truth = found.offsets.detach() * 0.3, wanted.offsets * 0.3
    offsets[1] = truth[1] + torch.tensor([1.5, 0, 1.5, 0])  # beside the face
    found = found._replace(offsets=offsets.requires_grad_())
    unit = torch.tensor([0.0, 0, 1, 1])
    rows = [row for row, kind in enumerate(kinds) if "box" in TEACHES[kind]]
    pairs = [((offsets[row].detach() + unit).tolist(), (truth[row] + unit).tolist()) for row in rows]
    expected = sum(1 - plain_distance_iou(*pair) for pair in pairs) / len(pairs)
    losses = multitask_loss(found, wanted._replace(offsets=truth), TrainSettings(iou=2.0))
    without = multitask_loss(found, wanted._replace(offsets=truth), TrainSettings())
    assert float(losses["iou"].detach()) == pytest.approx(expected, rel=1e-4)
    assert float((losses["total"] - without["total"]).detach()) == pytest.approx(2 * expected, rel=1e-4)
    assert "iou" not in without
    (gradient,) = torch.autograd.grad(losses["iou"], offsets)
    assert [row for row in range(len(kinds)) if gradient[row].any()] == rows
    assert float(gradient[1, 0]) > 0, "towards the face"


@pytest.mark.parametrize("seed", range(5))
def test_a_face_score_that_follows_the_predicted_box(seed: int) -> None:
    """Its target is the share of the way from the first IoU to the second, of PART crops too, times a teacher's score;
    boxes do not change to please it."""
    kinds = [Kind.NEG, Kind.POS, Kind.PART, Kind.LANDMARK, Kind.POS, Kind.PART, Kind.POS]
    found, wanted = output(len(kinds), seed), targets(kinds, seed + 1)
    truth = wanted.offsets * 0.3
    offsets = truth + torch.randn(len(kinds), 4) * 0.15
    offsets[4], offsets[6] = truth[4], truth[6] + 3  # the very box, and none of it
    scores = torch.tensor([1, 1, 0.7, 1, 0.8, 1, 1])
    found = found._replace(offsets=offsets.requires_grad_())
    unit, face = torch.tensor([0.0, 0, 1, 1]), []
    for row, kind in enumerate(kinds):
        if kind in QUALITY:
            overlap = plain_iou((offsets[row].detach() + unit).tolist(), (truth[row] + unit).tolist())
            share = 0.0 if kind == Kind.NEG else min(max((overlap - 0.4) / 0.4, 0), 1)
            target, z = share * float(scores[row]), float(found.face_logits[row].detach())
            face.append(math.log1p(math.exp(z)) - target * z)
    losses = multitask_loss(
        found, wanted._replace(offsets=truth, scores=scores), TrainSettings(hard=1.0, quality=(0.4, 0.8))
    )
    assert float(losses["face"].detach()) == pytest.approx(sum(face) / len(face), rel=1e-4)
    gradients = torch.autograd.grad(losses["face"], [found.face_logits, offsets], allow_unused=True)
    assert [kinds[row] for row in range(len(kinds)) if gradients[0][row] == 0] == [Kind.LANDMARK]
    assert gradients[1] is None


@pytest.mark.parametrize("seed", range(3))
def test_landmark_errors_over_the_distance_between_the_eyes(seed: int) -> None:
    """Of landmark crops alone, at most half that distance; without a slope of NaN where a point is right."""
    kinds = [Kind.LANDMARK, Kind.POS, Kind.LANDMARK, Kind.LANDMARK]
    found, wanted = output(len(kinds), seed), targets(kinds, seed + 1)
    points = wanted.landmarks + torch.randn(4, 5, 2) * 0.05
    points[2], points[3] = wanted.landmarks[2], wanted.landmarks[3] + 9
    found, errors = found._replace(landmarks=points.requires_grad_()), []
    for row in (0, 2, 3):
        truth = wanted.landmarks[row].tolist()
        apart = [math.dist(a, b) for a, b in zip(points[row].tolist(), truth, strict=True)]
        errors.append(min(sum(apart) / 5 / math.dist(truth[0], truth[1]), 0.5))
    losses = multitask_loss(found, wanted, TrainSettings(nme=2.0))
    without = multitask_loss(found, wanted, TrainSettings())
    assert float(losses["nme"].detach()) == pytest.approx(sum(errors) / 3, rel=1e-3, abs=1e-5)
    assert float((losses["total"] - without["total"]).detach()) == pytest.approx(2 * sum(errors) / 3, rel=1e-3)
    (gradient,) = torch.autograd.grad(losses["nme"], points)
    assert bool(gradient.isfinite().all()) and [bool(gradient[row].any()) for row in range(4)] == [True] + [False] * 3


def face_gradient(logits: Tensor, kinds: Sequence[int]) -> Tensor:
    """The gradient (N,) of the face loss over the hardest 70 %."""
    rest = output(len(kinds))
    losses = multitask_loss(NetOutput(logits, rest.offsets, rest.landmarks), targets(kinds), TrainSettings(hard=0.7))
    return torch.autograd.grad(losses["face"], logits)[0]


def test_hardest_seven_of_ten() -> None:
    """Online hard examples: the 70 % with the largest loss, of NEG and POS together; others do not count."""
    kinds = [Kind.NEG] * 6 + [Kind.POS] * 4 + [Kind.PART] * 5 + [Kind.LANDMARK] * 5
    logits = torch.tensor([-3.0, 2, -2, 1, 0, -1] + [3.0, -2, 0.5, -0.5] + [9.0, -9] * 5, requires_grad=True)
    gradient = face_gradient(logits, kinds)
    easy = {0, 2, 6}  # losses log(1 + e^-3), log(1 + e^-2), log(1 + e^-3)
    assert {row for row in range(20) if gradient[row] != 0} == set(range(10)) - easy


@pytest.mark.parametrize("count", range(1, 25))
def test_share_is_rounded_up(count: int) -> None:
    gradient = face_gradient(torch.arange(count, dtype=torch.float32).requires_grad_(), [Kind.NEG] * count)
    kept = -(-count * 7 // 10)
    assert [bool(value) for value in gradient != 0] == [False] * (count - kept) + [True] * kept


def test_validation_uses_all_crops() -> None:
    found, wanted = output(10), targets([Kind.NEG] * 5 + [Kind.POS] * 5)
    strict = TrainSettings(hard=0.1)
    every, hardest = multitask_loss(found, wanted, ALL)["face"], multitask_loss(found, wanted, strict)["face"]
    assert torch.equal(multitask_loss(found, wanted, strict, hard=1.0)["face"], every)
    assert bool(hardest > every)


def test_unknown_landmarks_are_ignored() -> None:
    kinds = [Kind.NEG, Kind.POS, Kind.PART, Kind.LANDMARK]
    known = targets(kinds)
    points = known.landmarks.clone()
    points[:3] = math.nan
    results: list[tuple[list[float], list[Tensor]]] = []
    for landmarks in (known.landmarks, points):
        found = output(4)
        losses = multitask_loss(found, known._replace(landmarks=landmarks), ALL)
        torch.autograd.backward(losses["total"])
        results.append(
            ([float(loss.detach()) for loss in losses.values()], [value.grad for value in found if value is not None])
        )
    assert results[0][0] == results[1][0]
    assert all(torch.equal(*pair) for pair in zip(results[0][1], results[1][1], strict=True))


def test_an_empty_loss_is_zero_and_has_gradients() -> None:
    """Under DDP every weight must take part in every step, so a loss of nothing is still part of the graph."""
    found = output(3)
    losses = multitask_loss(found, targets([Kind.PART] * 3), ALL)
    assert float(losses["face"].detach()) == float(losses["landmark"].detach()) == 0
    torch.autograd.backward(losses["total"])
    assert all(value is not None and value.grad is not None for value in found)


def test_pnet_maps_of_one_cell() -> None:
    flat, wanted = output(6, points=False), targets([Kind.NEG, Kind.POS, Kind.PART] * 2)
    maps = NetOutput(flat.face_logits.reshape(6, 1, 1), flat.offsets.reshape(6, 4, 1, 1), None)
    expected, found = multitask_loss(flat, wanted, ALL), multitask_loss(maps, wanted, ALL)
    assert [float(v.detach()) for v in found.values()] == [float(v.detach()) for v in expected.values()]
    assert float(found["landmark"].detach()) == 0
