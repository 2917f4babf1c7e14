"""COCO: one JSON file of images, categories and annotations.

    {"images": [{"id": 1, "file_name": "a/1.jpg", "width": 640, "height": 480}],
     "categories": [{"id": 1, "name": "face"}],
     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [449, 330, 122, 149], "iscrowd": 0}]}

A bbox is `x y width height`. Crowds, which are stored as run-length masks, and annotations with `ignore` are ignore
regions; masks and polygons are not read. `keypoints` are `x y visibility`, 0 for unknown, in the order that their
category names; without names, five are taken in our order. Names must say which point it is: "left_eye", "mouth-left"
and "nose_tip" do; others are noted, and no landmarks are read.
Source: the data format of the COCO challenges (Lin et al. 2014).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError

from ..records import ImageRecord, Note, Problem
from .class_names import is_doubtful, noted_classes, taken_classes
from .json_text import number_list, read_json, whole
from .label_file import POINT_NAMES, Face, Gathering, find_image, folder_with, known_size

__all__ = ["read"]


class _Category(NamedTuple):
    """A category: its name, the rows of `keypoints` that are our five points, or None, and the names they have."""

    name: str
    points: list[int] | None
    named: tuple[str, ...] = ()


def read(
    labels: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """Images of a COCO file, those without annotations too, with boxes, landmarks and scores where it has them.

    images  the folder that names are relative to. Default: `images`, or the folder of the split (`train2017` for
            `instances_train2017.json`), beside the file or its folder; or the folder of the file.
    names   categories that are faces, such as {"face"}. None: those named "face", if there are any; otherwise all.

    Categories named "doubtful" or "ignore" are ignore regions. A bad annotation is skipped and its image marked
    incomplete. Raises DataError if the file is no COCO file, the folder is missing, or no annotation has a name.
    """
    body = read_json(labels)
    entries, categories, boxes = (_list(labels, body, key) for key in ("images", "categories", "annotations"))
    kinds = {entry["id"]: _category(entry) for entry in categories if _has_id(entry)}
    files = [str(entry.get("file_name", "")) for entry in entries if isinstance(entry, dict)]
    found = Gathering(labels, folder_with(labels, images, _candidates(labels), files))
    counts = Counter(kind.name for entry in boxes if (kind := _kind(entry, kinds)))
    taken = taken_classes(labels, "coco", counts, names)
    of: dict[Any, list[tuple[int, Any]]] = {}
    for number, entry in enumerate(boxes, 1):
        kind = _kind(entry, kinds)
        if kind is None:
            found.problems.append(Problem(f"{labels} annotation {number}", "names no known category; left out"))
        elif kind.name in taken:
            image = entry.get("image_id")
            of.setdefault(image if isinstance(image, int | str) else None, []).append((number, entry))
    _add_images(found, entries, of, kinds)
    for kind in kinds.values():
        if kind.points is None and kind.name in taken and counts[kind.name]:
            named = ", ".join(kind.named[:6]) + (" ..." if len(kind.named) > 6 else "")
            found.problems.append(
                Note(str(labels), f"key points of {kind.name} are {named}; expected {', '.join(POINT_NAMES)} among "
                                  "them; landmarks are not read")
            )  # fmt: skip
    if note := noted_classes("coco", counts, taken):
        found.problems.append(Note(str(labels), note))
    return found.result()


def _list(labels: Path, body: dict[str, Any], key: str) -> list[Any]:
    value = body.get(key)
    if not isinstance(value, list):
        raise DataError(f"{labels}: has no list of {key}; expected COCO's images, categories and annotations")
    return value


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), int | str)


def _category(entry: dict[str, Any]) -> _Category:
    points = entry.get("keypoints")
    name = str(entry.get("name", ""))
    if not isinstance(points, list) or not points:
        return _Category(name, [0, 1, 2, 3, 4])
    known = [str(point) for point in points]
    rows = [_row(point, known) for point in POINT_NAMES]
    return _Category(name, None if None in rows else [row for row in rows if row is not None], tuple(known))


def _row(point: str, known: list[str]) -> int | None:
    """The row of the key point `point`, one of POINT_NAMES: of this name, or of the only one with its words in it."""
    if point in known:
        return known.index(point)
    wanted = set(point.split("_"))
    rows = [row for row, name in enumerate(known) if wanted <= set(re.findall(r"[a-z]+", name.lower()))]
    return rows[0] if len(rows) == 1 else None


def _kind(entry: Any, kinds: dict[Any, _Category]) -> _Category | None:
    number = entry.get("category_id") if isinstance(entry, dict) else None
    return kinds.get(number) if isinstance(number, int | str) else None


def _candidates(labels: Path) -> list[Path]:
    here, above = labels.parent, labels.parent.parent
    split = re.sub(r"^(instances|person_keypoints|captions|annotations)_", "", labels.stem)
    named = [folder / part for folder in (here, above) for part in (Path("images") / split, Path(split))]
    return [*named, here / "images", above / "images", here, above]


def _add_images(
    found: Gathering, entries: Iterable[Any], of: dict[Any, list[tuple[int, Any]]], kinds: dict[Any, _Category]
) -> None:
    for number, entry in enumerate(entries, 1):
        where = f"{found.source} image {number}"
        name = entry.get("file_name") if _has_id(entry) else None
        if not isinstance(name, str) or not name:
            found.problems.append(Problem(where, "has no id or no file_name; left out"))
            continue
        path = find_image(found.images, name)
        if path is None:
            why = f"no image {name!r} in {found.images}, with this or another suffix; left out"
            found.problems.append(Problem(where, why))
            continue
        faces, complete = [], True
        for line, annotation in of.pop(entry["id"], []):
            try:
                faces.append(_face(annotation, kinds[annotation["category_id"]]))
            except ValueError as error:
                found.problems.append(Problem(f"{found.source} annotation {line}", f"{error}; face left out"))
                complete = False
        found.add(path, faces, complete, known_size(whole(entry.get("height")), whole(entry.get("width"))))
    lost = sum(len(rows) for rows in of.values())
    if lost:
        found.problems.append(Problem(str(found.source), f"{lost} annotations of no image in the file left out"))


def _face(entry: dict[str, Any], category: _Category) -> Face:
    x, y, width, height = number_list(entry.get("bbox"), "bbox", 4)
    score = entry.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"score is {str(score)[:40]}, expected a number from 0 to 1")
    ignored = entry.get("iscrowd") in (1, True) or entry.get("ignore") in (1, True) or is_doubtful(category.name)
    return Face((x, y, x + width, y + height), _points(entry.get("keypoints"), category), ignored, float(score))


def _points(value: Any, category: _Category) -> Any:
    if category.points is None or not isinstance(value, list) or len(value) < 15 or len(value) % 3:
        return None
    rows = np.array(number_list(value, "keypoints"), np.float32).reshape(-1, 3)[category.points]
    rows[rows[:, 2] == 0] = np.nan
    return rows[:, :2]
