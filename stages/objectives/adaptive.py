"""ATSS: assigns faces to anchors with a threshold for each face, from the overlaps of the anchors around it.

Source: Zhang et al. 2020, "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample
Selection", algorithm 1, with the numbers of InsightFace's SCRFD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import areas
from mtcnn.settings import Settings, setting
from prepare.labels import IGNORE

from .matching import BACKGROUND, Matching, doubtful

__all__ = ["AdaptiveSettings", "adaptive_match", "nearest"]

Array = NDArray[Any]

ROUNDING = 1e-9  # where all overlaps are equal, none may fall below their mean for a last bit


@dataclass(frozen=True)
class AdaptiveSettings(Settings):
    """Table [objective.match] of a recipe with `name = "atss"`.

    candidates  the anchors of each level that are nearest to a face's centre and so may be its own.
    inside      their centres lie at least this far within the face, in units of its size, the root of its area.
                Negative numbers let them lie outside: SCRFD's modes 1 and 2 have -0.25 and -0.15.
    """

    candidates: int = setting(9, min=1)
    inside: float = setting(0.001, min=-1, max=0.5)


def nearest(distances: Array, count: int) -> NDArray[np.int64]:
    """Rows int64 (K, G), in order, of the `count` smallest of distances (A, G), or all; of equal ones the earlier."""
    count = min(count, len(distances))
    if not count:
        return np.zeros((0, distances.shape[1]), np.int64)
    limit = np.partition(distances, count - 1, axis=0)[count - 1]
    nearer, level = distances < limit, distances == limit
    missing = count - nearer.sum(axis=0)
    chosen = nearer | (level & (np.cumsum(level, axis=0) <= missing))
    return np.nonzero(chosen.T)[1].reshape(-1, count).T


def adaptive_match(
    anchors: Array, levels: Sequence[int], boxes: Array, ignore: NDArray[np.bool_], settings: AdaptiveSettings
) -> Matching:
    """Matching of anchors (A, 4), of which each level has so many, with faces (G, 4); its values are rows of `boxes`.

    A face takes those of its candidates whose IoU with it is at least the mean plus the standard deviation of all of
    them, and which lie inside of it. An anchor that several faces take goes to the one that it overlaps most; of equals
    the earlier. Anchors near ignored faces, `ignore` (G,), and near faces that no anchor goes to, are ignored: in the
    authors' code they are background.
    """
    rows = np.flatnonzero(~ignore & (areas(boxes) > 0))
    faces = boxes[rows].astype(np.float64)
    matching = np.full(len(anchors), BACKGROUND, np.int64)
    if len(rows) and len(anchors):
        anchor, overlap, taken = _candidates(anchors.astype(np.float64), levels, faces, settings)
        face = np.broadcast_to(np.arange(len(rows)), anchor.shape)
        # Sorted by falling overlap, then by face: the first of each anchor wins.
        anchor, overlap, face = anchor[taken], overlap[taken], face[taken]
        order = np.lexsort((face, -overlap, anchor))
        won, first = np.unique(anchor[order], return_index=True)
        matching[won] = rows[face[order][first]]
    unknown = ignore.copy()
    unknown[np.setdiff1d(rows, matching)] = True
    if unknown.any():
        matching[doubtful(anchors, boxes[unknown]) & (matching == BACKGROUND)] = IGNORE
    return matching


def _candidates(
    anchors: Array, levels: Sequence[int], faces: Array, settings: AdaptiveSettings
) -> tuple[NDArray[np.int64], Array, NDArray[np.bool_]]:
    """Rows of the candidates of each face (K, G), their IoU with it, and whether it takes them."""
    centres, middles = (anchors[:, :2] + anchors[:, 2:]) / 2, (faces[:, :2] + faces[:, 2:]) / 2
    parts, first = [], 0
    for count in levels:
        level = centres[first : first + count]
        distances = (level[:, :1] - middles[:, 0]) ** 2 + (level[:, 1:] - middles[:, 1]) ** 2
        parts.append(nearest(distances, settings.candidates) + first)
        first += count
    rows = np.concatenate(parts)
    overlap = _pair_iou(anchors[rows], faces)
    deviation = overlap.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(faces))
    low, high = centres[rows] - faces[:, :2], faces[:, 2:] - centres[rows]
    depth = np.minimum(low.min(axis=-1), high.min(axis=-1)) / np.sqrt((faces[:, 2:] - faces[:, :2]).prod(axis=1))
    taken = (overlap >= overlap.mean(axis=0) + deviation - ROUNDING) & (depth > settings.inside)
    return rows, overlap, taken


def _pair_iou(a: Array, b: Array) -> Array:
    """IoU (K, G) of boxes (K, G, 4) with (G, 4)."""
    sides = np.minimum(a[..., 2:], b[:, 2:]) - np.maximum(a[..., :2], b[:, :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    total = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[:, 2:] - b[:, :2]).prod(axis=-1)
    return np.asarray(shared / (total - shared))
