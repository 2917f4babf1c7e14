"""Assigns faces to the anchors of a single-stage detector: the first of match, sample, encode.

Anchors and faces are boxes in pixels of the net's input. A matching is int64 (A,): the row of a face, or BACKGROUND, or
IGNORE for an anchor without a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import areas, ios, iou
from mtcnn.settings import Settings, require, setting
from prepare.labels import IGNORE

__all__ = ["BACKGROUND", "MatchSettings", "Matching", "compensate", "counts", "doubtful", "match",
           "match_by_iou"]  # fmt: skip

Array = NDArray[Any]
Matching = NDArray[np.int64]

BACKGROUND = -2
NEAR = 0.1  # IoU with an ignored face above which an anchor is not background
COVERED = 0.5  # the same for the covered share of an anchor


@dataclass(frozen=True)
class MatchSettings(Settings):
    """Table [objective.match] of a recipe.

    positive    an anchor with at least this IoU with a face belongs to the face it overlaps most.
    negative    below this IoU with every face it is background; between the two it is ignored.
    forced      a face without an anchor gets its best one if their IoU is at least this; 1 for never.
    compensate  a second stage gives every face anchors with an IoU above this (S3FD has 0.1); 0 for no second stage.
    """

    positive: float = setting(0.35, min=0, max=1)
    negative: float = setting(0.35, min=0, max=1)
    forced: float = setting(0.2, min=0, max=1)
    compensate: float = setting(0.0, min=0, max=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("negative", "compensate"):
            value = getattr(self, name)
            require(value <= self.positive, name, value, f"at most positive, {self.positive}")


def counts(matching: Matching, faces: int) -> NDArray[np.int64]:
    """Anchors of each face: int64 (faces,)."""
    return np.bincount(matching[matching >= 0], minlength=faces).astype(np.int64)


def match_by_iou(overlaps: Array, positive: float, negative: float, forced: float = 1.0) -> Matching:
    """Matching of anchors by their IoU with faces, float (A, G).

    Of equal overlaps the first face wins. A face without an anchor takes its best one if their IoU is at least
    `forced`, unless it is the only anchor of another face; faces with larger overlaps come first. Source: Liu et
    al. 2016, section 2.2; the floor under the last step is that of the PyTorch RetinaFace.
    """
    matching = np.full(len(overlaps), BACKGROUND, np.int64)
    if not overlaps.size:
        return matching
    best = overlaps.max(axis=1)
    matching[best >= negative] = IGNORE
    taken = best >= positive
    matching[taken] = overlaps[taken].argmax(axis=1)
    owned = counts(matching, overlaps.shape[1])
    anchors, reached = overlaps.argmax(axis=0), overlaps.max(axis=0)
    poor = np.flatnonzero((owned == 0) & (reached >= forced) & (reached > 0))
    for face in poor[np.argsort(-reached[poor], kind="stable")]:
        owner = matching[anchors[face]]
        if owner < 0 or owned[owner] > 1:
            if owner >= 0:  # BACKGROUND and IGNORE are not rows of `owned`
                owned[owner] -= 1
            owned[face] += 1
            matching[anchors[face]] = face
    return matching


def compensate(matching: Matching, overlaps: Array, above: float) -> Matching:
    """S3FD's second stage: every face with fewer anchors than the mean is given more. A new matching.

    N is the mean number of anchors of a face, rounded down. Pairs of a face and an anchor that no face owns are taken
    by falling IoU, as long as it is above `above` and the face has fewer than N: so a face stays below N only where no
    free anchor overlaps it enough, and matches of the first stage stay. Of equal pairs the earlier face wins, then the
    earlier anchor. Source: Zhang et al. 2017, section 3.2.
    """
    matching, faces = matching.copy(), overlaps.shape[1]
    if not overlaps.size:
        return matching
    owned = counts(matching, faces)
    wanted = int(owned.sum()) // faces
    face, anchor = np.nonzero((above < overlaps.T) & (matching < 0) & (owned < wanted)[:, None])
    for i in np.argsort(-overlaps[anchor, face], kind="stable"):
        if matching[anchor[i]] < 0 and owned[face[i]] < wanted:
            matching[anchor[i]] = face[i]
            owned[face[i]] += 1
    return matching


def match(anchors: Array, boxes: Array, ignore: NDArray[np.bool_], settings: MatchSettings) -> Matching:
    """Matching of anchors (A, 4) with faces (G, 4), by `settings`; its values are rows of `boxes`.

    Ignored faces, `ignore` (G,), get no anchors, and anchors that overlap them are ignored too.
    """
    rows = np.flatnonzero(~ignore & (areas(boxes) > 0))
    overlaps = iou(anchors, boxes[rows])
    matching = match_by_iou(overlaps, settings.positive, settings.negative, settings.forced)
    if settings.compensate > 0:
        matching = compensate(matching, overlaps, settings.compensate)
    if ignore.any():
        matching[doubtful(anchors, boxes[ignore]) & (matching == BACKGROUND)] = IGNORE
    if len(rows):
        matching[matching >= 0] = rows[matching[matching >= 0]]
    return matching


def doubtful(anchors: Array, hidden: Array) -> NDArray[np.bool_]:
    """Whether anchors (A, 4) overlap any of the regions (I, 4), in which there may be faces, so much that they are no
    background: bool (A,)."""
    # Of equal areas, half covered is an IoU of a third: there <= and < are one.
    covered = (ios(anchors, hidden) >= COVERED) & (areas(anchors)[:, None] <= areas(hidden))
    return np.asarray((covered | (iou(anchors, hidden) >= NEAR)).any(axis=1))
