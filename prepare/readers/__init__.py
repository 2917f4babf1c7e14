"""Readers of label formats: one file per format, and `read_source` for the command line.

Every reader returns `(records, problems)`: bad rows are reported and skipped; only a missing label file or folder
raises DataError. No reader decodes an image; that of YOLO, whose numbers are shares of a photo, reads their headers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtcnn.errors import DataError

from .. import synthetic
from ..joined_records import joined_repeats
from ..records import ImageRecord, Note, Problem
from . import celeba, coco, fddb, labelme, negatives, points, retinaface, table, voc, wider, yolo
from .forms import FILES, find_format, label_files
from .places import is_folder, place_of

__all__ = ["READERS", "form_of", "read_source", "split_names", "split_source"]

Reading = tuple[list[ImageRecord], list[Problem]]

READERS: dict[str, Callable[..., Reading]] = {
    "celeba": celeba.read,
    "coco": coco.read,
    "csv": table.read,
    "fddb": fddb.read,
    "labelme": labelme.read,
    "labelv2": retinaface.read_labelv2,
    "negatives": negatives.read,
    "points": points.read,
    "retinaface": retinaface.read,
    "unlabelled": negatives.read_unlabelled,
    "voc": voc.read,
    "wider": wider.read,
    "yolo": yolo.read,
}

CLASSES = ("coco", "csv", "labelme", "voc", "yolo")
"""Formats whose objects have names, of which some may be faces: FORMAT:PATH:IMAGES:NAME,NAME."""

# What a folder may hold to be given without a format; the same layout as `synthetic.write_folder` writes.
FOLDER_LAYOUT = (
    ("wider", "wider/wider_face_train_bbx_gt.txt"),
    ("points", "landmarks/thumbs_train.csv"),
    ("points", "landmarks/faces_train.csv"),
    ("negatives", "negatives"),
)


def split_source(spec: str, drives: bool = os.name == "nt") -> tuple[str, str, str]:
    """FORMAT, PATH and IMAGES of `FORMAT:PATH[:IMAGES]`, IMAGES empty where not given; or "", the folder and "".

    drives  whether a path may begin with a drive letter, as in C:\\data, whose colon is then no separator.
    """
    if is_folder(spec):
        return "", spec, ""
    drive = r"[A-Za-z]:(?=[\\/])" if drives else "(?!)"
    match = re.fullmatch(rf"(?!{drive})([^:]+):((?:{drive})?[^:]*)(?::(.*))?", spec, re.DOTALL)
    return (match[1], match[2], match[3] or "") if match else ("", spec, "")


def split_names(name: str, images: str) -> tuple[str, str]:
    """IMAGES and NAMES of what `split_source` took for IMAGES: the names of objects, behind the last colon."""
    folder, colon, names = images.rpartition(":")
    if name not in CLASSES or not colon or is_folder(images) or "/" in names or "\\" in names:
        return images, ""
    return folder, names


def read_source(spec: str, seed: int = 0) -> Reading:
    """Reads a source given as one string, such as `wider:labels.txt:photos`, or a folder.

    A source is `FORMAT:PATH[:IMAGES[:NAMES]]`, `synthetic:N`, or a folder with any part of FOLDER_LAYOUT. FORMAT is a
    key of READERS, found by looking where it is left out of a PATH alone, see `forms.find_format`. IMAGES is the folder
    that names in the labels are relative to; each reader has defaults. NAMES, for formats in CLASSES, are the object
    classes that are faces, separated by commas. `synthetic:N` gives N drawn scenes, determined by `seed`.

    Raises DataError for an unknown format, a missing file or folder, what cannot be the path of one, and a source
    without any usable image.
    """
    name, path, images = split_source(spec)
    if not name and (found := _found(place_of(path))):
        records, problems = _read_path(found, place_of(path))
    elif not name:
        records, problems = _read_folder(place_of(path))
    elif name == "synthetic":
        records, problems = synthetic.records(_scene_count(spec, spec.removeprefix("synthetic:")), seed), []
    else:
        records, problems = _read_format(spec, name, path, images)
    if not records:
        problems = [problem for problem in problems if not isinstance(problem, Note)]
        why = f"; the first problem: {problems[0]}" if problems else ""
        fix = "" if images or name in ("", "negatives", "unlabelled") else f"; name their folder: {spec}:IMAGES"
        raise DataError(f"{spec}: no usable image in it{why}{fix}")
    return records, problems


def form_of(spec: str) -> str:
    """The format of a source: the one that it names, or what is found by looking, "" if nothing."""
    name, text, _ = split_source(spec)
    if name:
        return name
    path = place_of(text)
    parts = [each for each, inside in FOLDER_LAYOUT if os.path.exists(path / inside)]
    return ", ".join(dict.fromkeys(parts)) or find_format(path) or ""


def _found(path: Path) -> str | None:
    """The format of labels that are given by their path alone; None for a folder with parts of FOLDER_LAYOUT."""
    return None if any(os.path.exists(path / inside) for _, inside in FOLDER_LAYOUT) else find_format(path)


def _read_format(spec: str, name: str, path: str, images: str) -> Reading:
    if name not in READERS:
        known = ", ".join(sorted([*READERS, "synthetic"]))
        raise DataError(f"{spec}: unknown format {name!r}; expected one of {known}, as FORMAT:PATH[:IMAGES]")
    if not path:
        raise DataError(f"{spec}: no path after the format; expected FORMAT:PATH[:IMAGES]")
    images, names = split_names(name, images)
    folder = place_of(images) if images else None
    if names:
        return _read_path(name, place_of(path), folder, {word.strip() for word in names.split(",")})
    if folder is None:
        return _read_path(name, place_of(path))
    if name in ("negatives", "unlabelled"):
        raise DataError(f"{spec}: {name} have no labels, so no image folder beside them; expected {name}:DIR")
    return _read_path(name, place_of(path), folder)


def _read_path(name: str, path: Path, *more: Any) -> Reading:
    """What the reader `name` makes of a path; of a folder, all label files of that format.

    Labels of a photo that is named more than once are joined: as records of their own, each complete, they would take
    the faces of each other for background. Those of `points` are never complete.
    """
    files, left = label_files(path, name) if name in FILES else ([path], [])
    if not files:
        raise DataError(f"{path}: holds no {name} file; expected one, or the path of the file itself")
    readings = [READERS[name](file, *more) for file in files]
    notes = [Note(str(path), f"read {files[0].name}, left {', '.join(file.name for file in left)}")] if left else []
    records = [record for found, _ in readings for record in found]
    if name != "points":
        records, repeats = joined_repeats(records)
        why = f"{repeats} photos are named more than once; their labels are joined"
        notes += [Note(str(path), why)] if repeats else []
    return records, [problem for _, problems in readings for problem in problems] + list[Problem](notes)


def _read_folder(folder: Path) -> Reading:
    parts = [(name, folder / path) for name, path in FOLDER_LAYOUT if os.path.exists(folder / path)]
    if not parts:
        what = "holds no training data" if folder.is_dir() else "is a file" if folder.exists() else "no such folder"
        expected = ", ".join(path for _, path in FOLDER_LAYOUT)
        raise DataError(
            f"{folder}: {what}; expected labels in one of the formats {', '.join(sorted(READERS))}, or a folder with "
            f"any of {expected}; or name FORMAT:PATH[:IMAGES]"
        )
    readings = [_read_path(name, path) for name, path in parts]
    return [r for records, _ in readings for r in records], [p for _, problems in readings for p in problems]


def _scene_count(spec: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise DataError(
            f"{spec[:80]}: {text[:40]!r} is not a number of scenes; expected synthetic:N with N from 1 to 999999999"
        )
    return int(text)
