"""COCO: one JSON file of images, categories and annotations.

    {"images": [{"id": 1, "file_name": "a/1.jpg", "width": 640, "height": 480}],
     "categories": [{"id": 1, "name": "face"}],
     "annotations": [{"image_id": 1, "category_id": 1, "bbox": [449, 330, 122, 149], "iscrowd": 0}]}

A bbox is `x y width height`. Crowds, which are stored as run-length masks, and annotations with `ignore` are ignore
regions; masks and polygons are not read. `keypoints` are `x y visibility`, 0 for unknown, in the order that their
category names; without names, five are taken in our order, and other numbers of them are not read. Names must say which
point it is: "left_eye", "mouth-left" and "nose_tip" do; others are noted, and no landmarks are read.
Source: the data format of the COCO challenges (Lin et al. 2014).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
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


class _Annotation(NamedTuple):
    """An annotation: its number in the file, the id of its image, its category, and the entry; None where unknown."""

    number: int
    image: int | str | None
    kind: _Category | None
    entry: Any


def read(
    labels: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """Images of a COCO file, those without annotations too, with boxes, landmarks and scores where it has them.

    images  the folder that names are relative to. Default: `images`, or the folder of the split (`train2017` for
            `instances_train2017.json`), beside the file or its folder; or the folder of the file.
    names   categories that are faces, such as {"face"}. None: those named "face", if there are any; otherwise all.

    Categories named "doubtful" or "ignore" are ignore regions. A bad annotation, one of an unknown category too, is
    skipped and its image marked incomplete; one of no known image is reported. Raises DataError if the file is no COCO
    file, the folder is missing, no annotation has a chosen name, or none of the annotations can be used.
    """
    body = read_json(labels)
    entries, categories, boxes = (_list(labels, body, key) for key in ("images", "categories", "annotations"))
    kinds, doubled = _categories(categories)
    files = [str(entry.get("file_name", "")) for entry in entries if isinstance(entry, dict)]
    found = Gathering(labels, folder_with(labels, images, _candidates(labels), files))
    given = [_Annotation(n, _id(each, "image_id"), _kind(each, kinds), each) for n, each in enumerate(boxes, 1)]
    known = {_id(entry, "id") for entry in entries} - {None}
    faults = _faults(given, known, doubled)
    _check_any(labels, boxes, faults)
    counts = Counter(each.kind.name for each in given if each.kind)
    taken = taken_classes(labels, "coco", counts, names)
    used = [each for each in given if each.kind is None or each.kind.name in taken]
    _add_images(found, entries, used, faults)
    _check_any(labels, boxes, faults)
    _report(found, given, faults, known)
    found.problems += [Note(str(labels), note) for note in _point_notes(used)]
    if note := noted_classes("coco", counts, taken):
        found.problems.append(Note(str(labels), note))
    return found.result()


def _list(labels: Path, body: dict[str, Any], key: str) -> list[Any]:
    value = body.get(key)
    if not isinstance(value, list):
        raise DataError(f"{labels}: has no list of {key}; expected COCO's images, categories and annotations")
    return value


def _id(entry: Any, key: str) -> int | str | None:
    """The id in an entry, a whole number or text; None if there is none. Some tools write 1.0 for 1."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


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
    return kinds.get(_id(entry, "category_id"))


def _categories(entries: Iterable[Any]) -> tuple[dict[Any, _Category], set[Any]]:
    """Categories by their ids; and the ids that several categories have, so that they say nothing."""
    kinds: dict[Any, _Category] = {}
    doubled = set()
    for entry in entries:
        key = _id(entry, "id")
        if key is not None and kinds.setdefault(key, kind := _category(entry)) != kind:
            doubled.add(key)
    return {key: kind for key, kind in kinds.items() if key not in doubled}, doubled


def _faults(given: Iterable[_Annotation], known: Container[Any], doubled: Container[Any]) -> dict[int, str]:
    """Annotations of no image, whose ids are `known`, or of no category or several: their number -> why."""
    faults = {}
    for each in given:
        if not isinstance(each.entry, dict):
            faults[each.number] = f"is {str(each.entry)[:40]!r}, expected an object"
        elif each.image not in known:
            faults[each.number] = f"image_id is {_shown(each.entry, 'image_id')}, no id of an image in the file"
        elif _id(each.entry, "category_id") in doubled:
            faults[each.number] = f"category_id {_shown(each.entry, 'category_id')} is that of two categories"
        elif each.kind is None:
            faults[each.number] = f"category_id is {_shown(each.entry, 'category_id')}, no id of a category in the file"
    return faults


def _shown(entry: dict[str, Any], key: str) -> str:
    return repr(entry[key])[:40] if key in entry else "missing"


def _report(found: Gathering, given: Sequence[_Annotation], faults: Mapping[int, str], known: Container[Any]) -> None:
    """Those of no image in one line: a file of some photos of a data set may have the annotations of all."""
    lost = [number for number in faults if given[number - 1].image not in known]
    for number in sorted(faults.keys() - set(lost)):
        found.problems.append(Problem(f"{found.source} annotation {number}", f"{faults[number]}; face left out"))
    if lost:
        why = f"{len(lost)} annotations of no image in the file left out, such as {lost[0]}: {faults[lost[0]]}"
        found.problems.append(Problem(str(found.source), why))


