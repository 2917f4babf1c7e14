"""WIDER FACE's folder of detections, all regions with their scores: what `mtcnn eval wider` measures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtcnn.metrics.wider_detections import faces_to_rows, write_detections

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]


def write(labels: Iterable[PhotoLabels], folder: Path) -> Path:
    """Write `detections/<event>/<image>.txt`; the event is the folder that an image lies in."""
    target = folder / "detections"
    for photo in labels:
        write_detections(
            target, {f"{photo.path.resolve().parent.name}/{photo.path.stem}": faces_to_rows(photo.regions)}
        )
    return target
