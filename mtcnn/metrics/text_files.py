"""Lines and numbers of the text files that evaluations read and write."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtcnn.errors import MtcnnError
from mtcnn.files.atomic_write import Before, write_whole
from mtcnn.files.text import read_text
from mtcnn.metrics.problems import Problems

__all__ = ["csv_rows", "numbers", "read_lines", "write_text"]


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file without line ends. Raises DataError if it cannot be read, or is not text."""
    return read_text(path).splitlines()


def csv_rows(path: str | Path, reader: Any, problems: Problems) -> Iterator[list[str]]:
    """The non-empty rows of a `csv.reader`. An unterminated quote swallows the rest, and is reported."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(path, f"{error}; the row that ends here left out", reader.line_num)
            continue
        if row:
            yield row


def numbers(line: str) -> list[float] | None:
    """The numbers of a line, or None if a word is not a number (as in the name of an image)."""
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def write_text(path: str | Path, text: str, before: Before | None = None) -> Path:
    """Writes a text file atomically, see `write_whole`; parent folders are created.

    Raises MtcnnError if it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8", "surrogateescape"), before)  # a name that is not valid UTF-8, as stored
    except OSError as error:
        raise MtcnnError(f"{path}: cannot be written ({error.strerror}); expected a path to a new file") from None
    return path
