"""Sizes of photos, remembered in a file: opening thousands of photos at each start takes seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from mtcnn.errors import ImageError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.images import image_size
from mtcnn.types import ImageSize

from . import synthetic

__all__ = ["PhotoSizes"]

FORMAT = 1  # increase it when `image_size` gives other sizes for the same files


class PhotoSizes:
    """Sizes of photos by path. A size holds as long as the file has the same number of bytes and time of change.

    file  remembers them, where given; one that is missing or damaged holds none.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._known = file, {} if file is None else _read(file)
        self._learned = False

    def of(self, paths: Iterable[Path]) -> dict[Path, ImageSize | None]:
        """Sizes by path; None for a photo that cannot be read, and for a drawn scene."""
        stamps = {path: None if synthetic.is_synthetic(path) else _stamp(path) for path in paths}
        found = {path: self._remembered(path, stamp) for path, stamp in stamps.items()}
        unknown = [path for path, stamp in stamps.items() if stamp is not None and found[path] is None]
        with ThreadPoolExecutor(4) as pool:
            for path, size in zip(unknown, pool.map(_size, unknown), strict=True):
                found[path] = size
                if size is not None:
                    self._known[str(path)] = [*(stamps[path] or ()), *size]
                    self._learned = True
        return found

    def save(self) -> None:
        """Write what is new to the file, atomically. It is lost where the file cannot be written."""
        if self._file is None or not self._learned:
            return
        with suppress(OSError), atomic_write(self._file) as draft:
            draft.write_text(json.dumps({"format": FORMAT, "sizes": self._known}))
            self._learned = False

    def _remembered(self, path: Path, stamp: tuple[int, int] | None) -> ImageSize | None:
        row = self._known.get(str(path))
        return ImageSize(row[2], row[3]) if row is not None and stamp == (row[0], row[1]) else None


def _read(file: Path) -> dict[str, list[int]]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    rows = content.get("sizes") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(rows, dict) or not all(_is_row(row) for row in rows.values()):
        return {}
    return rows


def _is_row(row: object) -> bool:
    """Bytes and time of change of a file, height and width of its photo."""
    return isinstance(row, list) and len(row) == 4 and all(type(number) is int for number in row) and min(row[2:]) > 0


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> ImageSize | None:
    try:
        return image_size(path)
    except ImageError:  # reported when its crops are made
        return None
