"""Lines and numbers of the text files that evaluations read."""

from __future__ import annotations

from pathlib import Path

from mtcnn.errors import DataError

__all__ = ["numbers", "read_lines"]


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file without their ends. Raises DataError when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a text file") from None


def numbers(line: str) -> list[float] | None:
    """The numbers of a line, or None when a word of it is not a number (as in the name of an image)."""
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None
