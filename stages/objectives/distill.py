"""Dense distillation: a teacher with the same anchors gives the targets of every anchor, on any picture.

A teacher needs no labels: unlabelled photos, background and crops of any size are all useful. Where a picture has
labels, they are mixed into the teacher's outputs, so that the teacher's mistakes do not limit the student.

Source: Hinton et al. 2015 (soft targets). The weight of an anchor, |p - q| + p, follows the quality focal loss (Li et
al. 2020, equation 6) with power 1, and keeps the positives. Boxes of anchor codes are compared by smooth L1 of the
codes; distances grow with the face, so boxes of SCRFD are compared by overlap, and its points in sizes of the face.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.errors import RecipeError
from mtcnn.scoring import sigmoid
from mtcnn.settings import Settings, setting
from mtcnn.types import ImageSize

from ..scene import Scene
from .box_overlaps import distance_iou
from .matching import MatchSettings
from .sampling import whole
from .targets import FACE, NO_FACE, encode

__all__ = ["Distill", "DistillSettings", "TeacherTargets"]

CLIP = 8.0  # logits are clamped to this: scores of 0.0003 and 0.9997
SMALL = 0.1  # weight of the landmarks of faces below min_landmark_face


@dataclass(frozen=True)
class DistillSettings(Settings):
    """Section [objective] of a detector's recipe with `name = "distill"`.

    match              assignment of labelled faces to anchors.
    labels             weight of the labels in the targets of a labelled picture; the rest is the teacher's.
    face box landmark  weights of the losses; `logit`: of the distance between the logits.
    background         weight of an anchor without a face in the losses of boxes and landmarks.
    min_landmark_face  landmarks of smaller faces get a low weight, pixels: they are noise in units of a small anchor.
    closer             whether the teacher also looks at each picture enlarged to twice its size (`closer`).
    landmark_beta      where smooth L1 of landmarks turns from squares to distances, in units of their codes, a tenth of
                       an anchor, or of the face for SCRFD: the less, the more do small errors count.
    """

    name: str = setting("distill", choices=("distill",))
    match: MatchSettings = field(default_factory=MatchSettings)
    labels: float = setting(0.25, min=0, max=1)
    face: float = setting(2.0, min=0)
    box: float = setting(1.0, min=0)
    landmark: float = setting(0.15, min=0)
    logit: float = setting(0.5, min=0)
    background: float = setting(0.005, min=0, max=1)
    min_landmark_face: float = setting(16.0, min=0)
    landmark_beta: float = setting(1.0, above=0, added=True)
    closer: bool = setting(False, choices=(False, True), added=True)


class TeacherTargets(NamedTuple):
    """Targets of a student for one scene; tensors (N, ...) for a batch.

    scores float32 (A,): target probability, from teacher and labels.    logits (A,): the teacher's.
    boxes (A, 4), landmarks (A, 10): codes.    points float32 (A,): weight of the landmarks; 0 where unknown.
    """

    scores: Any
    logits: Any
    boxes: Any
    landmarks: Any
    points: Any


class Distill:
    """Losses against a teacher.

    decoder  of the student, which has anchors.
    teacher  image uint8 RGB (S, S, 3) -> outputs in the student's codes, see `teacher.load_teacher`. Where it has
             a method `anchors`, labels are assigned to these.

    Raises RecipeError without a teacher, for a net without anchors, and for labels with a teacher without them.
    """

    Settings = DistillSettings

    def __init__(
        self, settings: DistillSettings, decoder: Decoder, teacher: Callable[[Any], Mapping[str, Any]] | None = None
    ) -> None:
        if not isinstance(decoder, SsdCodes | Distances):
            raise RecipeError(
                f"objective is distill for a net with {type(decoder).__name__}; expected one with anchors; for YuNet "
                "name distill-cells"
            )
        if teacher is None:
            raise RecipeError("objective is distill without a teacher; expected weights of a net with the same anchors")
        if settings.labels and not getattr(teacher, "has_anchors", True):
            raise RecipeError(
                f"objective.labels is {settings.labels:g} for a teacher without anchors, by which labels are assigned; "
                "expected 0"
            )
        self.settings, self.decoder, self.teacher = settings, decoder, teacher
        self.box_name = decoder.names[1]

    def targets(self, scene: Scene) -> TeacherTargets:
        """The teacher's outputs on the scene, with its labels mixed in."""
        outputs = self.teacher(scene.image)
        logits = np.array(outputs["logits"], np.float32)
        scores = sigmoid(logits).astype(np.float32)
        boxes = np.array(outputs[self.box_name], np.float32)
        landmarks = np.zeros((len(logits), 10), np.float32)
        if "landmarks" in outputs:
            landmarks = np.array(outputs["landmarks"], np.float32)
        self._mix(scene, scores, boxes, landmarks)
        return TeacherTargets(scores, logits, boxes, landmarks, self._point_weights(scene, boxes, outputs))

    def _mix(self, scene: Scene, scores: Any, boxes: Any, landmarks: Any) -> None:
        """Blend the labels, and the scores that others gave them, into the targets, in place. Ignored anchors keep the
        teacher's target."""
        places = getattr(self.teacher, "anchors", self.decoder.anchors)(ImageSize(*scene.image.shape[:2]))
        found = encode(scene, self.decoder, self.settings.match, places)
        labels, box_codes, landmark_codes, _, wanted_scores = found
        share, face = self.settings.labels, labels == FACE
        scores[labels == NO_FACE] *= 1 - share
        scores[face] += share * (wanted_scores[face] - scores[face])
        for wanted, codes in ((boxes, box_codes), (landmarks, landmark_codes)):
            known = np.isfinite(codes)
            wanted[known] += share * (codes[known] - wanted[known])

    def _point_weights(self, scene: Scene, boxes: Any, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        if "landmarks" not in outputs:
            return np.zeros(len(boxes), np.float32)
        size, rows = ImageSize(*scene.image.shape[:2]), np.arange(len(boxes))
        corners = self.decoder.boxes({self.box_name: boxes}, size, rows)
        sides = np.sqrt(np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1))
        return np.where(sides >= self.settings.min_landmark_face, 1, SMALL).astype(np.float32)

    def loss(self, outputs: Mapping[str, Tensor], targets: TeacherTargets) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes."""
        logits, scores, settings = outputs["logits"], targets.scores, self.settings
        each = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
        face = (((scores - logits.detach().sigmoid()).abs() + scores) * each).sum() / whole(scores.sum())
        weights = scores + settings.background
        total_weight = whole(weights.sum())
        logit = _distance(logits.clamp(-CLIP, CLIP)[..., None], targets.logits.clamp(-CLIP, CLIP)[..., None])
        distances = isinstance(self.decoder, Distances)
        compare = _apart if distances else _distance
        box = compare(outputs[self.box_name], targets.boxes)
        losses = {"face": face, "logit": (weights * logit).sum() / total_weight}
        losses["box"] = (weights * box).sum() / total_weight
        losses["landmark"] = face.new_zeros(())
        if "landmarks" in outputs:
            unit = _tenths(targets.boxes) if distances else outputs["landmarks"].new_ones(())
            points = _distance(outputs["landmarks"] / unit, targets.landmarks / unit, settings.landmark_beta)
            losses["landmark"] = (weights * targets.points * points).sum() / total_weight
        total = sum((getattr(settings, name) * loss for name, loss in losses.items()), face.new_zeros(()))
        return {"total": total, **losses}


def _distance(found: Tensor, wanted: Tensor, beta: float = 1.0) -> Tensor:
    """Smooth L1 (N, A) between codes (N, A, K)."""
    return F.smooth_l1_loss(found, wanted, reduction="none", beta=beta).sum(dim=-1)


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """1 - distance IoU (N, A) of the boxes that distances (N, A, 4) describe."""
    boxes = (torch.cat([-each[..., :2], each[..., 2:]], dim=-1).reshape(-1, 4) for each in (found, wanted))
    return 1 - distance_iou(*boxes).reshape(found.shape[:-1])


def _tenths(distances: Tensor) -> Tensor:
    """A tenth of the sides of the boxes that distances (N, A, 4) describe, in strides: (N, A, 1), at least 0.1."""
    return (distances[..., :2] + distances[..., 2:]).mean(dim=-1, keepdim=True).clamp(min=1) / 10
