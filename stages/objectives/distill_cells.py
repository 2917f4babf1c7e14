"""Dense distillation of YuNet: a teacher's outputs are the targets of every cell, on any picture.

As `distill` for nets with anchors, with two differences. A score is the product of class and object, so there is a loss
on the product too. Codes are in strides, so their errors are divided by the size of the face. Source: as in `distill`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.boxes import ios, iou
from mtcnn.detectors.decoders import Decoder
from mtcnn.errors import RecipeError
from mtcnn.scoring import sigmoid
from mtcnn.settings import Settings, setting
from mtcnn.types import ImageSize

from ..scene import Scene
from .cells import product_logits, yunet_decoder
from .distill import CLIP, SMALL
from .matching import COVERED, NEAR
from .sampling import whole
from .simota import smooth_l1

__all__ = ["CellTargets", "DistillCells", "DistillCellsSettings"]

SEEN = 0.005  # minimum score of a cell whose targets are changed by labels
SAME, OTHER = 0.5, 0.3  # a teacher's box belongs to a labelled face from the first IoU, and to none below the second
BEST = 0.6  # minimum share of the face's best score; cells below keep the teacher's target
BETA = 0.05  # of smooth L1, in sizes of the face


@dataclass(frozen=True)
class DistillCellsSettings(Settings):
    """Section [objective] of a recipe of YuNet with `name = "distill-cells"`.

    labels             weight of the labels in the targets of a labelled picture; the rest is the teacher's.
    face object score box landmark  weights of the losses: `face` of the product, `object` and `score` of its factors,
                       `logit` of the distance between the products' logits.
    background         weight of a cell without a face in the losses of boxes and landmarks.
    min_landmark_face  landmarks of smaller faces get a low weight, pixels.
    closer             whether the teacher also looks at each picture enlarged to twice its size (`closer`).
    """

    name: str = setting("distill-cells", choices=("distill-cells",))
    labels: float = setting(0.25, min=0, max=1)
    face: float = setting(2.0, min=0)
    object: float = setting(0.5, min=0)
    score: float = setting(0.5, min=0)
    logit: float = setting(0.5, min=0)
    box: float = setting(3.0, min=0)
    landmark: float = setting(0.5, min=0)
    background: float = setting(0.005, min=0, max=1)
    min_landmark_face: float = setting(16.0, min=0)
    closer: bool = setting(False, choices=(False, True), added=True)


class CellTargets(NamedTuple):
    """Targets of a student for one scene; tensors (N, ...) for a batch.

    scores     float32 (A,): target of the product, from teacher and labels.
    class_logits, object_logits (A, 1), boxes (A, 4), landmarks (A, 10): the teacher's, labels mixed into the last two.
    points     float32 (A,): weight of the landmarks; 0 where unknown.
    """

    scores: Any
    class_logits: Any
    object_logits: Any
    boxes: Any
    landmarks: Any
    points: Any


class DistillCells:
    """Losses against a teacher.

    decoder  of the student: YuNet's.
    teacher  image uint8 RGB (S, S, 3) -> outputs of a net of the same layout: a runtime of `mtcnn.runtimes`.

    Raises RecipeError without a teacher, or for another net.
    """

    Settings = DistillCellsSettings

    def __init__(
        self,
        settings: DistillCellsSettings,
        decoder: Decoder,
        teacher: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        self.settings, self.decoder = settings, yunet_decoder(decoder, "distill-cells")
        if teacher is None:
            raise RecipeError(
                "objective is distill-cells without a teacher; expected weights of the same net as its teacher"
            )
        self.teacher = teacher

    def targets(self, scene: Scene) -> CellTargets:
        """The teacher's outputs on the scene, with its labels mixed in."""
        outputs = {name: np.array(values, np.float32) for name, values in self.teacher(scene.image).items()}
        size = ImageSize(*scene.image.shape[:2])
        scores = sigmoid(self.decoder.logits(outputs)).astype(np.float32)
        sides = np.exp(outputs["boxes"][:, 2:].sum(axis=1) / 2) * self.decoder.places(size)[1][:, 0]
        points = np.where(sides >= self.settings.min_landmark_face, 1, SMALL).astype(np.float32)
        if "landmarks" not in outputs:  # the teacher's were not trained
            outputs["landmarks"], points = np.zeros((len(scores), 10), np.float32), np.zeros_like(points)
        if scene.complete:
            self._mix(scene, size, scores, outputs)
        return CellTargets(scores=scores, points=points, **outputs)

    def _mix(self, scene: Scene, size: ImageSize, scores: NDArray[np.float32], outputs: dict[str, Any]) -> None:
        """Blend the labels into scores, boxes and landmarks, in place.

        Labels move the scores of cells whose box matches a labelled face and whose score is high enough (BEST) towards
        1, or the score that others gave the face, and move their boxes and landmarks. They lower the scores of cells
        whose box matches neither a face nor an ignored region. All others keep the teacher's target.
        """
        rows, share = np.flatnonzero(scores > SEEN), self.settings.labels
        boxes, faces = self.decoder.boxes(outputs, size, rows), np.flatnonzero(~scene.ignore)
        shared = iou(boxes, scene.boxes[faces])
        best = shared.max(axis=1, initial=0)
        hidden = scene.boxes[scene.ignore]
        covered = ((ios(boxes, hidden) >= COVERED) | (iou(boxes, hidden) >= NEAR)).any(axis=1)
        wanted_scores = scene.scores_of(faces)
        for column, face in enumerate(faces):
            mine = rows[(shared[:, column] >= SAME) & (shared[:, column] == best)]
            mine = mine[scores[mine] >= BEST * scores[mine].max(initial=0)]
            scores[mine] += share * (wanted_scores[column] - scores[mine])
            labelled = (np.repeat(values[[face]], len(mine), 0) for values in (scene.boxes, scene.landmarks))
            for name, wanted in zip(("boxes", "landmarks"), self.decoder.encode(size, mine, *labelled), strict=True):
                outputs[name][mine] += share * np.nan_to_num(wanted - outputs[name][mine])
        scores[rows[(best < OTHER) & ~covered]] *= 1 - share

    def loss(self, outputs: Mapping[str, Tensor], targets: CellTargets) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes."""
        settings, scores = self.settings, targets.scores
        logits, wanted = product_logits(outputs), product_logits(targets._asdict())
        weights = scores + settings.background
        mean = weights / whole(weights.sum())
        sides = targets.boxes[..., 2:].clamp(-2, 5).exp()  # of the teacher's boxes, in strides
        size = sides.prod(dim=-1, keepdim=True).sqrt()
        apart = outputs["boxes"] - targets.boxes
        apart = torch.cat([apart[..., :2] / sides, apart[..., 2:]], dim=-1)
        points = (outputs["landmarks"] - targets.landmarks) / size
        each = F.binary_cross_entropy_with_logits(
            outputs["class_logits"], targets.class_logits.sigmoid(), reduction="none"
        )
        near = smooth_l1(logits.clamp(-CLIP, CLIP) - wanted.clamp(-CLIP, CLIP), 1.0)
        losses = {
            "face": _focal(logits, scores),
            "object": _focal(outputs["object_logits"], targets.object_logits.sigmoid()),
            "score": (mean * each[..., 0]).sum(),
            "logit": (mean * near).sum(),
            "box": (mean * smooth_l1(apart, BETA).sum(dim=-1)).sum(),
            "landmark": (mean * targets.points * smooth_l1(points, BETA).sum(dim=-1)).sum(),
        }
        total = sum((getattr(settings, name) * loss for name, loss in losses.items()), logits.new_zeros(()))
        return {"total": total, **losses}


def _focal(logits: Tensor, scores: Tensor) -> Tensor:
    """Cross-entropy weighted as in `distill`, divided by the sum of the scores."""
    each = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    return (((scores - logits.detach().sigmoid()).abs() + scores) * each).sum() / whole(scores.sum())
