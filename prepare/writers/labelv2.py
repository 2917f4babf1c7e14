"""SCRFD's `labelv2.txt`, with the confidence of each face behind its landmarks; see `readers.retinaface`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn.files.atomic_write import Before, atomic_write

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]

UNKNOWN = "-1 -1 -1"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `labelv2.txt`: a row a face, `x1 y1 x2 y2`, five times `x y flag`, and the score if it has one; and a row a
    doubtful region, `x1 y1 x2 y2 1`. An image without rows shows no face."""
    path = folder / "labelv2.txt"
    with atomic_write(path, before=before) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        for photo in labels:
            file.write(f"# {photo.name} {photo.size.width} {photo.size.height}\n")
            for box, score, points in zip(photo.boxes, photo.scores, photo.landmarks, strict=True):
                five = [f"{x:.2f} {y:.2f} 0.0" if np.isfinite(x + y) else UNKNOWN for x, y in points]
                confidence = [] if np.isnan(score) else [f"{score:.5f}"]
                file.write(" ".join([*(f"{value:.2f}" for value in box), *five, *confidence]) + "\n")
            for box in photo.doubtful:
                file.write(" ".join(f"{value:.2f}" for value in box) + " 1\n")
    return path
