"""Fusion: the detections of several teachers in one image, joined by clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtcnn.metrics.voting import groups_of, weighted_means
from mtcnn.types import Faces

__all__ = ["fuse"]

OVERLAP = 0.45
LIMIT = 4000  # clusters of an image


def fuse(found: Sequence[Faces]) -> Faces:
    """Faces by falling score, of what each teacher found in one image, whose scores should be calibrated.

    A box joins the best cluster whose first box, the best, it overlaps by at least OVERLAP (intersection over union),
    or begins one. The score of a cluster is the mean of the teachers' best scores in it, 0 of a teacher that has none
    there: one teacher's false alarm counts less than what all see. Boxes and landmarks are means weighted by score;
    landmarks are NaN where no teacher of the cluster has any.
    """
    boxes = np.concatenate([np.zeros((0, 4)), *(faces.boxes for faces in found)])
    scores = np.concatenate([np.zeros(0), *(faces.scores for faces in found)])
    points = np.concatenate([np.zeros((0, 10)), *(_points(faces) for faces in found)])
    teacher = np.repeat(np.arange(len(found)), [len(faces) for faces in found])
    groups, leaders = groups_of(boxes, np.argsort(-scores, kind="stable"), OVERLAP, LIMIT)
    chosen = groups >= 0
    boxes, scores, points, teacher, groups = (part[chosen] for part in (boxes, scores, points, teacher, groups))
    best = np.zeros((len(leaders), len(found)))
    np.maximum.at(best, (groups, teacher), scores)
    merged = weighted_means(boxes, scores, groups, len(leaders))
    landmarks = weighted_means(points, scores, groups, len(leaders)).reshape(-1, 5, 2)  # (K, 10) -> (K, 5, 2)
    mean = best.mean(axis=1) if len(found) else np.zeros(0)
    return Faces(merged, mean.astype(np.float32), landmarks).sorted()


def _points(faces: Faces) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if faces.landmarks is None:
        return np.full((len(faces), 10), np.nan)
    return faces.landmarks.reshape(-1, 10).astype(np.float64)  # (N, 5, 2) -> (N, 10)
