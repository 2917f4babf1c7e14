"""Writers of label files: one file per format. Each takes labels of photos and a folder, and returns what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from . import coco, labelv2, wider, yolo

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["WRITERS"]

WRITERS: dict[str, Callable[[Iterable[PhotoLabels], Path], Path]] = {
    "labelv2": labelv2.write,
    "coco": coco.write,
    "yolo": yolo.write,
    "wider": wider.write,
}