def _point_notes(used: Iterable[_Annotation]) -> Iterator[str]:
    """Why landmarks are not read: their names say nothing, or they have none and are not five."""
    for kind in {id(each.kind): each.kind for each in used}.values():
        if kind is not None and kind.points is None:
            named = ", ".join(kind.named[:6]) + (" ..." if len(kind.named) > 6 else "")
            wanted = ", ".join(POINT_NAMES)
            yield f"key points of {kind.name} are {named}; expected {wanted} among them; landmarks are not read"
    if other := sum(each.kind is not None and _is_of_other_points(each.entry, each.kind) for each in used):
        yield f"{other} annotations have key points without names, and not five; their landmarks are not read"


def _check_any(labels: Path, given: Sequence[Any], faults: Mapping[int, str]) -> None:
    """Raises DataError if there are annotations and all are at fault: photos without faces would be left."""
    if given and len(faults) == len(given):
        number = min(faults)
        raise DataError(
            f"{labels}: none of its {len(given)} annotations can be used; of annotation {number}, {faults[number]}; "
            "expected image_id, category_id and bbox as COCO has them"
        )


def _candidates(labels: Path) -> list[Path]:
    here, above = labels.parent, labels.parent.parent
    split = re.sub(r"^(instances|person_keypoints|captions|annotations)_", "", labels.stem)
    named = [folder / part for folder in (here, above) for part in (Path("images") / split, Path(split))]
    return [*named, here / "images", above / "images", here, above]


def _add_images(found: Gathering, entries: Iterable[Any], given: Iterable[_Annotation], faults: dict[int, str]) -> None:
    """Adds the images with their faces, and what is wrong with annotations to `faults`."""
    of: dict[Any, list[_Annotation]] = {}
    for each in given:
        of.setdefault(each.image, []).append(each)
    named: dict[Any, set[str]] = {}
    for entry in entries:
        named.setdefault(_id(entry, "id"), set()).add(_name(entry))
    seen = set()
    for number, entry in enumerate(entries, 1):
        where, key, name = f"{found.source} image {number}", _id(entry, "id"), _name(entry)
        if key is None or not name:
            found.problems.append(Problem(where, "has no id or no file_name; left out"))
            continue
        path = find_image(found.images, name)
        if path is None:
            why = f"no image {name!r} in {found.images}, with this or another suffix; left out"
            found.problems.append(Problem(where, why))
            continue
        if (key, name) in seen:
            found.problems.append(
                Problem(where, f"has the id and the file_name of an image before it, {str(key)[:40]}; left out")
            )
            continue
        seen.add((key, name))
        size, mine = known_size(whole(entry.get("height")), whole(entry.get("width"))), of.get(key, [])
        complete = len(named[key]) < 2
        if not complete:  # whose faces they are is unknown
            found.problems.append(
                Problem(where, f"has the id of another image, {str(key)[:40]}; their annotations are left out")
            )
            faults |= {each.number: f"image_id {str(key)[:40]} is that of two images" for each in mine}
            mine = []
        faces = _faces(mine, faults)
        found.add(path, faces, complete and not any(each.number in faults for each in mine), size)


def _faces(given: Iterable[_Annotation], faults: dict[int, str]) -> list[Face]:
    """The faces of one image; what is wrong with others goes to `faults`."""
    faces = []
    for each in given:
        try:
            if each.kind is not None:
                faces.append(_face(each.entry, each.kind))
        except ValueError as error:
            faults[each.number] = str(error)
    return faces


def _name(entry: Any) -> str:
    name = entry.get("file_name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def _face(entry: dict[str, Any], category: _Category) -> Face:
    x, y, width, height = number_list(entry.get("bbox"), "bbox", 4)
    score = entry.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"score is {str(score)[:40]}, expected a number from 0 to 1")
    ignored = entry.get("iscrowd") in (1, True) or entry.get("ignore") in (1, True) or is_doubtful(category.name)
    return Face((x, y, x + width, y + height), _points(entry.get("keypoints"), category), ignored, float(score))


def _points(value: Any, category: _Category) -> Any:
    """The five points (5, 2), NaN where unknown; None if the annotation has others than its category names."""
    if category.points is None or not isinstance(value, list) or len(value) < 15 or len(value) % 3:
        return None
    if len(value) != 15 if not category.named else len(value) < 3 * len(category.named):
        return None
    rows = np.array(number_list(value, "keypoints"), np.float32).reshape(-1, 3)[category.points]
    rows[rows[:, 2] == 0] = np.nan
    return rows[:, :2]


def _is_of_other_points(entry: Any, category: _Category) -> bool:
    """Whether an annotation has key points without names, and not five of them."""
    value = entry.get("keypoints")
    return isinstance(value, list) and not category.named and len(value) not in (0, 15)
