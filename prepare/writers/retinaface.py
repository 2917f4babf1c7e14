"""RetinaFace's `label.txt`; see `readers.retinaface`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtcnn.files.atomic_write import Before, atomic_write

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]

UNKNOWN = "-1.0 -1.0 -1.0"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `label.txt`: `x y w h`, five times `x y flag`, and the sharpness, which is not known and 1. Doubtful
    regions and scores have no place in it."""
    path = folder / "label.txt"
    with atomic_write(path, before=before) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        for photo in labels:
            file.write(f"# {photo.name}\n")
            for (x1, y1, x2, y2), points in zip(photo.boxes.astype(float), photo.landmarks, strict=True):
                box = f"{x1:.2f} {y1:.2f} {x2 - x1:.2f} {y2 - y1:.2f}"
                five = [f"{x:.2f} {y:.2f} 0.0" if np.isfinite(x + y) else UNKNOWN for x, y in points]
                file.write(" ".join([box, *five, "1.0"]) + "\n")
    return path
