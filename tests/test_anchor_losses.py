"""Targets of anchors, and losses computed by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtcnn.detectors.anchors import RETINAFACE, anchors, decode_box_codes, decode_landmark_codes
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.heads import face_logits
from prepare.labels import IGNORE
from prepare.records import ImageRecord
from stages.objectives.matching import MatchSettings
from stages.objectives.multibox import MultiBox, MultiBoxSettings
from stages.objectives.sampling import SampleSettings
from stages.objectives.targets import FACE, NO_FACE, AnchorTargets, encode, stack
from stages.photos.crops import crop
from stages.scene import Scene

SETTINGS = MultiBoxSettings(sample=SampleSettings(negatives=1.0, min_negatives=1))
OBJECTIVE = MultiBox(SETTINGS, SsdCodes(RETINAFACE))


def scene(complete: bool = True, ignore: bool = False) -> Scene:
    """One face of 40 x 50 pixels with five known points, and one far away with only a box."""
    points = np.array([[30, 40], [50, 40], [40, 52], [32, 62], [48, 62]], np.float32)
    boxes = np.array([[20, 25, 60, 75], [70, 70, 100, 104]], np.float32)
    landmarks = np.stack([points, np.full((5, 2), np.nan, np.float32)])
    return Scene(np.zeros((128, 128, 3), np.uint8), boxes, landmarks, np.array([ignore, False]), complete)


def test_targets_decode_to_the_faces() -> None:
    made, places = scene(), anchors(128, 128, RETINAFACE)
    labels, box_codes, landmark_codes, *_ = encode(made, SsdCodes(RETINAFACE), MatchSettings())
    mine = np.flatnonzero(np.isfinite(landmark_codes[:, 0]))
    assert len(mine)
    assert (labels[mine] == FACE).all()
    assert np.allclose(decode_box_codes(places[mine], box_codes[mine]), made.boxes[0], atol=1e-3)
    assert np.allclose(decode_landmark_codes(places[mine], landmark_codes[mine]), made.landmarks[0], atol=1e-3)
    others = np.flatnonzero((labels == FACE) & np.isnan(landmark_codes[:, 0]))
    assert np.allclose(decode_box_codes(places[others], box_codes[others]), made.boxes[1], atol=1e-3)
    assert np.isnan(box_codes[labels != FACE]).all()
    assert (labels == NO_FACE).sum() + (labels == FACE).sum() == len(places)


def test_an_ignored_face_is_not_background() -> None:
    labels, box_codes, *_ = encode(scene(ignore=True), SsdCodes(RETINAFACE), MatchSettings())
    whole, *_ = encode(scene(), SsdCodes(RETINAFACE), MatchSettings())
    assert (labels == IGNORE).any()
    assert set(whole[labels == IGNORE].tolist()) == {FACE, NO_FACE}
    assert np.isfinite(box_codes[labels == FACE]).all()


def test_an_incomplete_scene_trains_only_landmarks() -> None:
    labels, box_codes, landmark_codes, *_ = encode(scene(complete=False), SsdCodes(RETINAFACE), MatchSettings())
    assert (labels == IGNORE).all()
    assert np.isnan(box_codes).all()
    whole = encode(scene(), SsdCodes(RETINAFACE), MatchSettings()).landmark_codes
    assert np.array_equal(np.isfinite(landmark_codes), np.isfinite(whole))


def test_targets_of_a_cropped_photo() -> None:
    """From labels in a photo to codes and back, through a crop."""
    record = ImageRecord(Path("x.jpg"), np.array([[110, 65, 150, 115]], np.float32))
    made = crop(np.zeros((200, 300, 3), np.uint8), record, np.array([90.0, 40, 154, 104]), 128)
    labels, box_codes, *_ = encode(made, SsdCodes(RETINAFACE), MatchSettings())
    mine = labels == FACE
    found = decode_box_codes(anchors(128, 128, RETINAFACE)[mine], box_codes[mine]) / 2 + [90, 40, 90, 40]
    assert np.allclose(found, [110, 65, 150, 104], atol=1e-3), "cut at the lower edge"


def targets(labels: list[int]) -> AnchorTargets:
    """Targets of one image: codes 0 for faces; points known for the first anchor alone."""
    count = len(labels)
    boxes, points = np.full((count, 4), np.nan, np.float32), np.full((count, 10), np.nan, np.float32)
    boxes[np.array(labels) == FACE] = 0
    points[0] = 0
    scores = (np.array(labels) == FACE).astype(np.float32)
    return stack([AnchorTargets(np.array(labels, np.int8), boxes, points, np.array([count]), scores)])


def output(logits: list[float], box: float = 0.0, point: float = 0.0) -> dict[str, torch.Tensor]:
    shape = (1, len(logits))
    return {
        "logits": torch.tensor([logits], requires_grad=True),
        "boxes": torch.full((*shape, 4), box, requires_grad=True),
        "landmarks": torch.full((*shape, 10), point, requires_grad=True),
    }


def test_losses_by_hand() -> None:
    """Two faces and, of three background anchors, the two that look most like faces."""
    wanted = targets([FACE, FACE, NO_FACE, NO_FACE, NO_FACE, IGNORE])
    with torch.no_grad():
        losses = OBJECTIVE.loss(output([2.0, -1.0, 3.0, -4.0, 0.0, 9.0], 0.5, 2.0), wanted)
    each = [math.log1p(math.exp(-2)), math.log1p(math.exp(1)), math.log1p(math.exp(3)), math.log1p(1.0)]
    assert float(losses["face"]) == pytest.approx(sum(each) / 2, rel=1e-5)
    assert float(losses["box"]) == pytest.approx(4 * 0.5 * 0.5**2)
    assert float(losses["landmark"]) == pytest.approx(10 * (2.0 - 0.5))
    assert float(losses["total"]) == pytest.approx(float(losses["face"] + 2 * losses["box"] + losses["landmark"]))


def test_the_face_loss_is_cross_entropy_over_two() -> None:
    rng = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 4, 2, generator=rng)
    given = {"logits": face_logits(classes), "boxes": torch.zeros(1, 4, 4)}
    losses = OBJECTIVE.loss(given, targets([FACE, FACE, NO_FACE, NO_FACE]))
    usual = F.cross_entropy(classes[0], torch.tensor([1, 1, 0, 0]), reduction="sum") / 2
    assert float(losses["face"]) == pytest.approx(float(usual), rel=1e-5)
    assert float(losses["landmark"]) == 0


def test_where_gradients_go() -> None:
    """Only sampled anchors move scores, only faces boxes, only known points landmarks."""
    given = output([2.0, -1.0, 3.0, -4.0, 0.0, 9.0], 0.5, 2.0)
    losses = OBJECTIVE.loss(given, targets([FACE, FACE, NO_FACE, NO_FACE, NO_FACE, IGNORE]))
    torch.autograd.backward(losses["total"])
    moved = [part.grad.reshape(6, -1).abs().sum(dim=1) > 0 for part in given.values()]  # type: ignore[union-attr]
    assert moved[0].tolist() == [True, True, True, False, True, False]
    assert moved[1].tolist() == [True, True, False, False, False, False]
    assert moved[2].tolist() == [True, False, False, False, False, False]


def test_a_batch_without_faces_or_points_has_zero_loss() -> None:
    wanted = targets([NO_FACE, NO_FACE])
    wanted.landmark_codes[:] = math.nan
    given = output([1.0, 0.0], 3.0, 3.0)
    losses = OBJECTIVE.loss(given, wanted)
    torch.autograd.backward(losses["total"])
    assert float(losses["box"].detach()) == float(losses["landmark"].detach()) == 0
    assert float(losses["face"].detach()) == pytest.approx(math.log1p(math.exp(1)), rel=1e-5)
    assert given["boxes"].grad is not None
    assert not given["boxes"].grad.any()


class Ragged(NamedTuple):
    faces: Any
    count: Any


@pytest.mark.parametrize("lengths", [(2, 0), (1, 3, 2), (2, 2), (0, 0)])
def test_rows_of_different_numbers_are_padded(lengths: tuple[int, ...]) -> None:
    parts = [Ragged(np.full((n, 4), n, np.float32), np.array(n)) for n in lengths]
    found = stack(parts)
    assert found.faces.shape == (len(lengths), max(lengths), 4) and found.count.tolist() == list(lengths)
    for rows, n in zip(found.faces, lengths, strict=True):
        assert (rows[:n] == n).all() and rows[n:].isnan().all()
