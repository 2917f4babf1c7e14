"""Detects the format of labels from their content."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.images import SUFFIXES

from . import celeba
from .points import POINT_COLUMNS, plain_names, separator_of
from .table import NAME_COLUMNS, find_columns
from .yolo_layout import YAMLS

__all__ = ["FILES", "find_format", "label_files"]

LOOKED_AT = 1 << 16  # bytes of a file
FILES = ("coco", "csv", "labelv2", "points", "retinaface", "wider")
"""Formats of which a file has the labels of many photos; a folder may hold several."""

FOLDERS = (".", "annotations", "Annotations", "labels", "wider_face_split")  # where a data set has such files
_ELLIPSE = 6  # numbers of FDDB's rows


def find_format(path: Path) -> str | None:
    """The format of a label file, or of a folder with labels; None if unknown.

    A file is recognised by the head of a block and the number of values in the first row, by its columns, or by its
    JSON keys; a folder by its layout. Photos without labels have no format: only their owner knows whether they may
    show faces. Raises DataError for a folder with labels in two formats.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        return None
    if path.suffix.lower() in (".yaml", ".yml"):
        return "yolo" if re.search(r"^(train|names)\s*:", _head(path), re.MULTILINE) else None
    if path.stem.startswith(celeba.BOXES):
        return "celeba"
    if path.suffix.lower() == ".csv":
        return _of_table(_head(path))
    if path.suffix.lower() == ".json":
        return _of_json(path)
    return _of_rows([line.strip() for line in _head(path).splitlines() if line.strip()][:3])


def label_files(path: Path, form: str) -> tuple[list[Path], list[Path]]:
    """The files of `form`, one of FILES, that a folder has, and those left out; of a file, the file.

    Where the name of one says that it is of a training split, those of validation and test splits are left out.
    """
    if not path.is_dir():
        return [path], []
    files = [file for file in _files(path) if find_format(file) == form]
    train = [file for file in files if _split(file) == "train"]
    left = [file for file in files if train and _split(file) in ("val", "test")]
    return [file for file in files if file not in left], left


def _split(file: Path) -> str:
    match = re.search(r"(?:^|[^a-z])(train|valid|val|test)(?![a-z])", file.stem.lower())
    return "" if match is None else match[1].replace("valid", "val")


def _files(folder: Path) -> Iterator[Path]:
    """The files that may be labels of many photos."""
    for part in FOLDERS:
        yield from _once(folder / part)


def _once(folder: Path) -> Iterable[Path]:
    found = [] if not folder.is_dir() else sorted(folder.iterdir())
    return [file for file in found if file.suffix.lower() in (".txt", ".csv", ".json") and file.is_file()]


def _of_folder(folder: Path) -> str | None:
    if any(any(place.glob("FDDB-fold-*-ellipseList.txt")) for place in (folder, folder / "FDDB-folds")):
        return "fddb"
    if any((folder / name).is_file() and find_format(folder / name) for name in YAMLS):
        return "yolo"
    if any((folder / part / f"{celeba.BOXES}{end}").is_file() for part in ("", "Anno") for end in (".txt", ".csv")):
        return "celeba"
    if any(islice(folder.rglob("*.xml"), 1)):
        return "voc"
    forms = {form: file for file in _files(folder) if (form := find_format(file)) in FILES}
    if len(forms) > 1:
        one, other = list(forms.items())[:2]
        raise DataError(
            f"{folder}: holds labels in two formats, {one[0]} ({one[1].name}) and {other[0]} ({other[1].name}); "
            "name FORMAT:PATH"
        )
    if forms:
        return next(iter(forms))
    if any(_of_json(file) == "labelme" for file in islice(folder.rglob("*.json"), 20)):
        return "labelme"
    return "yolo" if _has_yolo_rows(folder) else None


def _has_yolo_rows(folder: Path) -> bool:
    """Whether there is `labels` beside `images`, or it is a split in `labels`, with rows of a class and shares."""
    labels = folder if "labels" in folder.parts else folder / "labels"
    if not labels.is_dir() or (labels != folder and not (folder / "images").is_dir()):
        return False
    for file in islice(labels.rglob("*.txt"), 50):
        for line in _head(file).splitlines():
            words = line.split()
            return len(words) >= 5 and words[0].isdigit() and all(re.fullmatch(r"-?[\d.e-]+", word) for word in words)
    return False


def _head(path: Path) -> str:
    """The beginning of a file, "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LOOKED_AT).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _of_table(text: str) -> str | None:
    """`points` for its columns, all of them and no others that say more; `csv` for a table of boxes."""
    try:
        names = plain_names(next(csv.reader(text.splitlines()[:1], delimiter=separator_of(text)), []))
    except csv.Error:
        return None
    if {"path", *POINT_COLUMNS} <= set(names) and not {"ignore", "score"} & set(names):
        return "points"
    return "csv" if find_columns(names) else "points" if not set(NAME_COLUMNS[1:]) & set(names) else None


def _of_json(path: Path) -> str | None:
    """By the keys of the object, which may stand far behind: beyond the head, COCO's images are recognised."""
    text = _head(path).lstrip()
    if not text.startswith("{"):
        return None
    if re.search(r'"shapes"\s*:', text) and re.search(r'"(imagePath|version|flags)"\s*:', text):
        return "labelme"
    return "coco" if re.search(r'"(images|annotations|categories)"\s*:\s*\[', text) else _of_long_json(path)


def _of_long_json(path: Path) -> str | None:
    """LabelMe puts the photo itself, megabytes of base64, between or before the keys."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - LOOKED_AT))
            end = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    return "labelme" if re.search(r'"imageHeight"\s*:', end) else None


def _of_rows(rows: list[str]) -> str | None:
    if not rows:
        return None
    if rows[0].startswith("#"):
        return "labelv2" if re.fullmatch(r"#\s*\S.*\s\d+\s+\d+", rows[0]) else "retinaface"
    if len(rows) < 2 or not rows[1].isdigit():
        return None
    if rows[0].lower().endswith(SUFFIXES):
        return "wider"
    return "fddb" if len(rows) > 2 and len(rows[2].split()) == _ELLIPSE else None
