"""A folder of photos without any face: background for crops, and a test of false alarms."""

from __future__ import annotations

from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.images import SUFFIXES

from ..records import ImageRecord, Problem

__all__ = ["read"]


def read(folder: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """A record without boxes for each image in `folder` and the folders below, in the order of their names.

    Nothing here proves that no face is in them: look at what mining finds there before trusting a new folder.
    Raises DataError when `folder` is missing. Files of other kinds are counted in one problem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images without faces; give an existing one")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = len(files) - len(images)
    problems = [Problem(str(folder), f"{others} files that are not images passed over")] if others else []
    return [ImageRecord(path) for path in images], problems
