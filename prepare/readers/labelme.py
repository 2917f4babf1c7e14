"""LabelMe: a JSON file per photo, beside it.

    {"imagePath": "1.jpg", "imageWidth": 640, "imageHeight": 480, "shapes": [
      {"label": "face", "shape_type": "rectangle", "points": [[449, 330], [571, 479]], "group_id": 1},
      {"label": "left_eye", "shape_type": "point", "points": [[488.9, 373.6]], "group_id": 1}]}

Of a shape that is no rectangle, the bounding box is taken; a circle is its centre and a point of it. Points named
`left_eye right_eye nose left_mouth right_mouth`, the viewer's left first, belong to the face of their group.
Source: the files of LabelMe 5 (Wada 2016).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError
from mtcnn.types import ImageSize

from ..records import ImageRecord, Note, Problem
from .class_names import is_doubtful, noted_classes, taken_classes
from .json_text import number_list, read_json, whole
from .label_file import POINT_NAMES, Face, Gathering, find_image, known_size

__all__ = ["read"]


class _Shape(NamedTuple):
    name: str
    group: Any
    face: Face | ValueError


class _Sheet(NamedTuple):
    file: Path
    image: Path
    size: ImageSize | None
    shapes: list[_Shape]
    points: dict[Any, Any]  # group -> float32 (5, 2)


def read(
    folder: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """A photo for each LabelMe file in `folder` and the folders below; other JSON files are reported and skipped.

    images  the folder with the photos; default: that of each file.
    names   labels that are faces. None: those named "face", if there are any; otherwise all.

    Shapes named "doubtful" or "ignore", or with such a flag that is set, are ignore regions. A bad shape is skipped and
    its image marked incomplete. Raises DataError without folder or JSON files.
    """
    files = sorted(path for path in folder.rglob("*.json") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder}: holds no JSON file; give a folder of LabelMe's files")
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such image folder; give it as labelme:DIR:IMAGES")
    found = Gathering(folder, folder)
    sheets = [sheet for file in files if (sheet := _sheet(found, file, images))]
    counts = Counter(shape.name for sheet in sheets for shape in sheet.shapes)
    taken = taken_classes(folder, "labelme", counts, names)
    for sheet in sheets:
        _add_sheet(found, sheet, taken)
    if note := noted_classes("labelme", counts, taken):
        found.problems.append(Note(str(folder), note))
    return found.result()


def _sheet(found: Gathering, file: Path, images: Path | None) -> _Sheet | None:
    """The content of a file; None, with a problem reported, if it is not LabelMe's."""
    try:
        body = read_json(file)
    except DataError as error:
        found.problems.append(Problem(str(file), f"{str(error).removeprefix(f'{file}: ')}; file left out"))
        return None
    shapes, named = body.get("shapes"), body.get("imagePath")
    if not isinstance(shapes, list) or not isinstance(named, str):
        found.problems.append(Problem(str(file), "has no shapes and imagePath; file left out"))
        return None
    base, name = images or file.parent, named.replace("\\", "/")
    image = find_image(base, name) or find_image(base, name.rsplit("/", 1)[-1]) or find_image(base, file.stem)
    if image is None:
        why = f"no image {name[:80]!r} in {base}, with this or another suffix; file left out"
        found.problems.append(Problem(str(file), why))
        return None
    points: dict[Any, Any] = {}
    regions = []
    for shape in shapes:
        entry = shape if isinstance(shape, dict) else {}
        group = entry.get("group_id") if isinstance(entry.get("group_id"), int | str) else None
        if entry.get("shape_type") == "point":
            _add_point(points, group, entry)
        else:
            regions.append(_Shape(str(entry.get("label", "")), group, _region(entry)))
    size = known_size(whole(body.get("imageHeight")), whole(body.get("imageWidth")))
    return _Sheet(file, image, size, regions, points)


def _add_point(points: dict[Any, Any], group: Any, entry: dict[str, Any]) -> None:
    """A point of a face; other points, and bad ones, leave theirs unknown."""
    name = str(entry.get("label", ""))
    if name not in POINT_NAMES:
        return
    try:
        corners = [number_list(point, "points", 2) for point in _corners(entry)]
    except ValueError:
        return
    points.setdefault(group, np.full((5, 2), np.nan, np.float32))[POINT_NAMES.index(name)] = corners[0]


def _corners(entry: dict[str, Any]) -> list[Any]:
    corners = entry.get("points")
    if not isinstance(corners, list) or not corners:
        raise ValueError("a shape without points")
    return corners


def _region(entry: dict[str, Any]) -> Face | ValueError:
    try:
        corners = np.array([number_list(point, "points", 2) for point in _corners(entry)])
    except ValueError as error:
        return error
    if len(corners) < 2:
        return ValueError(f"a {str(entry.get('shape_type'))[:20]} of one point")
    low, high = corners.min(axis=0), corners.max(axis=0)
    if entry.get("shape_type") == "circle":
        radius = math.dist(corners[0], corners[1])
        low, high = corners[0] - radius, corners[0] + radius
    flags = entry.get("flags")
    marked = isinstance(flags, dict) and any(on is True and is_doubtful(str(name)) for name, on in flags.items())
    return Face([*low, *high], None, marked or is_doubtful(str(entry.get("label", ""))))


def _add_sheet(found: Gathering, sheet: _Sheet, taken: Collection[str]) -> None:
    faces, complete = [], True
    shapes = [shape for shape in sheet.shapes if shape.name in taken]
    alone = len(shapes) == 1
    for shape in shapes:
        if isinstance(shape.face, ValueError):
            found.problems.append(Problem(str(sheet.file), f"{shape.face}; left out"))
            complete = False
        else:
            points = sheet.points.get(shape.group) if shape.group is not None or alone else None
            faces.append(shape.face._replace(landmarks=points))
    found.add(sheet.image, faces, complete, sheet.size)
