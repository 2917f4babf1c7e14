"""Reads untrusted text up to a limit, so that neither a device nor a sparse file can exhaust memory."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ..errors import DataError

__all__ = ["read_text"]

LARGEST = 1 << 28  # bytes; the labels of WIDER FACE's training images have 10 million
LONGEST = 1 << 16  # letters of a line: longer ones are no rows of labels, and Python's csv takes twice as many


def read_text(
    path: str | PathLike[str], encoding: str = "utf-8", largest: int = LARGEST, longest: int | None = LONGEST
) -> str:
    """The text of a file; bytes that are none become U+FFFD.

    Raises DataError when it cannot be read, is larger than `largest` bytes, or has a line of more than `longest` bytes
    (None: any line will do, as in JSON).
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({why}); expected a text file") from None
    if len(data) > largest:
        raise DataError(f"{path}: has more than {largest} bytes; expected a text file")
    if longest is not None and len(data) > longest:
        _check_lines(path, data, longest)
    return data.decode(encoding, errors="replace")


def _check_lines(path: str | PathLike[str], data: bytes, longest: int) -> None:
    number, start = 1, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > longest:
            raise DataError(f"{path}:{number}: a line of {end - start} bytes; expected rows of text, at most {longest}")
        number, start = number + 1, end + 1
