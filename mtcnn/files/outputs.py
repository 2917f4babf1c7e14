"""Markers of pictures and videos written by this project, so that later searches do not take them for photos.

A folder that was empty before the first output is marked by an empty folder WHOLE in it. In any other folder, PARTS has
an empty folder for each output, of the same name. Folders, because they are created atomically, allow any name, and no
program takes one for a picture.
"""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import WriteError

__all__ = ["MARKERS", "Written", "check_place", "is_output_folder", "note_output", "written_in"]

WHOLE = ".mtcnn-outputs"
PARTS = ".mtcnn-written"
MARKERS = (WHOLE, PARTS)


@dataclass(frozen=True)
class Written:
    """The names of a folder that are outputs: all of them, or those in `names`."""

    all: bool
    names: frozenset[str] = frozenset()

    def __contains__(self, name: object) -> bool:
        return self.all or name in self.names


def written_in(folder: Path) -> Container[str]:
    """The names in a folder that are outputs of this project."""
    if is_output_folder(folder):
        return Written(True)
    try:
        return Written(False, frozenset(os.listdir(folder / PARTS)))
    except OSError:
        return Written(False)


def is_output_folder(folder: Path) -> bool:
    """Whether a folder is marked as a whole."""
    return os.path.isdir(folder / WHOLE)  # other than `Path.is_dir` it takes names of any length


def check_place(path: Path, fix: str = "check the path", folder: bool = False) -> None:
    """Raises WriteError if no file could be written to `path`, whose folders would be made: before the work, not
    after it.

    fix     what the user can do.
    folder  `path` is a folder for files, which need not exist.
    """
    if path.is_dir() and not folder:
        raise WriteError(f"{path} cannot be written (Is a directory); {fix}")
    above = next(
        each for each in (path.absolute() / "file" if folder else path.absolute()).parents if os.path.lexists(each)
    )
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "may not be written to" if above.is_dir() else "is no folder"
        raise WriteError(f"{path} cannot be written ({above} {why}); {fix}")


def note_output(path: Path, own_folder: bool = True) -> None:
    """Mark a file that is about to be written as an output. Its folder is made where missing.

    own_folder  the folder was named as the place for outputs, so it may be marked as a whole when it is empty.

    Errors are ignored: writing the file will report them.
    """
    folder = path.parent
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if is_output_folder(folder):
            return
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
        mark = folder / WHOLE if empty and own_folder else folder / PARTS / path.name
        mark.mkdir(parents=True, exist_ok=True)
