"""CSV: a table with a row per face; see `readers.table`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn.files.atomic_write import Before, atomic_write

from ..readers.points import BOX_COLUMNS, POINT_COLUMNS

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `labels.csv`. Unknown numbers are empty; a photo without faces has a row with its name alone."""
    path = folder / "labels.csv"
    with atomic_write(path, before=before) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", *BOX_COLUMNS, "score", *POINT_COLUMNS, "ignore"])
        empty = [""] * len(POINT_COLUMNS)
        for photo in labels:
            for box, score, points in zip(photo.boxes, photo.scores, photo.landmarks, strict=True):
                confidence = "" if np.isnan(score) else f"{score:.5f}"
                table.writerow([photo.name, *map(_cell, box), confidence, *map(_cell, points.ravel()), 0])
            for box in photo.doubtful:
                table.writerow([photo.name, *map(_cell, box), "", *empty, 1])
            if not len(photo.boxes) and not len(photo.doubtful):
                table.writerow([photo.name, "", "", "", "", "", *empty, ""])
    return path


def _cell(value: Any) -> str:
    return f"{float(value):.2f}".removesuffix(".00") if np.isfinite(value) else ""
