"""Selects and weights the anchors of a batch for the face and box losses: the second of match, sample, encode.

Background outnumbers faces by thousands to one, and nearly all of it is easy.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mtcnn.settings import Settings, setting

from .targets import FACE, NO_FACE

__all__ = ["SampleSettings", "SampleWeights", "hard_negatives", "sample", "two_sided"]


@dataclass(frozen=True)
class SampleSettings(Settings):
    """Table [objective.sample] of a recipe.

    negatives  hardest background anchors for each face anchor of an image; `min_negatives` in an image without faces.
    anchors    instead, the hardest anchors of each level of each image, this many; 0 for the rule above. At most the
               share `faces` of them are face anchors, again the hardest.
    """

    negatives: float = setting(7.0, min=0)
    min_negatives: int = setting(8, min=0)
    anchors: int = setting(0, min=0)
    faces: float = setting(0.25, above=0, max=1)

    renamed: ClassVar[dict[str, str]] = {"least": "min_negatives"}


class SampleWeights(NamedTuple):
    """float32 (N, A): loss weights of each anchor for the face score and the box."""

    face: Tensor
    box: Tensor


def _hardest(losses: Tensor, among: Tensor, wanted: Tensor) -> Tensor:
    """bool (N, A): of the anchors `among` (N, A) the `wanted` (N,) with the largest losses; of equals the earlier."""
    ranked = losses.detach().masked_fill(~among, -1.0).sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(losses.shape[1], device=losses.device).expand_as(ranked)
    return torch.zeros_like(among).scatter_(1, ranked, places < wanted[:, None]) & among


def hard_negatives(losses: Tensor, labels: Tensor, ratio: float, minimum: int) -> Tensor:
    """bool (N, A): the hardest background anchors, `ratio` per face anchor, or `minimum` in an image without faces.

    losses, labels (N, A). Source: Liu et al. 2016, section 2.2 (3 : 1); Pytorch_Retinaface has 7 : 1.
    """
    faces = (labels == FACE).sum(dim=1)
    wanted = torch.where(faces > 0, (faces.float() * ratio).long(), torch.full_like(faces, minimum))
    return _hardest(losses, labels == NO_FACE, wanted)


def two_sided(losses: Tensor, labels: Tensor, anchors: int, faces: float) -> Tensor:
    """bool (N, A): the hardest `anchors` anchors of each image, at most the share `faces` of them face anchors.

    Source: Shrivastava et al. 2016 (online hard examples), as in each detection module of SSH (Najibi et al. 2017,
    section 3.4).
    """
    positive = _hardest(losses, labels == FACE, torch.full_like(labels[:, 0], int(anchors * faces), dtype=torch.long))
    return positive | _hardest(losses, labels == NO_FACE, anchors - positive.sum(dim=1))


def sample(losses: Tensor, labels: Tensor, levels: Sequence[int], settings: SampleSettings) -> SampleWeights:
    """Weights of all anchors of a batch.

    losses  (N, A) of the face score.    labels  (N, A), see `targets.AnchorTargets`.    levels  anchors of each level.

    With hard negatives, both losses are divided by the number of face anchors in the batch. By levels, each level is
    divided by its number of selected anchors, so that all levels weigh the same. Counts are over all processes.
    """
    if not settings.anchors:
        faces = (labels == FACE).float()
        used = faces + hard_negatives(losses, labels, settings.negatives, settings.min_negatives).float()
        return SampleWeights(used / whole(faces.sum()), faces / whole(faces.sum()))
    parts = []
    split = functools.partial(torch.split, split_size_or_sections=list(levels), dim=1)
    for part, kinds in zip(split(losses), split(labels), strict=True):
        taken = two_sided(part, kinds, settings.anchors, settings.faces).float()
        parts.append(taken / whole(taken.sum()))
    face = torch.cat(parts, dim=1)
    return SampleWeights(face, face * (labels == FACE))


def whole(count: Tensor) -> Tensor:
    """The mean of `count` over the processes, or 1 if all are 0.

    Gradients are averaged over the processes; divided by this they equal those of one process with all images.
    """
    count = count.detach().float()
    if dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return torch.where(count > 0, count, torch.ones_like(count))
