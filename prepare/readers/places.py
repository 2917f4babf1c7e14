"""The files and folders that sources name."""

from __future__ import annotations

import os
from pathlib import Path

from mtcnn.errors import DataError

__all__ = ["is_folder", "place_of"]

SHOWN = 80  # letters of a path in a message


def place_of(text: str) -> Path:
    """The path that a part of a source names, with ~ for a home folder; there need be nothing.

    Raises DataError for what cannot be a path here: the home of an unknown user, or a name that is too long.
    """
    try:
        path = Path(text).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such home; ValueError: a zero byte
        shown = text[:SHOWN] + ("..." if len(text) > SHOWN else "")
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
        raise DataError(f"{shown}: cannot be looked up ({why}); expected the path of a file or folder") from None
    return path


def is_folder(text: str) -> bool:
    """Whether a part of a source names a folder that is there."""
    try:
        return os.path.isdir(place_of(text))
    except DataError:
        return False
