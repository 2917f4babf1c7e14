"""Scores of teachers as targets, in every objective; doubtful regions, which are neither face nor background."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import random_crops
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.boxes import areas, ios
from mtcnn.detectors.anchors import RETINAFACE
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.detectors.point_decoders import HeatMap, YuNetPoints
from mtcnn.types import Faces, ImageSize, NetOutput
from prepare.labels import IouBands, Kind, label
from prepare.mine import MineSettings, mine
from prepare.points import landmark_crops
from prepare.records import CropBatch, ImageRecord
from prepare.sample import CropSettings, crops_of, sample
from prepare.store import CropStore, CropWriter, row_type
from stages.crops.batches import CropPool, flip, tensors
from stages.crops.loss import Targets, multitask_loss
from stages.crops.recipe import TrainSettings
from stages.graph.dag import data_key
from stages.objectives.atss import Atss, AtssSettings
from stages.objectives.cells import CellPlaces, boxes_of
from stages.objectives.distill import Distill, DistillSettings
from stages.objectives.distill_cells import DistillCells, DistillCellsSettings
from stages.objectives.heat_map import HeatMapSettings, Peaks, radius_of
from stages.objectives.multibox import MultiBox, MultiBoxSettings
from stages.objectives.sampling import SampleSettings, two_sided
from stages.objectives.simota import SimOTA, SimOTASettings
from stages.objectives.targets import FACE, NO_FACE, stack
from stages.photos.crops import PictureSettings, crop, mirrored
from stages.recipes import digest
from stages.scene import Scene
from stages.soft import excess, soft_weights

SIDE = 96
SIZE = ImageSize(SIDE, SIDE)
BANDS = IouBands()

Array = NDArray[Any]


def scene(
    boxes: Any, scores: list[float] | None = None, ignore: list[bool] | None = None, complete: bool = True
) -> Scene:
    """A picture with these faces, whose points stand in the usual places."""
    faces = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    points = faces[:, None, :2] + places * (faces[:, None, 2:] - faces[:, None, :2])
    hidden = np.zeros(len(faces), bool) if ignore is None else np.array(ignore, bool)
    chosen = None if scores is None else np.array(scores, np.float32)
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), faces, points, hidden, complete, chosen)


FACES = [[10, 12, 40, 50], [50, 40, 90, 92], [60, 4, 76, 22]]

WIDTHS: dict[str, dict[str, tuple[int, ...]]] = {
    "multibox": {"logits": (), "boxes": (4,), "landmarks": (10,)},
    "atss": {"logits": (), "distances": (4,), "landmarks": (10,)},
    "simota": {"class_logits": (1,), "object_logits": (1,), "boxes": (4,), "landmarks": (10,)},
    "heat-map": {"logits": (), "sizes": (2,), "offsets": (2,), "landmarks": (10,)},
}
WIDTHS |= {"distill": WIDTHS["multibox"], "distill-cells": WIDTHS["simota"]}

DECODERS: dict[str, Any] = {
    "multibox": SsdCodes(RETINAFACE), "distill": SsdCodes(RETINAFACE), "atss": Distances(RETINAFACE),
    "simota": YuNetPoints(), "distill-cells": YuNetPoints(), "heat-map": HeatMap(),
}  # fmt: skip


def said(name: str, pictures: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Outputs of a net that says anything."""
    rng, decoder = np.random.default_rng(seed), DECODERS[name]
    if isinstance(decoder, YuNetPoints):
        count = len(decoder.places(SIZE)[0])
    else:
        count = (SIDE // 4) ** 2 if isinstance(decoder, HeatMap) else len(decoder.anchors(SIZE))
    return {
        key: torch.from_numpy(rng.normal(0, 1, (pictures, count, *width)).astype(np.float32)).requires_grad_()
        for key, width in WIDTHS[name].items()
    }


def objective(name: str, **values: Any) -> Any:
    decoder = DECODERS[name]

    def teacher(image: Any) -> dict[str, Any]:
        return {key: value[0].detach().numpy() for key, value in said(name, 1, 5).items()}

    if name == "distill":
        return Distill(DistillSettings(**values), decoder, teacher)
    if name == "distill-cells":
        return DistillCells(DistillCellsSettings(**values), decoder, teacher)
    kinds: dict[str, tuple[Any, Any]] = {
        "multibox": (MultiBox, MultiBoxSettings), "atss": (Atss, AtssSettings), "simota": (SimOTA, SimOTASettings),
        "heat-map": (Peaks, HeatMapSettings),
    }  # fmt: skip
    kind, own = kinds[name]
    return kind(own(**values), decoder)


def run(name: str, scenes: list[Scene], seed: int = 0, **values: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses, and the gradients of the outputs."""
    made, outputs = objective(name, **values), said(name, len(scenes), seed)
    losses = made.loss(outputs, stack([made.targets(each) for each in scenes]))
    losses["total"].backward()
    found = {key: value.grad if value.grad is not None else torch.zeros(()) for key, value in outputs.items()}
    return {key: float(value.detach()) for key, value in losses.items()}, found


def cross_entropy(logit: float, truth: float) -> float:
    return float(np.logaddexp(0, logit) - truth * logit)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---- all objectives


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_a_score_of_1_is_no_score_to_the_bit(name: str) -> None:
    plain, scored = scene(FACES), scene(FACES, [1.0, 1.0, 1.0])
    values: dict[str, Any] = {} if "distill" in name else {"soft": 0.3}
    (one, a), (two, b) = run(name, [plain]), run(name, [scored], **values)
    assert one == two and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", sorted(WIDTHS.keys() - {"distill-cells"}))
def test_lower_scores_give_another_gradient_of_scores_alone(name: str) -> None:
    (_, a), (_, b) = run(name, [scene(FACES)]), run(name, [scene(FACES, [0.6, 1.0, 0.9])])
    scores = [key for key in a if "logits" in key]
    if name != "distill":  # there boxes weigh as much as scores
        assert all(torch.equal(a[key], b[key]) for key in a if key not in scores)
    assert any(not torch.equal(a[key], b[key]) for key in scores)


@pytest.mark.parametrize("name", ["atss", "heat-map", "multibox", "simota"])
def test_without_weight_faces_of_teachers_teach_no_score(name: str) -> None:
    """Then what they score does not matter, and their boxes still do."""
    (_, a), (_, b) = (run(name, [scene(FACES, [score, 1.0, score])], soft=0.0) for score in (0.3, 0.8))
    for key in a:
        assert torch.equal(a[key], b[key])
    boxes = next(key for key in a if key in ("boxes", "distances", "sizes"))
    assert bool((a[boxes] != 0).any())
    half, whole = (run(name, [scene(FACES, [0.5, 0.5, 0.5])], soft=soft)[0]["face"] for soft in (0.5, 1.0))
    assert half < whole


@pytest.mark.parametrize("name", sorted(WIDTHS))
@pytest.mark.parametrize("complete", [True, False])
def test_pictures_without_sure_faces(name: str, complete: bool) -> None:
    """Empty ones, and ones with doubtful regions alone, whose scores are of no matter."""
    empty, hidden = scene([], [], complete=complete), scene(FACES, [0.4] * 3, [True] * 3, complete)
    for scenes in ([empty], [hidden], [empty, hidden, scene(FACES, [0.7, 0.8, 0.9])]):
        losses, gradients = run(name, scenes)
        assert all(math.isfinite(loss) for loss in losses.values())
        assert all(bool(each.isfinite().all()) for each in gradients.values())
    (one, a), (two, b) = run(name, [hidden]), run(name, [hidden._replace(scores=None)])
    assert one == two and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["atss", "heat-map", "multibox", "simota"])
def test_doubtful_regions_teach_no_score(name: str) -> None:
    """A region over the whole picture: no anchor that lies mostly in it is background, nor a face."""
    (_, found), (_, background) = run(name, [scene([[0, 0, SIDE, SIDE]], [0.3], [True])]), run(name, [scene([])])
    inside = np.ones(len(found[next(iter(found))][0]), bool)
    if name in ("atss", "multibox"):
        anchors = DECODERS[name].anchors(SIZE)
        inside = ios(anchors, np.array([[0, 0, SIDE, SIDE]], np.float32))[:, 0] >= 0.5
        inside &= areas(anchors) <= SIDE**2
    scores = "object_logits" if name == "simota" else "logits"
    assert not found[scores][0, inside].any() and background[scores][0, inside].any()
    assert all(not found[key].any() for key in found if key != scores)


def test_settings_of_soft_targets_change_no_key_by_default() -> None:
    for kind in (MultiBoxSettings, AtssSettings, SimOTASettings, HeatMapSettings, TrainSettings):
        assert digest(kind()) == digest(kind(soft=1.0)) != digest(kind(soft=0.5))
    assert digest(PictureSettings()) != digest(PictureSettings(min_landmark_face=16))


# ---- slow loops


scores_of_faces = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]), min_size=3, max_size=3)


@settings(max_examples=10)
@given(scores_of_faces, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.4]))
def test_multibox_equals_a_slow_loop(scores: list[float], soft: float, margin: float) -> None:
    made, outputs = objective("multibox", soft=soft, margin=margin), said("multibox")
    targets = stack([made.targets(scene(FACES, scores))])
    logits, labels, truth = (v[0].tolist() for v in (outputs["logits"], targets.labels, targets.scores))
    faces = [a for a, kind in enumerate(labels) if kind == FACE]
    others = sorted((a for a, kind in enumerate(labels) if kind == NO_FACE), key=lambda a: (-logits[a], a))
    assert {truth[a] for a in faces} == {np.float32(score) for score in scores} and not any(truth[a] for a in others)
    total = sum(cross_entropy(logits[a], 0.0) for a in others[: 7 * len(faces)])
    for a in faces:
        weight = soft if 0 < truth[a] < 1 else 1.0
        total += weight * cross_entropy(logits[a] - margin * truth[a], truth[a])
    assert made.loss(outputs, targets)["face"].item() == pytest.approx(total / len(faces), rel=1e-4)


@settings(max_examples=10)
@given(scores_of_faces, st.sampled_from([0.0, 0.5, 1.0]))
def test_atss_equals_a_slow_loop(scores: list[float], soft: float) -> None:
    made, outputs = objective("atss", soft=soft), said("atss")
    picture = scene(FACES, scores)
    targets = stack([made.targets(picture)])
    total, count = 0.0, 0
    for a, kind in enumerate(targets.labels[0].tolist()):
        logit, truth, weight = outputs["logits"][0, a].item(), 0.0, 1.0
        if kind == FACE:
            count += 1
            score = float(targets.scores[0, a])
            found, wanted = outputs["distances"][0, a].tolist(), targets.box_codes[0, a].tolist()
            w, h = (max(min(found[i], wanted[i]) + min(found[i + 2], wanted[i + 2]), 0) for i in (0, 1))
            sides = [[max(d[i] + d[i + 2], 0) for i in (0, 1)] for d in (found, wanted)]
            truth = score * w * h / (sides[0][0] * sides[0][1] + sides[1][0] * sides[1][1] - w * h)
            weight = soft if 0 < score < 1 else 1.0
        if kind in (FACE, NO_FACE):
            total += weight * abs(truth - sigmoid(logit)) ** 2 * cross_entropy(logit, truth)
    assert count and made.loss(outputs, targets)["face"].item() == pytest.approx(total / count, rel=1e-4)


@settings(max_examples=10)
@given(scores_of_faces, st.sampled_from([0.0, 0.5, 1.0]))
def test_simota_equals_a_slow_loop(scores: list[float], soft: float) -> None:
    made, outputs = objective("simota", soft=soft), said("simota")
    targets = stack([made.targets(scene(FACES, scores))])
    a, b = outputs["class_logits"][..., 0], outputs["object_logits"][..., 0]
    places = CellPlaces.of(made.decoder, SIZE)
    found = made._assigned(boxes_of(outputs["boxes"], places), a.sigmoid() * b.sigmoid(), places, targets)
    face = each = 0.0
    owners = found.faces[0].tolist()
    for cell, owner in enumerate(owners):
        score = scores[owner] if owner >= 0 else 0.0
        weight = soft if 0 < score < 1 else 1.0
        each += weight * cross_entropy(b[0, cell].item(), score)
        if owner >= 0:
            face += weight * cross_entropy(a[0, cell].item(), float(found.overlaps[0, cell]))
    count, losses = sum(owner >= 0 for owner in owners), made.loss(outputs, targets)
    assert losses["object"].item() == pytest.approx(each / count, rel=1e-4)
    assert losses["face"].item() == pytest.approx(face / count, rel=1e-4)


@settings(max_examples=10)
@given(scores_of_faces, st.sampled_from([0.0, 0.5, 1.0]))
def test_heat_map_equals_a_slow_loop(scores: list[float], soft: float) -> None:
    made, outputs = objective("heat-map", soft=soft), said("heat-map")
    losses = made.loss(outputs, stack([made.targets(scene(FACES, scores))]))
    total, count, columns = 0.0, 0, SIDE // 4
    centres = {}
    for (x1, y1, x2, y2), score in zip(FACES, scores, strict=True):
        centres[int((x1 + x2) / 8), int((y1 + y2) / 8)] = (score, int(radius_of((x2 - x1) / 4, (y2 - y1) / 4, 0.7)))
    for cell in range(columns * columns):
        y, x = divmod(cell, columns)
        heat = 0.0
        for (column, row), (score, r) in centres.items():
            if abs(x - column) <= r and abs(y - row) <= r:
                far = (x - column) ** 2 + (y - row) ** 2
                heat = max(heat, score * math.exp(-far / (2 * ((2 * r + 1) / 6) ** 2)))
        logit, score = outputs["logits"][0, cell].item(), centres.get((x, y), (0.0, 0))[0]
        p, weight = sigmoid(logit), soft if 0 < score < 1 else 1.0
        positive, negative = (1 - p) ** 2 * cross_entropy(logit, 1), p**2 * cross_entropy(logit, 0)
        if score > 0 and weight > 0:
            count += 1
            total += weight * (score * positive + (1 - score) * negative)
        else:
            total += weight * (1 - heat) ** 4 * negative
    assert losses["face"].item() == pytest.approx(total / max(count, 1), rel=1e-4)


@pytest.mark.parametrize("name", ["distill", "distill-cells"])
def test_distilled_scores_move_towards_those_of_labels(name: str) -> None:
    plain, teacher = (objective(name, labels=share).targets(scene(FACES[:1])).scores for share in (0.25, 0.0))
    if name == "distill":
        mine = plain > teacher
    else:  # a teacher that sees the face somewhat
        decoder = DECODERS[name]
        rows = np.arange(len(teacher))
        outputs = {key: value[0].detach().numpy().copy() for key, value in said(name).items()}
        boxes = np.repeat(np.array(FACES[:1], np.float32), len(rows), 0)
        outputs["boxes"] = decoder.encode(SIZE, rows, boxes, np.zeros((len(rows), 5, 2), np.float32))[0]
        made = [DistillCells(DistillCellsSettings(labels=share), decoder, lambda image: outputs) for share in (0.25, 0)]
        plain, teacher = (each.targets(scene(FACES[:1])).scores for each in made)
        mine = plain > teacher
    assert mine.any()
    for score in (0.0, 0.6, 1.0):
        picture = scene(FACES[:1], [score])
        chosen = objective(name, labels=0.25) if name == "distill" else made[0]
        found = chosen.targets(picture).scores
        for cell in np.flatnonzero(mine):
            wanted = teacher[cell] + 0.25 * (np.float32(score) - teacher[cell])
            assert found[cell] == pytest.approx(wanted, abs=1e-6)
        assert np.array_equal(found[~mine], plain[~mine])


# ---- helpers


def test_excess_is_the_divergence() -> None:
    logits, truth = torch.tensor([2.0, -1.0, 0.5, 3.0]), torch.tensor([1.0, 0.0, 0.7, 0.2])
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    found = excess(losses, truth)
    assert torch.equal(found[:2], losses[:2])
    for x, t, each in zip(logits[2:].tolist(), truth[2:].tolist(), found[2:].tolist(), strict=True):
        p = sigmoid(x)
        assert each == pytest.approx(t * math.log(t / p) + (1 - t) * math.log((1 - t) / (1 - p)), abs=1e-6)
    assert soft_weights(truth, 0.5).tolist() == [1.0, 1.0, 0.5, 0.5]


def test_a_learned_face_is_not_hard() -> None:
    """Two faces of teachers, learned to the last bit, and one of people that is not: the latter is the hard one."""
    truth = torch.tensor([[0.6, 0.6, 1.0]])
    logits = torch.logit(torch.tensor([[0.6, 0.6, 0.6]]))
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    labels = torch.full((1, 3), FACE)
    assert losses.argmax() != 2
    assert two_sided(excess(losses, truth), labels, 1, 1.0).tolist() == [[False, False, True]]
    made = MultiBox(MultiBoxSettings(sample=SampleSettings(anchors=4, faces=0.25)), DECODERS["multibox"])
    targets = stack([made.targets(scene(FACES, [0.6, 0.6, 1.0]))])
    outputs = said("multibox")
    outputs["logits"] = torch.logit(torch.full_like(outputs["logits"], 0.6)).requires_grad_()
    made.loss(outputs, targets)["face"].backward()  # type: ignore[no-untyped-call]
    taken = (outputs["logits"].grad != 0) & (targets.labels == FACE)
    assert taken.any() and set(targets.scores[taken].tolist()) == {1.0}


# ---- pictures


def test_a_crop_keeps_the_scores_of_its_faces() -> None:
    boxes = np.array([[0, 0, 10, 10], [100, 100, 140, 140], [60, 60, 70, 70]], np.float32)
    points = np.repeat(boxes[:, None, :2] + 4, 5, axis=1)
    record = ImageRecord(Path("x.jpg"), boxes, points, scores=np.array([0.5, 0.75, 1.0]))
    photo = np.zeros((200, 200, 3), np.uint8)
    made = crop(photo, record, np.array([50.0, 50, 150, 150]), 200, min_landmark_face=30)
    assert made.scores is not None and made.scores.tolist() == [0.75, 1.0]
    assert np.isfinite(made.landmarks[0]).all() and np.isnan(made.landmarks[1]).all(), "of 20 pixels"
    assert mirrored(made).scores is made.scores
    assert np.isfinite(record.landmarks).all()
    assert crop(photo, ImageRecord(Path("x.jpg"), boxes), np.array([50.0, 50, 150, 150]), 200).scores is None


# ---- crops of the cascade


def record_of(scores: list[float] | None, ignore: list[bool] | None = None) -> ImageRecord:
    boxes = np.array([[40, 40, 80, 80], [120, 30, 180, 90]], np.float32)
    points = np.repeat((boxes[:, None, :2] + boxes[:, None, 2:]) / 2, 5, axis=1) + np.arange(10).reshape(5, 2)
    hidden = np.array(ignore or [False, False])
    return ImageRecord(Path("x.jpg"), boxes, points, hidden, scores=None if scores is None else np.array(scores))


PHOTO = np.random.default_rng(0).integers(0, 256, (160, 220, 3), np.uint8)


def test_crops_carry_the_score_of_their_face() -> None:
    rng = np.random.default_rng(0)
    batch = sample(PHOTO, record_of([0.5, 0.75]), 24, CropSettings(), BANDS, rng)
    for kind, scores in ((Kind.POS, {0.5, 0.75}), (Kind.PART, {0.5, 0.75}), (Kind.NEG, {1.0})):
        assert set(batch.scores[batch.kinds == kind].tolist()) == scores
    windows = np.array([[40, 40, 80, 80], [120, 30, 180, 90], [0, 100, 30, 130]], float)
    labels = label(windows, record_of([0.5, 0.75]), BANDS, 8)
    assert crops_of(PHOTO, windows, labels, record_of([0.5, 0.75]), 12).scores.tolist() == [0.5, 0.75, 1.0]
    again = sample(PHOTO, record_of([1.0, 1.0]), 24, CropSettings(), BANDS, np.random.default_rng(0))
    plain = sample(PHOTO, record_of(None), 24, CropSettings(), BANDS, np.random.default_rng(0))
    assert all(np.array_equal(getattr(again, n), getattr(plain, n), True) for n in CropBatch.__dataclass_fields__)


class Finds:
    """A cascade that finds these windows."""

    fits = False

    def __init__(self, windows: Array) -> None:
        self.windows = windows

    def __call__(self, image: Any, min_face: float) -> Faces:
        return Faces(self.windows.astype(np.float32), np.linspace(1, 0.5, len(self.windows), dtype=np.float32))


@pytest.mark.parametrize("size", [12, 24, 48])
def test_doubtful_regions_give_no_crops(size: int) -> None:
    """Neither drawn nor mined crops lie in them, of any kind; around them there is background."""
    record, rng = record_of([0.3, 0.3], [True, True]), np.random.default_rng(0)
    settings = CropSettings(negatives=3000, landmarks=4, max_neg=3000)
    windows = np.array([[40, 40, 80, 80], [42, 44, 84, 86], [50, 50, 70, 70], [125, 35, 175, 85], [90, 90, 110, 110]])
    found: Any = Finds(windows)
    assert len(landmark_crops(PHOTO, record, size, settings, rng)) == 0
    mined = mine(PHOTO, record, size, found, MineSettings(), settings, BANDS, rng)
    assert mined.kinds.tolist() == [Kind.NEG]
    drawn = label(np.concatenate([windows, record.boxes]), record, BANDS, 8)
    assert drawn.kinds.tolist() == [-1, -1, -1, -1, Kind.NEG, -1, -1]
    kinds = sample(PHOTO, record, size, settings, BANDS, rng).kinds
    assert len(kinds) and set(kinds.tolist()) == {Kind.NEG}
    whole = ImageRecord(Path("x.jpg"), np.array([[0, 0, 220, 160]], np.float32), ignore=np.array([True]))
    assert len(sample(PHOTO, whole, size, settings, BANDS, rng)) == 0
    assert len(mine(PHOTO, whole, size, found, MineSettings(), settings, BANDS, rng)) == 0


def scored_crops(rng: np.random.Generator) -> CropBatch:
    batch = random_crops(rng, 12, [Kind.POS, Kind.NEG, Kind.POS, Kind.PART, Kind.POS])
    scores = np.array([0.5, 1.0, 1.0, 1.0, 0.75], np.float32)
    return CropBatch(batch.crops, batch.kinds, batch.offsets, batch.landmarks, scores)


def write(path: Path, batches: list[CropBatch], scored: bool) -> CropStore:
    with CropWriter(path, 12, "k", scored) as writer:
        for batch in batches:
            writer.append(batch)
        writer.finish()
    return CropStore(path)


def test_a_store_has_scores_only_where_teachers_labelled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    batches = [scored_crops(rng), random_crops(rng, 12, [Kind.POS])]
    scored, plain = write(tmp_path / "scored", batches, True), write(tmp_path / "plain", batches, False)
    assert (len(scored), len(plain)) == (6, 6)
    assert scored.read(np.array([4, 0, 5])).scores.tolist() == [0.75, 0.5, 1.0]
    assert plain.read(np.array([4, 0, 5])).scores.tolist() == [1.0] * 3
    assert plain.type == row_type(12) and "scores" not in (plain.type.names or ())
    assert b"scored" not in (tmp_path / "plain/data.mdb").read_bytes()
    pool = CropPool([scored, plain])
    assert pool.read(np.array([8, 4, 0])).scores.tolist() == [1.0, 0.75, 0.5]
    turned = flip(pool.read(np.array([4, 0])), np.array([True, False]))
    assert turned.scores.tolist() == [0.75, 0.5] and tensors(turned)[1].scores.tolist() == [0.75, 0.5]
    plain.close()
    with CropWriter(tmp_path / "plain", 12, "k", True) as writer:
        assert not writer.complete and writer.done == 0, "other rows: made anew"


@pytest.mark.parametrize("soft", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("hard", [0.4, 0.7, 1.0])
def test_losses_of_crops_equal_a_slow_loop(hard: float, soft: float) -> None:
    kinds = [Kind.POS, Kind.NEG, Kind.POS, Kind.PART, Kind.POS, Kind.NEG, Kind.LANDMARK]
    scores = [0.6, 1.0, 1.0, 1.0, 0.9, 1.0, 1.0]
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(0, 1, len(kinds)).astype(np.float32)).requires_grad_()
    output = NetOutput(logits, torch.zeros(len(kinds), 4), None)
    targets = Targets(torch.tensor(kinds, dtype=torch.uint8), torch.zeros(len(kinds), 4),
                      torch.zeros(len(kinds), 5, 2), torch.tensor(scores))  # fmt: skip
    rows = []
    for logit, kind, score in zip(logits.tolist(), kinds, scores, strict=True):
        if kind in (Kind.NEG, Kind.POS):
            truth = score if kind == Kind.POS else 0.0
            loss = cross_entropy(logit, truth)
            least = -sum(t * math.log(t) for t in (truth, 1 - truth) if t > 0)
            rows.append((loss - least, loss * (soft if 0 < truth < 1 else 1.0)))
    count = math.ceil(round(len(rows) * hard, 6))
    chosen = sorted(rows, reverse=True)[:count]
    found = multitask_loss(output, targets, TrainSettings(hard=hard, soft=soft))["face"]
    assert found.item() == pytest.approx(sum(weighted for _, weighted in chosen) / count, rel=1e-5)


def test_scores_are_part_of_the_key_where_teachers_gave_some() -> None:
    plain, sure, scored = (data_key([record_of(scores)]) for scores in (None, [1.0, 1.0], [1.0, 0.5]))
    assert plain == sure != scored
    assert not record_of(None).is_scored and not record_of([1.0, 1.0]).is_scored and record_of([1.0, 0.5]).is_scored
