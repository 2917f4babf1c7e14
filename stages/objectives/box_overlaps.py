"""Overlaps of pairs of boxes as losses use them, in torch: the plain IoU, and two with a slope where boxes are apart.

A loss is 1 minus the overlap. Boxes are xyxy, in any unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["TINY", "distance_iou", "extended_iou", "pair_iou"]

TINY = 1e-7


def _sides(boxes: Tensor) -> Tensor:
    """Width and height (..., 2); 0 for boxes turned inside out, as nets predict them in the beginning."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (M,) of pairs of boxes (M, 4), or (N, M) of boxes (N, 1, 4) and (1, M, 4): whatever torch broadcasts."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = _sides(a).prod(-1) + _sides(b).prod(-1) - shared
    return shared / union.clamp(min=TINY)


def distance_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (M,) of pairs of boxes (M, 4), less the squared distance of their centres over the squared diagonal of the
    box around both: from -1 to 1. Source: Zheng et al. 2020 (Distance-IoU Loss), equation 7."""
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return pair_iou(a, b) - apart.square().sum(1) / around.square().sum(1).clamp(min=TINY)


def extended_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (M,) of pairs of boxes (M, 4), extended to disjoint boxes: it decreases below 0 with their distance, which
    gives it a gradient there.

    The intersection is a sum of signed rectangles between the outer corner of both boxes and the corners of the
    intersection; for overlapping boxes it is the usual one. Source: Peng and Yu 2021, section III.
    """
    corner = torch.minimum(a[:, :2], b[:, :2])
    first, last = torch.maximum(a[:, :2], b[:, :2]) - corner, torch.minimum(a[:, 2:], b[:, 2:]) - corner  # (M, 2)
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    shared = last.prod(1) + low.prod(1) - first[:, 0] * high[:, 1] - high[:, 0] * first[:, 1]
    union = sum((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)) - shared + TINY
    return shared / union
