"""The objective of YuNet: cells assigned by SimOTA; cross-entropy for class and object, extended IoU for boxes.

Source: Wu et al. 2023 (YuNet), section 3.4, with the numbers of the authors' code; Peng and Yu 2021, "A Systematic
IoU-Related Method", for the loss of boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.detectors.decoders import Decoder
from mtcnn.settings import Settings, setting
from mtcnn.types import ImageSize
from prepare.labels import IGNORE

from ..scene import Scene
from ..soft import soft_weights
from .assigning import Assignment, AssignSettings, assign
from .box_overlaps import extended_iou
from .cells import CellPlaces, SceneFaces, boxes_of, faces_of, yunet_decoder
from .sampling import whole

__all__ = ["SimOTA", "SimOTASettings"]

SMOOTH = 0.1  # a box loss below this is squared, so that its slope falls to 0
BETA = 1 / 9  # the same for landmarks, in strides
TINY = 1e-7


@dataclass(frozen=True)
class SimOTASettings(Settings):
    """Section [objective] of a detector's recipe with `name = "simota"`.

    assign                    assignment of faces to cells.
    face object box landmark  weights of the losses.
    soft                      weight in `face` and `object` of cells of faces that teachers scored, see `mtcnn label`.
    """

    name: str = setting("simota", choices=("simota",))
    assign: AssignSettings = field(default_factory=AssignSettings)
    face: float = setting(1.0, min=0)
    object: float = setting(1.0, min=0)
    box: float = setting(5.0, min=0)
    landmark: float = setting(0.1, min=0)
    soft: float = setting(1.0, min=0, added=True)


class SimOTA:
    """Losses of an anchor-free detector that predicts class, object, box and landmarks in each cell.

    decoder  of the net. Raises RecipeError unless it is YuNet's.
    """

    Settings = SimOTASettings

    def __init__(self, settings: SimOTASettings, decoder: Decoder, teacher: object = None) -> None:
        self.settings, self.decoder = settings, yunet_decoder(decoder, "simota")

    def targets(self, scene: Scene) -> SceneFaces:
        """The labels themselves: their assignment to cells depends on the net's predictions."""
        return faces_of(scene)

    def loss(self, outputs: Mapping[str, Tensor], targets: SceneFaces) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes.

        class and box use the cells of faces, object all cells but ignored ones, landmarks the cells of faces whose
        five points are known. The first three are divided by the number of cells of faces, landmarks by theirs.
        Pictures without faces only train the object, incomplete ones only landmarks. The object's target is 1, or what
        teachers gave the face.
        """
        logits = outputs["class_logits"][..., 0], outputs["object_logits"][..., 0]
        places = CellPlaces.of(self.decoder, ImageSize(*targets.size[0].tolist()), logits[0].device)
        boxes = boxes_of(outputs["boxes"], places)
        found = self._assigned(boxes, logits[0].sigmoid() * logits[1].sigmoid(), places, targets)
        mine, complete = found.faces >= 0, targets.complete[:, None]
        faces, count = mine & complete, whole((mine & complete).sum())
        truth = torch.zeros_like(logits[1])
        truth[faces] = _of_cells(targets.scores, found.faces, faces).to(truth.dtype)
        soft = soft_weights(truth, self.settings.soft)
        each = F.binary_cross_entropy_with_logits(logits[1], truth, reduction="none") * soft
        quality = F.binary_cross_entropy_with_logits(logits[0][faces], found.overlaps[faces], reduction="none")
        shared = extended_iou(boxes[faces], _of_cells(targets.boxes, found.faces, faces))
        losses = {
            "face": (quality * soft[faces]).sum() / count,
            "object": (each * ((found.faces != IGNORE) & complete)).sum() / count,
            "box": smooth_l1(1 - shared, SMOOTH).sum() / count,
            "landmark": self._landmark_loss(outputs["landmarks"], places, targets, found.faces, mine),
        }
        total = sum((getattr(self.settings, name) * loss for name, loss in losses.items()), each.new_zeros(()))
        return {"total": total, **losses}

    def _assigned(self, boxes: Tensor, scores: Tensor, places: CellPlaces, targets: SceneFaces) -> Assignment:
        """The cells of a batch with their faces, (N, A)."""
        rows = []
        for n, (faces, ignored) in enumerate(zip(targets.boxes, targets.ignored, strict=True)):
            known = faces[faces.isfinite().all(dim=1)], ignored[ignored.isfinite().all(dim=1)]  # the others are padding
            score = scores[n].detach().sqrt().clamp(TINY, 1)
            rows.append(assign(boxes[n].detach(), score, places, *known, self.settings.assign))
        return Assignment(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _landmark_loss(
        self, codes: Tensor, places: CellPlaces, targets: SceneFaces, faces: Tensor, mine: Tensor
    ) -> Tensor:
        cells, points = mine.nonzero()[:, 1], _of_cells(targets.landmarks, faces, mine)  # (M,), (M, 5, 2)
        wanted = ((points - places.corners[cells, None]) / places.strides[cells, None]).flatten(1)  # (M, 10)
        known = wanted.isfinite().all(dim=1)
        return smooth_l1(codes[mine][known] - wanted[known], BETA).sum() / whole(known.sum())


def _of_cells(values: Tensor, faces: Tensor, mine: Tensor) -> Tensor:
    """The rows of `values` (N, G, ...) that belong to the cells `mine` (N, A): (M, ...)."""
    return values[mine.nonzero()[:, 0], faces[mine]]


def smooth_l1(x: Tensor, beta: float) -> Tensor:
    """Girshick 2015, equation 3, with the square up to `beta`."""
    return F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=beta)
