"""WIDER FACE's folder of detections, all regions with their scores: what `mtcnn eval wider` measures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtcnn.files.atomic_write import Before
from mtcnn.metrics.wider_detections import faces_to_rows, write_detections

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["name_of", "write"]


def name_of(photo: Path) -> str:
    """<event>/<image>; the event is the folder that a photo lies in."""
    return f"{photo.resolve().parent.name}/{photo.stem}"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `detections/<event>/<image>.txt`, see `name_of`."""
    target = folder / "detections"
    for photo in labels:
        write_detections(target, {name_of(photo.path): faces_to_rows(photo.regions)}, before)
    return target
