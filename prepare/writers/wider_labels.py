"""WIDER FACE's labels, in the layout of its archives; see `readers.wider`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtcnn.files.atomic_write import Before, atomic_write

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]

NAME = "wider_face_split/wider_face_train_bbx_gt.txt"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `wider_face_split/wider_face_train_bbx_gt.txt`; doubtful regions are faces marked invalid. Landmarks and
    scores have no place in it."""
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, before=before) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        for photo in labels:
            rows = [_row(box, 0) for box in photo.boxes] + [_row(box, 1) for box in photo.doubtful]
            file.write("".join(f"{line}\n" for line in (photo.name, len(rows), *(rows or [" ".join("0" * 10)]))))
    return path


def _row(box: Iterable[float], invalid: int) -> str:
    x1, y1, x2, y2 = (float(value) for value in box)
    values = [f"{value:.2f}".removesuffix(".00") for value in (x1, y1, x2 - x1, y2 - y1)]
    return " ".join([*values, "0", "0", "0", str(invalid), "0", "0"])
