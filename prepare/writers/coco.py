"""COCO: one JSON file, with key points; doubtful regions are crowds of a category of their own. COCO's tools ignore
crowds too, and labelling programs show the category."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn.files.atomic_write import Before, atomic_write

from ..readers.label_file import POINT_NAMES

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write", "write_file"]

FACE = {"id": 1, "name": "face", "supercategory": "face", "keypoints": list(POINT_NAMES), "skeleton": []}
DOUBTFUL = {"id": 2, "name": "doubtful", "supercategory": "face"}


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `coco.json` in a folder, see `write_file`."""
    return write_file(labels, folder / "coco.json", before)


def write_file(labels: Iterable[PhotoLabels], path: Path, before: Before | None = None) -> Path:
    """Write one file. An annotation has `score` where a teacher made it; `iscrowd` is 1 for doubtful regions."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(labels, 1):
        images.append({"id": number, "file_name": photo.name, "width": photo.size.width, "height": photo.size.height})
        for box, score, points in zip(photo.boxes, photo.scores, photo.landmarks, strict=True):
            known = np.isfinite(points).all(axis=1)
            rows = [[round(float(x), 2), round(float(y), 2), 2] if seen else [0, 0, 0]
                    for (x, y), seen in zip(points, known, strict=True)]  # fmt: skip
            more: dict[str, Any] = {} if np.isnan(score) else {"score": round(float(score), 5)}
            more |= {"keypoints": [value for row in rows for value in row], "num_keypoints": int(known.sum())}
            annotations.append({**_annotation(len(annotations) + 1, number, box, 0), **more})
        annotations += [_annotation(len(annotations) + i, number, box, 1) for i, box in enumerate(photo.doubtful, 1)]
    with atomic_write(path, before=before) as draft:
        body = {"images": images, "annotations": annotations, "categories": [FACE, DOUBTFUL]}
        draft.write_text(json.dumps(body), encoding="utf-8")
    return path


def _annotation(number: int, image: int, box: Any, crowd: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {"id": number, "image_id": image, "category_id": 1 + crowd, "bbox": [x1, y1, width, height],
            "area": round(width * height, 2), "iscrowd": crowd, "segmentation": []}  # fmt: skip
