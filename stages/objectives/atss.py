"""The objective of SCRFD: anchors assigned by ATSS, quality focal loss for faces, distance IoU for boxes.

Source: Guo et al. 2021 (SCRFD), section 4.1; Li et al. 2020, "Generalized Focal Loss", equation 6; Zheng et al. 2020,
"Distance-IoU Loss"; with the numbers of InsightFace's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.detectors.decoders import Decoder
from mtcnn.detectors.distances import Distances
from mtcnn.errors import RecipeError
from mtcnn.settings import Settings, setting
from mtcnn.types import ImageSize
from prepare.labels import IGNORE

from ..scene import Scene
from ..soft import soft_weights
from .adaptive import AdaptiveSettings, adaptive_match
from .box_overlaps import distance_iou, pair_iou
from .sampling import whole
from .targets import FACE, AnchorTargets, targets_of

__all__ = ["Atss", "AtssSettings", "quality_focal"]

BETA = 1 / 9  # a landmark loss below this is squared, in strides


@dataclass(frozen=True)
class AtssSettings(Settings):
    """Section [objective] of a detector's recipe with `name = "atss"`.

    match              assignment of anchors to faces.
    focus              power by which anchors that are nearly right count less.
    face box landmark  weights of the three losses.
    soft               weight in the face loss of anchors of faces that teachers scored, see `mtcnn label`.
    """

    name: str = setting("atss", choices=("atss",))
    match: AdaptiveSettings = field(default_factory=AdaptiveSettings)
    focus: float = setting(2.0, min=1)
    face: float = setting(1.0, min=0)
    box: float = setting(2.0, min=0)
    landmark: float = setting(0.1, min=0)
    soft: float = setting(1.0, min=0, added=True)


class Atss:
    """Losses of a detector that predicts distances.

    decoder  of the net. Raises RecipeError for another than SCRFD's.
    """

    Settings = AtssSettings

    def __init__(self, settings: AtssSettings, decoder: Decoder, teacher: object = None) -> None:
        if not isinstance(decoder, Distances):
            raise RecipeError(f"objective is atss for a net with {type(decoder).__name__}; expected SCRFD")
        self.settings, self.decoder = settings, decoder

    def targets(self, scene: Scene) -> AnchorTargets:
        """Targets of each anchor; box codes are distances."""
        size = ImageSize(*scene.image.shape[:2])
        counts = self.decoder.level_counts(size)
        matching = adaptive_match(self.decoder.anchors(size), counts, scene.boxes, scene.ignore, self.settings.match)
        found = np.flatnonzero(matching >= 0)
        faces = matching[found]
        codes = self.decoder.encode(size, found, scene.boxes[faces], scene.landmarks[faces])
        return targets_of(matching, found, codes, scene, counts)

    def loss(self, outputs: Mapping[str, Tensor], targets: AnchorTargets) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes.

        A face anchor is to score the IoU of its predicted box, times the score that teachers gave its face; all others
        0. Boxes and landmarks weigh as much as the score of their anchor: where the net finds no face, its box matters
        little. Points that are not known have no loss.
        """
        logits, settings = outputs["logits"], self.settings
        mine = targets.labels == FACE
        boxes, wanted = _boxes(outputs["distances"][mine]), _boxes(targets.box_codes[mine])
        scores = logits.detach().sigmoid()
        truth = torch.zeros_like(logits)
        truth[mine] = pair_iou(boxes.detach(), wanted) * targets.scores[mine]
        each = quality_focal(logits, truth, settings.focus) * (targets.labels != IGNORE)
        each = each * soft_weights(targets.scores, settings.soft)
        losses = {
            "face": each.sum() / whole(mine.sum()),
            "box": (scores[mine] * (1 - distance_iou(boxes, wanted))).sum() / whole(scores[mine].sum()),
            "landmark": logits.new_zeros(()),
        }
        if "landmarks" in outputs:
            losses["landmark"] = _landmark_loss(outputs["landmarks"], targets.landmark_codes, scores, mine)
        total = sum((getattr(settings, name) * loss for name, loss in losses.items()), logits.new_zeros(()))
        return {"total": total, **losses}


def _landmark_loss(found: Tensor, wanted: Tensor, scores: Tensor, mine: Tensor) -> Tensor:
    """Smooth L1 of what is known, weighted by scores; those of faces without points count in the divisor too, so that a
    batch with few points has a small loss. Incomplete scenes, which have no face anchors, count by their points."""
    known = wanted.isfinite()
    each = F.smooth_l1_loss(found, wanted.nan_to_num(0.0), reduction="none", beta=BETA) * known
    return (scores[..., None] * each).sum() / whole((scores * (mine | known.any(dim=-1))).sum())


def quality_focal(logits: Tensor, truth: Tensor, focus: float) -> Tensor:
    """|truth - score| ** focus * cross-entropy, of any shape, for a truth from 0 to 1."""
    away = (truth - logits.sigmoid()).abs()
    return away**focus * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _boxes(distances: Tensor) -> Tensor:
    """Boxes (M, 4) around the origin, in strides, of distances (M, 4): overlaps are the same at any place and scale."""
    return torch.cat([-distances[:, :2], distances[:, 2:]], dim=1)
