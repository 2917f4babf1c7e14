"""SimOTA: assigns faces to the cells of an anchor-free net, using its predictions.

Source: Ge et al. 2021 (YOLOX), section 2.1, a simplification of the optimal transport of Ge et al. 2021 (OTA).
Constants are those of YuNet's authors, whose code is based on mmdet's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.settings import Settings, setting
from prepare.labels import IGNORE

from .box_overlaps import TINY, pair_iou
from .cells import CellPlaces
from .matching import BACKGROUND

__all__ = ["AssignSettings", "Assignment", "assign", "dynamic_k", "overlaps"]

FAR = 1e5  # cost of a cell outside the box or the centre region of a face: only used if there are no others


@dataclass(frozen=True)
class AssignSettings(Settings):
    """Table [objective.assign] of a recipe.

    radius      half a side of the square around a face's centre, in strides: cells there or in the box are candidates.
    candidates  the best overlaps of a face whose sum, rounded down, is its number of cells; at least 1.
    iou, score  weights of the costs of overlap and score.
    """

    radius: float = setting(2.5, above=0)
    candidates: int = setting(10, min=1)
    iou: float = setting(3.0, min=0)
    score: float = setting(1.0, min=0)


class Assignment(NamedTuple):
    """faces int64 (A,): the row of a face, BACKGROUND, or IGNORE.    overlaps float (A,): the IoU with it; else 0."""

    faces: Tensor
    overlaps: Tensor


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N, M) of boxes (N, 4) and (M, 4)."""
    return pair_iou(a[:, None], b[None])


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, places: CellPlaces, faces: Tensor, ignored: Tensor, settings: AssignSettings
) -> Assignment:
    """Assign the cells of one picture to faces.

    boxes   predicted (A, 4).      scores   predicted (A,), square roots of class times object.
    faces   labelled (G, 4) of positive area.      ignored  regions (I, 4): a cell in one is not background.

    The cost of a pair is the weighted sum of the score's cross-entropy and -log(IoU), plus FAR unless the cell's centre
    is both inside the box and near the box's centre.
    """
    centres = places.centres
    chosen = torch.full_like(scores, BACKGROUND, dtype=torch.int64)
    chosen[_inside(centres, ignored).any(dim=1)] = IGNORE
    found = torch.zeros_like(scores)
    middles, reach = (faces[None, :, :2] + faces[None, :, 2:]) / 2, settings.radius * places.strides
    inside = _inside(centres, faces)
    near = ((centres[:, None] - middles).abs() < reach[:, None]).all(dim=-1)
    rows = (inside | near).any(dim=1).nonzero()[:, 0]
    if len(rows):
        shared = overlaps(boxes[rows], faces)
        score = F.binary_cross_entropy(scores[rows], torch.ones_like(scores[rows]), reduction="none")[:, None]
        cost = settings.score * score - settings.iou * (shared + TINY).log() + FAR * ~(inside & near)[rows]
        owners = dynamic_k(cost, shared, settings.candidates)
        taken = owners >= 0
        chosen[rows[taken]], found[rows[taken]] = owners[taken], shared[taken, owners[taken]]
    return Assignment(chosen, found)


def dynamic_k(cost: Tensor, shared: Tensor, candidates: int) -> Tensor:
    """The face of each candidate, int64 (V,), or -1, from costs and IoUs (V, G).

    Each face takes its k cheapest candidates, where k is the sum of its `candidates` largest IoUs, rounded down, at
    least 1. Of equal costs the earlier wins. A candidate taken by several faces goes to the face with the lowest cost.
    """
    limit = min(candidates, len(cost))
    wanted = shared.topk(limit, dim=0).values.sum(dim=0).int().clamp(min=1)  # (G,)
    cheapest = cost.sort(dim=0, stable=True).indices[:limit]  # (K, G)
    mine = torch.arange(limit, device=cost.device)[:, None] < wanted
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter_(0, cheapest, mine)
    counts = taken.sum(dim=1)
    owners = taken.int().argmax(dim=1)
    owners = torch.where(counts > 1, cost.argmin(dim=1), owners)
    return torch.where(counts > 0, owners, -1)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points (A, 2) lie within boxes (G, 4): bool (A, G). NaN compares False."""
    low, high = points[:, None] > boxes[None, :, :2], points[:, None] < boxes[None, :, 2:]
    return (low & high).all(dim=-1)
