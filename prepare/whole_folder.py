"""Folders that are written at once: new or empty before, and whole afterwards, or as they were."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_unfinished", "written_whole"]

MARK = ".mtcnn-unfinished"


@contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """`folder`, which is new or empty, made; and left as it was if the block raises, Ctrl-C included."""
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK  # stays if this process is killed
    try:
        mark.touch()
        yield
        mark.unlink()
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not there:
            folder.rmdir()
        raise


def is_unfinished(folder: Path) -> bool:
    """Whether a process was killed while it wrote this folder; nobody else's file is known to be in it, but may be."""
    return (folder / MARK).is_file()
