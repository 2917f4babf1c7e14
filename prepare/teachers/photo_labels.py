"""What becomes of the regions that teachers found in a photo: faces, doubtful regions, background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import areas, iou
from mtcnn.settings import Settings, require, setting
from mtcnn.types import Faces, ImageSize

from ..records import ImageRecord

__all__ = ["LabelSettings", "PhotoLabels", "labels_of"]

Array = NDArray[Any]

SAME = 0.5  # IoU of a labelled face with the region that gives its landmarks


@dataclass(frozen=True)
class LabelSettings(Settings):
    """sure      a region of at least this score is a face.
    doubtful  one of at least this score is doubtful: neither face nor background.
    min_landmark_face  landmarks of smaller faces are left out (root of the area, pixels): they are noise.
    """

    sure: float = setting(0.5, min=0, max=1)
    doubtful: float = setting(0.1, min=0, max=1)
    min_landmark_face: float = setting(16.0, min=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.doubtful <= self.sure, "doubtful", self.doubtful, f"at most sure, {self.sure}")


@dataclass(frozen=True, eq=False)
class PhotoLabels:
    """Labels of one photo, ready to be written.

    name      of the photo in label files, with / between folders.
    boxes     float32 (G, 4) of faces; scores float32 (G,), NaN for faces labelled by people; landmarks (G, 5, 2), NaN
              where unknown.
    doubtful  float32 (D, 4): regions to ignore.
    dropped   float32 (B, 4): regions that count as background.
    regions   all that was found, by falling score.
    """

    path: Path
    name: str
    size: ImageSize
    boxes: Array
    scores: Array
    landmarks: Array
    doubtful: Array
    dropped: Array
    regions: Faces


def labels_of(
    path: Path, name: str, size: ImageSize, regions: Faces, settings: LabelSettings, record: ImageRecord | None = None
) -> PhotoLabels:
    """The labels of a photo in which teachers found `regions`.

    record  labels made by people: they stay, and the regions only give their faces landmarks where they lack them.
    """
    points = _points(regions, settings)
    if record is not None:
        return _completed(path, name, size, regions, points, record, settings)
    sure = regions.scores >= settings.sure
    doubtful = ~sure & (regions.scores >= settings.doubtful)
    background = ~sure & ~doubtful
    return PhotoLabels(
        path, name, size, regions.boxes[sure], regions.scores[sure], points[sure], regions.boxes[doubtful],
        regions.boxes[background], regions,
    )  # fmt: skip


def _points(regions: Faces, settings: LabelSettings) -> Array:
    """Landmarks (N, 5, 2), NaN for small faces."""
    if regions.landmarks is None:
        return np.full((len(regions), 5, 2), np.nan, np.float32)
    small = np.sqrt(areas(regions.boxes)) < settings.min_landmark_face
    return np.where(small[:, None, None], np.float32(np.nan), regions.landmarks)


def _completed(
    path: Path, name: str, size: ImageSize, regions: Faces, points: Array, record: ImageRecord, settings: LabelSettings
) -> PhotoLabels:
    known = np.isfinite(record.boxes).all(axis=1)
    faces, ignored = known & ~record.ignore, record.boxes[known & record.ignore]
    boxes, landmarks = record.boxes[faces], record.landmarks[faces].copy()
    sure = np.flatnonzero(regions.scores >= settings.sure)
    overlaps = iou(boxes, regions.boxes[sure])
    for row in range(len(boxes) if len(sure) else 0):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= SAME and np.isnan(landmarks[row]).all():
            landmarks[row] = points[sure[best]]
    if not record.complete:  # unlabelled faces may be anywhere
        ignored = np.concatenate([ignored, np.array([[0, 0, size.width, size.height]], np.float32)])
    nothing = np.zeros((0, 4), np.float32)
    unknown = np.full(len(boxes), np.nan, np.float32)
    return PhotoLabels(path, name, size, boxes, unknown, landmarks, ignored, nothing, regions)
