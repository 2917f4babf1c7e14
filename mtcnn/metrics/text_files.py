"""Lines and numbers of the text files that evaluations read and write."""

from __future__ import annotations

from pathlib import Path

from mtcnn.errors import DataError, MtcnnError

__all__ = ["numbers", "read_lines", "write_text"]


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


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file, and the folders above it where missing; a killed run leaves all of it, or nothing.

    Raises MtcnnError when that cannot be done.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text(text, encoding="utf-8", errors="surrogateescape")  # a name that is no text, as it is stored
        part.replace(path)
    except OSError as error:
        raise MtcnnError(f"{path}: cannot be written ({error.strerror}); expected a path to a new file") from None
    return path
