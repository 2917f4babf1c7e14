"""Folders of photos without labels: without any face, as background, or with faces of which nothing is known."""

from __future__ import annotations

from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.images import SUFFIXES
from mtcnn.stream.folders import PassedOver, search

from ..records import ImageRecord, Problem

__all__ = ["read", "read_unlabelled"]


def read_unlabelled(folder: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """The same for photos that may show faces: no crop is cut from them, and only a teacher can say what they hold."""
    records, problems = read(folder)
    return [ImageRecord(record.path, complete=False) for record in records], problems


def read(folder: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """A record without boxes for each image in `folder` and the folders below, in the order of their names.

    Nothing here proves that no face is in them: look at what mining finds there before trusting a new folder.
    Hidden files, litter of file managers and pictures that this project wrote are left out, as in `stream.folders`.
    Raises DataError when `folder` is missing. Files of other kinds are counted in one problem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images; give an existing one")
    images = [path for path in search(folder, SUFFIXES, [], PassedOver()) if path.is_file()]
    taken = set(images)
    others = sum(path.is_file() and path not in taken for path in folder.rglob("*"))
    problems = [Problem(str(folder), f"{others} files that are not images passed over")] if others else []
    return [ImageRecord(path) for path in images], problems
