"""The three losses, and the kinds of crops that each one uses.

Source: Zhang et al. 2016, section III-B (equations 1 to 4) and III-C (online hard examples). The regressions use smooth
L1 (Girshick 2015, equation 3) instead of the paper's squared error: mislabelled boxes weigh less. DIoU, where a recipe
asks for it: Zheng et al. 2020 (Distance-IoU Loss), equation 7.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.types import NetOutput
from prepare.labels import Kind

from ..objectives.box_overlaps import distance_iou
from ..objectives.sampling import whole
from ..soft import excess, soft_weights
from .recipe import TrainSettings

__all__ = ["FEEDS", "Targets", "multitask_loss"]

# The one table of loss gating.
FEEDS: dict[str, tuple[Kind, ...]] = {
    "face": (Kind.NEG, Kind.POS),
    "box": (Kind.POS, Kind.PART),
    "landmark": (Kind.LANDMARK,),
}
BETA = 0.1  # beta of smooth L1, in units of the crop


class Targets(NamedTuple):
    """kinds uint8 (N,), offsets float32 (N, 4), landmarks float32 (N, 5, 2), scores float32 (N,); see
    records.CropBatch."""

    kinds: Tensor
    offsets: Tensor
    landmarks: Tensor
    scores: Tensor


def gate(kinds: Tensor, task: str) -> Tensor:
    """float32 (N,): 1 for crops used by `task`, else 0."""
    mask = torch.zeros_like(kinds, dtype=torch.bool)
    for kind in FEEDS[task]:
        mask |= kinds == int(kind)
    return mask.float()


def _mean(losses: Tensor, mask: Tensor) -> Tensor:
    # A product, not an index: without any crop for a task the loss is 0 but still part of the graph.
    return (losses * mask).sum() / whole(mask.sum())


def _hardest(losses: Tensor, mask: Tensor, share: float) -> Tensor:
    """`mask` restricted to the `share` of its crops with the largest losses."""
    count = int(torch.ceil(mask.sum() * share))
    if share >= 1 or count == 0:
        return mask
    gated = torch.where(mask > 0, losses.detach(), torch.full_like(losses, -1.0))
    hard = torch.zeros_like(mask)
    hard[gated.topk(count).indices] = 1
    return hard


def _boxes(offsets: Tensor) -> Tensor:
    """Boxes (N, 4) in units of the crop."""
    return offsets + offsets.new_tensor([0.0, 0.0, 1.0, 1.0])


def multitask_loss(
    output: NetOutput, targets: Targets, settings: TrainSettings, hard: float | None = None
) -> dict[str, Tensor]:
    """Gated losses of one batch of crops by name, each before its weight, and their weighted `total`; `iou` only
    where it has a weight.

    PNet's 1 x 1 maps (N, 1, 1) are treated as (N,).

    The face score of a POS crop is to be its score: 1, or less where a teacher labelled the face; such crops have the
    weight `soft`. The hardest crops are those whose loss exceeds most the smallest that their target allows;
    each process takes those of its part of the batch.

    `hard` overrides the share of face losses that count (1 on a validation part).
    """
    count = len(targets.kinds)
    logits, offsets = output.face_logits.reshape(count), output.offsets.reshape(count, 4)
    truth = (targets.kinds == int(Kind.POS)).float() * targets.scores
    face_each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    share = settings.hard if hard is None else hard
    face_gate = _hardest(excess(face_each, truth), gate(targets.kinds, "face"), share)
    face = _mean(face_each * soft_weights(truth, settings.soft), face_gate)
    box_each = F.smooth_l1_loss(offsets, targets.offsets, beta=BETA, reduction="none").sum(1)
    box = _mean(box_each, gate(targets.kinds, "box"))
    landmark = torch.zeros((), device=logits.device)
    if output.landmarks is not None:
        points = targets.landmarks.nan_to_num(0.0)
        each = F.smooth_l1_loss(output.landmarks, points, beta=BETA, reduction="none").sum((1, 2))
        landmark = _mean(each, gate(targets.kinds, "landmark"))
    total = settings.face * face + settings.box * box + settings.landmark * landmark
    losses = {"total": total, "face": face, "box": box, "landmark": landmark}
    if settings.iou:
        losses["iou"] = _mean(1 - distance_iou(_boxes(offsets), _boxes(targets.offsets)), gate(targets.kinds, "box"))
        losses["total"] = total + settings.iou * losses["iou"]
    return losses
