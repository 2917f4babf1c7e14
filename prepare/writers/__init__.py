"""Writers of label files: one file per format. Each takes labels of photos and a folder, and returns what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtcnn.files.atomic_write import Before

from . import celeba, coco, labelme, labelv2, retinaface, table, voc, wider, wider_labels, yolo

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["FORMATS", "OF_ALL", "OF_EACH", "WRITERS", "Format"]

Writer = Callable[[Iterable["PhotoLabels"], Path, Before], Path]

WRITERS: dict[str, Writer] = {
    "labelv2": labelv2.write,
    "coco": coco.write,
    "yolo": yolo.write_linked,
    "wider": wider.write,
}
"""What `mtcnn label` writes, by format; its wider are detections."""

OF_ALL = {"labelv2": ["labelv2.txt"], "coco": ["coco.json"], "yolo": ["data.yaml", "photos.txt"], "wider": []}
"""Files that these write for all photos together."""

OF_EACH: dict[str, Callable[[Path, str], str]] = {
    "yolo": lambda photo, name: yolo.name_of(name),
    "wider": lambda photo, name: f"detections/{wider.name_of(photo)}.txt",
}
"""The file that they write for each photo, by its path and its name in the labels."""


@dataclass(frozen=True)
class Format:
    """A format of labels that a conversion writes.

    photos     the folder, in that of the labels, in which it expects the photos.
    landmarks, ignored, scores, several, boxless  whether it has a place for landmarks, for ignore regions, for scores,
               for several faces of a photo, and for landmarks without a box.
    by_stem    whether a file belongs to a photo by its name without suffix, so that no two photos may share one.
    """

    write: Writer
    photos: str = "images"
    landmarks: bool = True
    ignored: bool = True
    scores: bool = True
    several: bool = True
    boxless: bool = False
    by_stem: bool = False


FORMATS: dict[str, Format] = {
    "celeba": Format(celeba.write, "img_celeba", ignored=False, scores=False, several=False),
    "coco": Format(coco.write),
    "csv": Format(table.write, boxless=True),
    "labelme": Format(labelme.write, ".", scores=False, by_stem=True),
    "labelv2": Format(labelv2.write),
    "retinaface": Format(retinaface.write, ignored=False, scores=False),
    "voc": Format(voc.write, "JPEGImages", landmarks=False, scores=False, by_stem=True),
    "wider": Format(wider_labels.write, "WIDER_train/images", landmarks=False, scores=False),
    "yolo": Format(yolo.write, scores=False, by_stem=True),
}
"""What `mtcnn data convert` writes."""
