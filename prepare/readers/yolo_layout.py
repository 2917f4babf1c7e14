"""Where a data set in YOLO's format has its photos and its labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtcnn.errors import DataError
from mtcnn.files.text import read_text
from mtcnn.images import SUFFIXES

from .plain_yaml import parse_yaml

__all__ = ["YAMLS", "YoloLayout", "is_class_number", "yolo_layout"]

YAMLS = ("data.yaml", "data.yml", "dataset.yaml")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class YoloLayout:
    """photos  in order.    root  the folder of the data set.
    images  the folder that photos are relative to, or None.    labels  that of label files.
    names   of classes by number.    points  `kpt_shape`, or None.    notes  what was left out.
    """

    photos: Sequence[Path]
    root: Path
    images: Path | None
    labels: Path
    names: Mapping[int, str]
    points: tuple[int, int] | None
    notes: Sequence[str]

    def labels_of(self, photo: Path) -> Path | None:
        """The label file of a photo: at its place in `labels` for `images`, as YOLO has it; or at the end of its path
        below `labels`, for photos that lie elsewhere; or beside it. None if there is none."""
        tried = []
        if self.images is not None and photo.is_relative_to(self.images):
            tried.append(self.labels / photo.relative_to(self.images))
        parts = photo.parts
        places = [i for i, part in enumerate(parts) if part == "images"]
        if places:
            tried.append(Path(*parts[: places[-1]], "labels", *parts[places[-1] + 1 :]))
        tried += [self.root / "labels" / Path(*parts[i:]) for i in range(1, len(parts))]
        for path in [*tried, photo]:
            file = path.with_suffix(".txt")
            if file.is_file():
                return file
        return None


def yolo_layout(path: Path, images: Path | None) -> YoloLayout:
    """The layout of a data set; see `yolo.read`. Raises DataError where there is none."""
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such image folder; give it as yolo:PATH:IMAGES")
    sheet = path if path.is_file() else next((path / name for name in YAMLS if (path / name).is_file()), None)
    if sheet is None and not path.is_dir():
        raise DataError(f"{path}: no such file or folder; expected data.yaml, or a folder with images and labels")
    body: dict[str, Any] = {} if sheet is None else _body(sheet)
    root = path.parent if path.is_file() else path
    labels = root / "labels"
    if sheet is None and "labels" in path.parts and not labels.is_dir():  # a split
        at = max(i for i, part in enumerate(path.parts) if part == "labels")
        images, labels = images or Path(*path.parts[:at], "images", *path.parts[at + 1 :]), path
    photos, notes = _photos(root, body, sheet, images, labels)
    return YoloLayout(photos, root, images, labels, _names(body), _points(body), notes)


def _body(sheet: Path) -> dict[str, Any]:
    try:
        return parse_yaml(read_text(sheet, "utf-8-sig"))
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(sheet)) else f"{sheet}: {text}") from None


def _photos(
    root: Path, body: dict[str, Any], sheet: Path | None, images: Path | None, labels: Path
) -> tuple[list[Path], list[str]]:
    notes: list[str] = []
    places = [split for split in SPLITS if body.get(split)]
    if images is None and places:
        left = [split for split in places[1:] if body[split] != body[places[0]]]
        notes += [f"took the photos of {places[0]}, left those of {', '.join(left)}"] if left else []
        photos, gone = _listed(root, body, body[places[0]])
        notes += gone
    else:
        folder = images or root / "images"
        parts = [split for split in SPLITS if (folder / split).is_dir() and (labels / split).is_dir()]
        if images is None and "train" in parts and len(parts) > 1:
            notes.append(
                f"took the photos of train, left those of {', '.join(parts[1:])}; name {labels / parts[1]} for them"
            )
            folder = folder / "train"
        photos = _found(folder if folder.is_dir() else root)
    if not photos:
        why = f"; {notes[-1]}" if images is None and places and notes else ""
        raise DataError(
            f"{sheet or root}: names no photo that is there; expected `train` in data.yaml, or images/{why}"
        )
    return photos, notes


def _listed(root: Path, body: dict[str, Any], entry: Any) -> tuple[list[Path], list[str]]:
    """The photos of a split: folders, lists of photos, or several of them, relative to `path` or to `data.yaml`; and
    notes about those that are not there."""
    base = root / str(body.get("path") or "")
    photos: list[Path] = []
    notes: list[str] = []
    for name in entry if isinstance(entry, list) else [str(entry)]:
        tried = [base / name, root / name, root / name.removeprefix("../")]  # as Roboflow writes it
        place = next((each for each in tried if os.path.exists(each)), tried[0])  # False for any text
        if os.path.isdir(place):
            photos += _found(place)
        elif place.suffix == ".txt" and os.path.isfile(place):
            lines = [line for line in map(str.strip, read_text(place).splitlines()) if line]
            there = [os.path.isfile(place.parent / line) for line in lines]
            photos += [place.parent / line for line, is_there in zip(lines, there, strict=True) if is_there]
            if not all(there):
                lost = lines[there.index(False)][:80]
                notes.append(
                    f"{there.count(False)} of {len(lines)} photos of {place.name} are not there, such as {lost}"
                )
        else:
            notes.append(f"{name[:80]} is no folder and no list of photos (.txt) that is there")
    return photos, notes


def _found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def is_class_number(word: str) -> bool:
    """Whether a word is the number of a class; those of detectors have three digits."""
    return word.isascii() and word.isdigit() and len(word) < 7


def _names(body: dict[str, Any]) -> dict[int, str]:
    names = body.get("names")
    if isinstance(names, list):
        return dict(enumerate(names))
    pairs = names.items() if isinstance(names, dict) else []
    return {int(number): name for number, name in pairs if is_class_number(number)}


def _points(body: dict[str, Any]) -> tuple[int, int] | None:
    shape = body.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(part in map(str, range(1, 1000)) for part in shape):
        return (int(shape[0]), int(shape[1])) if shape[1] in ("2", "3") else None
    return None
