"""Losses of single-stage detectors: which anchors are sampled, and what the three tasks cost.

Source: Liu et al. 2016, section 2.2 (hard negatives, smooth L1), Deng et al. 2019, equation 1 (landmarks).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mtcnn.proposers.blocks import ProposerOutput

from .anchor_targets import FACE, NO_FACE, AnchorTargets

__all__ = ["AnchorLosses", "detector_loss", "hard_negatives"]


class AnchorLosses(NamedTuple):
    """Scalars: the weighted total, and each loss before its weight, by anchor that it is learned at."""

    total: Tensor
    face: Tensor
    box: Tensor
    landmark: Tensor


def hard_negatives(losses: Tensor, labels: Tensor, ratio: float, least: int = 1) -> Tensor:
    """bool (N, A): the background of the largest losses, `ratio` anchors for each face anchor of the image.

    losses, labels (N, A). An image without faces gives `least`. Of equal losses the earlier anchor is taken.
    """
    background = labels == NO_FACE
    wanted = ((labels == FACE).sum(dim=1).float() * ratio).long().clamp(min=least)
    ranked = torch.where(background, losses.detach(), losses.new_full((), -1.0)).sort(
        dim=1, descending=True, stable=True
    )
    places = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    taken = torch.zeros_like(background)
    taken.scatter_(1, ranked.indices, places < wanted[:, None])
    return taken & background


def _regression(codes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the smooth L1 losses of all known values, and the number of anchors that have some."""
    known = torch.isfinite(wanted)
    # A product and not an index: where nothing is known the loss is 0, and still part of the graph.
    each = F.smooth_l1_loss(codes, wanted.nan_to_num(0.0), reduction="none") * known
    return each.sum(), known.any(dim=-1).sum()


def _shared(count: Tensor) -> Tensor:
    """The mean of `count` over the processes, at least a little: gradients are averaged over them, so that dividing by
    it gives what one process with all images would have."""
    count = count.float()
    if dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1e-6) if float(count) > 0 else torch.ones_like(count)


def detector_loss(
    output: ProposerOutput, targets: AnchorTargets, weights: tuple[float, float, float], ratio: float, least: int = 1
) -> AnchorLosses:
    """Losses of a batch, of all processes together; `weights` are those of face, box and landmark."""
    labels = targets.labels
    logits = output.class_logits[..., 1] - output.class_logits[..., 0]  # softmax over two is a sigmoid of this
    faces = labels == FACE
    each = F.binary_cross_entropy_with_logits(logits, faces.float(), reduction="none")
    used = faces | hard_negatives(each, labels, ratio, least)
    face = (each * used).sum() / _shared(faces.sum())
    box_sum, boxes = _regression(output.box_codes, targets.box_codes)
    box = box_sum / _shared(boxes)
    landmark = box_sum.new_zeros(())
    if output.landmark_codes is not None:
        point_sum, points = _regression(output.landmark_codes, targets.landmark_codes)
        landmark = point_sum / _shared(points)
    total = weights[0] * face + weights[1] * box + weights[2] * landmark
    return AnchorLosses(total, face, box, landmark)
