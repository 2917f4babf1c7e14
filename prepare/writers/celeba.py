"""CelebA: lists of boxes and landmarks, the largest face of each photo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn.boxes import areas
from mtcnn.files.atomic_write import Before, atomic_write

from ..readers.celeba import BOXES, LANDMARKS

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]

POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `Anno/list_bbox_celeba.txt` and `Anno/list_landmarks_celeba.txt`. A row is one face: other faces, photos
    without one, doubtful regions and scores have no place in it; faces with an unknown point are in the first list
    alone."""
    boxes, landmarks = [], []
    for photo in labels:
        if not len(photo.boxes):
            continue
        face = int(areas(photo.boxes).argmax())
        x1, y1, x2, y2 = (float(value) for value in photo.boxes[face])
        boxes.append(f"{photo.name} {_numbers([x1, y1, x2 - x1, y2 - y1])}")
        if np.isfinite(photo.landmarks[face]).all():
            landmarks.append(f"{photo.name} {_numbers(photo.landmarks[face].ravel())}")
    target = folder / "Anno"
    target.mkdir(parents=True, exist_ok=True)
    for stem, head, rows in ((BOXES, "image_id x_1 y_1 width height", boxes), (LANDMARKS, POINTS, landmarks)):
        with atomic_write(target / f"{stem}.txt", before=before) as draft:
            draft.write_text("".join(f"{line}\n" for line in (len(rows), head, *rows)), encoding="utf-8")
    return target / f"{BOXES}.txt"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.2f}".removesuffix(".00") for value in values)
