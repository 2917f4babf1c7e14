"""LabelMe: a JSON file per photo, in the folders of the photos; doubtful regions have another label."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn.files.atomic_write import Before, write_whole

from ..readers.label_file import POINT_NAMES

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `<photo>.json`, whose `imagePath` leads from it to the photo. Scores have no place in it."""
    for photo in labels:
        path = folder / Path(photo.name).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        shapes: list[dict[str, Any]] = []
        for group, (box, points) in enumerate(zip(photo.boxes, photo.landmarks, strict=True), 1):
            shapes.append(_shape("face", "rectangle", np.reshape(box, (2, 2)), group))
            for name, point in zip(POINT_NAMES, points, strict=True):
                if np.isfinite(point).all():
                    shapes.append(_shape(name, "point", [point], group))
        shapes += [_shape("doubtful", "rectangle", np.reshape(box, (2, 2)), None) for box in photo.doubtful]
        body: dict[str, Any] = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imageData": None}
        body |= {"imagePath": _relative(photo.path, path.parent)}
        body |= {"imageHeight": photo.size.height, "imageWidth": photo.size.width}
        write_whole(path, json.dumps(body, indent=1).encode(), before)
    return folder


def _relative(photo: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(photo.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(photo.resolve())


def _shape(label: str, kind: str, points: Any, group: int | None) -> dict[str, Any]:
    corners = [[round(float(x), 2), round(float(y), 2)] for x, y in points]
    return {"label": label, "points": corners, "group_id": group, "shape_type": kind, "flags": {}}
