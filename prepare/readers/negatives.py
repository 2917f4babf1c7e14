"""Folders of photos without labels: background without faces, or photos that may show faces."""

from __future__ import annotations

from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.images import SUFFIXES
from mtcnn.stream.folders import PassedOver, search

from ..records import ImageRecord, Problem

__all__ = ["read", "read_unlabelled"]


def read_unlabelled(folder: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """The same for photos that may show faces: no crops are cut from them; only a teacher can label them."""
    records, problems = read(folder)
    return [ImageRecord(record.path, complete=False) for record in records], problems


def read(folder: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """A record without boxes for each image in `folder` and its subfolders, in the order of their names.

    The absence of faces is not verified: check what mining finds before trusting a new folder. Hidden files, files
    left by file managers and pictures written by this project are skipped, as in `stream.folders`.
    Raises DataError if `folder` is missing. Files of other types are counted in one problem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images; give an existing one")
    images = [path for path in search(folder, SUFFIXES, [], PassedOver()) if path.is_file()]
    taken = set(images)
    others = sum(path.is_file() and path not in taken for path in folder.rglob("*"))
    problems = [Problem(str(folder), f"{others} files that are not images skipped")] if others else []
    return [ImageRecord(path) for path in images], problems
