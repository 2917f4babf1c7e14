"""YOLO: a text file a photo with key points, and `data.yaml`; doubtful regions are a class of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn.files.atomic_write import Before, atomic_write, write_whole, written_by

from ..photo_names import check_listed

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["is_linked", "name_of", "write", "write_linked"]

CLASSES = ("face", "doubtful")


def name_of(photo: str) -> str:
    """The file of a photo's labels, by its name."""
    return f"labels/{Path(photo).with_suffix('.txt').as_posix()}"


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `labels/<photo>.txt`, `data.yaml` and, of photos that lie elsewhere, the list `photos.txt`.

    A row is class, centre, width and height, then five times `x y flag`, flag 0 where unknown; all in shares of the
    photo. Scores have no place in it. Raises DataError for a photo whose path cannot stand in the list.
    """
    photos, inside = [], True
    for photo in labels:
        inside = inside and photo.path.is_relative_to(folder / "images")
        rows = [_row(0, box, points, photo) for box, points in zip(photo.boxes, photo.landmarks, strict=True)]
        rows += [_row(1, box, np.full((5, 2), np.nan), photo) for box in photo.doubtful]
        path = folder / name_of(photo.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(f"{row}\n" for row in rows).encode(), before)
        photos.append(str(photo.path.resolve()))
    # A quoted text of JSON is one of YAML, but for letters as two escapes, which YAML takes for two letters.
    root = json.dumps(str(folder.resolve()), ensure_ascii=False)
    place = f"path: {root}\ntrain: photos.txt\nval: photos.txt\n"
    if inside and photos:
        place = "train: images\nval: images\n"
    else:
        for name in photos:
            check_listed(Path(name), name)
        with atomic_write(folder / "photos.txt", before=before) as draft:
            draft.write_text("".join(f"{name}\n" for name in photos), encoding="utf-8")
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    text = f"{place}kpt_shape: [5, 3]\n"
    with atomic_write(folder / "data.yaml", before=before) as draft:
        content = f"{text}flip_idx: [1, 0, 2, 4, 3]\nnames:\n{names}"
        draft.write_text(content, encoding="utf-8", errors="backslashreplace")  # a folder's name need not be UTF-8
    return folder / "data.yaml"


def write_linked(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """The same with a link to each photo in `images`: programs that train on the folder look for the labels of a photo
    by its path, with `labels` in place of `images`. Where the system makes no links, as `write`."""
    photos = list(labels)
    with suppress(OSError, NotImplementedError):
        photos = [replace(photo, path=_link(photo, folder / "images" / photo.name, before)) for photo in photos]
    return write(photos, folder, before)


def is_linked(photo: Path, target: Path) -> bool:
    """Whether `target` is a link to a photo."""
    return target.is_symlink() and os.path.realpath(target) == os.path.realpath(photo)


def _link(photo: PhotoLabels, target: Path, before: Before | None) -> Path:
    """Raises OSError where `target` is no link, and may be a photo."""
    if is_linked(photo.path, target):
        return target
    if target.exists() and not target.is_symlink():
        raise FileExistsError(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_by(target, before=before) as draft:
        draft.symlink_to(photo.path.resolve())
    return target


def _row(kind: int, box: Any, points: Any, photo: PhotoLabels) -> str:
    height, width = photo.size
    x1, y1, x2, y2 = np.asarray(box, np.float64) / (width, height, width, height)
    values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    five = [
        f"{x / width:.6f} {y / height:.6f} 2" if np.isfinite(x + y) else "0 0 0" for x, y in np.asarray(points, float)
    ]
    return " ".join([str(kind), *(f"{value:.6f}" for value in values), *five])
