"""The three losses, and the kinds of crops that each one uses.

Source: Zhang et al. 2016, section III-B (equations 1 to 4) and III-C (online hard examples). The regressions use smooth
L1 (Girshick 2015, equation 3) instead of the paper's squared error: mislabelled boxes weigh less. Where a recipe asks
for it: DIoU, Zheng et al. 2020 (Distance-IoU Loss), equation 7; a target of the face score that follows the IoU of the
predicted box, as in Li et al. 2020 (Generalized Focal Loss), section 3.1; and the normalised mean error of landmarks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.types import NetOutput
from prepare.labels import Kind

from ..objectives.box_overlaps import TINY, distance_iou, pair_iou
from ..objectives.sampling import whole
from ..soft import excess, soft_weights
from .recipe import TrainSettings

__all__ = ["FEEDS", "Targets", "multitask_loss"]

# The one table of loss gating.
FEEDS: dict[str, tuple[Kind, ...]] = {
    "face": (Kind.NEG, Kind.POS),
    "quality": (Kind.NEG, Kind.PART, Kind.POS),  # the face score, where its target follows the predicted box
    "box": (Kind.POS, Kind.PART),
    "landmark": (Kind.LANDMARK,),
}
BETA = 0.1  # beta of smooth L1, in units of the crop
FARTHEST = 0.5  # eye distances: a landmark error that counts no more if it grows, as of a wrong label


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


def _truth(offsets: Tensor, targets: Targets, quality: tuple[float, ...]) -> Tensor:
    """Targets (N,) of the face scores, see TrainSettings; `offsets` (N, 4) are the predicted ones."""
    if not quality:
        return (targets.kinds == int(Kind.POS)).float() * targets.scores
    low, high = quality
    overlap = pair_iou(_boxes(offsets.detach()), _boxes(targets.offsets))
    return gate(targets.kinds, "box") * targets.scores * ((overlap - low) / (high - low)).clamp(0, 1)


def _mean_error(points: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of landmarks (N, 5, 2) from the wanted ones, in distances between the eyes, of crops of `mask`."""
    eyes = (wanted[:, 0] - wanted[:, 1]).norm(dim=1)
    apart = (points - wanted).square().sum(2).clamp(min=TINY**2).sqrt().mean(1)  # without a slope of infinity at 0
    return _mean((apart / eyes.clamp(min=TINY)).clamp(max=FARTHEST), mask)


def multitask_loss(
    output: NetOutput, targets: Targets, settings: TrainSettings, hard: float | None = None
) -> dict[str, Tensor]:
    """Gated losses of one batch of crops by name, each before its weight, and their weighted `total`; `iou` and `nme`
    only where they have a weight.

    PNet's 1 x 1 maps (N, 1, 1) are treated as (N,).

    The face score of a POS crop is to be its score: 1, or less where a teacher labelled the face; such crops have the
    weight `soft`. With `quality`, that of a POS or PART crop is to be its score times a share that grows with the IoU
    of the predicted box. The hardest crops are those whose loss exceeds most the smallest that their target allows;
    each process takes those of its part of the batch.

    `hard` overrides the share of face losses that count (1 on a validation part).
    """
    count = len(targets.kinds)
    logits, offsets = output.face_logits.reshape(count), output.offsets.reshape(count, 4)
    truth = _truth(offsets, targets, settings.quality)
    face_each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    share = settings.hard if hard is None else hard
    taught = gate(targets.kinds, "quality" if settings.quality else "face")
    face_gate = _hardest(excess(face_each, truth), taught, share)
    face = _mean(face_each * soft_weights(targets.scores, settings.soft), face_gate)
    box_each = F.smooth_l1_loss(offsets, targets.offsets, beta=BETA, reduction="none").sum(1)
    box = _mean(box_each, gate(targets.kinds, "box"))
    landmark, nme = torch.zeros((), device=logits.device), torch.zeros((), device=logits.device)
    if output.landmarks is not None:
        points, pointed = targets.landmarks.nan_to_num(0.0), gate(targets.kinds, "landmark")
        each = F.smooth_l1_loss(output.landmarks, points, beta=BETA, reduction="none").sum((1, 2))
        landmark, nme = _mean(each, pointed), _mean_error(output.landmarks, points, pointed)
    losses = {"face": face, "box": box, "landmark": landmark}
    if settings.iou:
        losses["iou"] = _mean(1 - distance_iou(_boxes(offsets), _boxes(targets.offsets)), gate(targets.kinds, "box"))
    if settings.nme:
        losses["nme"] = nme
    total = torch.stack([getattr(settings, name) * loss for name, loss in losses.items()]).sum()
    return {"total": total, **losses}
