"""Reads cells of text and numbers from MATLAB .mat files of version 5, with bounds checks.

scipy reads these files too, but a damaged one can crash the process, and a small one can take any amount of memory.
Here every size is checked against the bytes available; nesting and decompressed size are limited.

Source: "MAT-File Format", The MathWorks, chapter 1, "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

__all__ = ["read_mat"]

LARGEST = 1 << 28  # bytes of a file; the official ground truth of WIDER FACE has less than one per cent of it
RATIO, SPARE = 32, 1 << 24  # bytes that compressed parts may unfold to: so many times the file's, and some
MAX_DEPTH = 8
MAX_DIMS = 8
HEADER = 128

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
CELL, CHAR, FIRST_NUMBER, LAST_NUMBER = 1, 4, 6, 15  # classes of a matrix
COMPLEX = 0x0800  # flag


def read_mat(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The variables `names` of a file, as far as they are there.

    A cell array of any shape is a list, column by column; text is a str; numbers are an array (rows, columns).

    Raises DataError for a file that cannot be read, is damaged, or has something else in these variables.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        if data[:8] == b"MATLAB 7" or data[512:520] == b"\x89HDF\r\n\x1a\n":
            raise ValueError("MATLAB 7.3; save it with -v7")
        return _MatReader(data).variables(names)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a .mat file") from error
    except (ValueError, LookupError, OverflowError, MemoryError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a .mat file of version 5 ({error}); copy it again") from error


class _MatReader:
    def __init__(self, data: bytes) -> None:
        order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
        if order is None:
            raise ValueError("no such header")
        self._data, self._order = data, order
        self._left = RATIO * len(data) + SPARE

    def variables(self, names: Collection[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, content in self._elements(self._data[HEADER:]):
            if kind == COMPRESSED:
                kind, content = next(self._elements(self._unfolded(content)), (0, b""))
            if kind == MATRIX:
                name = self._name(content)
                if name in names:
                    found[name] = self._matrix(content, 0)
        return found

    def _unfolded(self, content: bytes) -> bytes:
        unfold = zlib.decompressobj()
        out = unfold.decompress(content, self._left)
        self._left -= len(out)
        if not unfold.eof:
            raise ValueError("a part that is cut off, or unfolds to far more bytes than it has")
        return out

    def _elements(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(type, content) of the elements that lie one behind the other."""
        at = 0
        while at < len(data):
            kind, size = struct.unpack_from(f"{self._order}II", data, at)
            start = at + 8
            end = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
            if kind >> 16:  # a small one, with its content inside the tag
                kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
                if size > 4:
                    raise ValueError(f"a small part of {size} bytes")
            if start + size > len(data):
                raise ValueError(f"a part of {size} bytes where {len(data) - start} are left")
            yield kind, data[start : start + size]
            at = end

    def _name(self, content: bytes) -> str:
        parts = self._elements(content)
        return next((part.decode("latin1") for i, (_, part) in enumerate(parts) if i == 2), "")

    def _matrix(self, content: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"cells within cells, more than {MAX_DEPTH} deep")
        if not content:  # an empty cell
            return np.zeros((0, 0))
        parts = self._elements(content)
        (_, flags), (kind, dims), (_, _name) = (next(parts, (0, b"")) for _ in range(3))
        (word,) = struct.unpack_from(f"{self._order}I", flags)
        shape = tuple(int(side) for side in np.frombuffer(dims, f"{self._order}i4"))
        if kind != 5 or not 2 <= len(shape) <= MAX_DIMS or min(shape) < 0:
            raise ValueError(f"an array of {len(shape)} dimensions")
        count, of = math.prod(shape), word & 0xFF
        if of == CELL:
            return self._cells(list(parts), count, depth)
        if word & COMPLEX or not (of == CHAR or FIRST_NUMBER <= of <= LAST_NUMBER):
            raise ValueError(f"an array of class {of}")
        kind, values = next(parts, (0, b""))
        return self._text(kind, values, count) if of == CHAR else self._numbers(kind, values, shape)

    def _cells(self, parts: list[tuple[int, bytes]], count: int, depth: int) -> list[Any]:
        if len(parts) != count or any(kind != MATRIX for kind, _ in parts):
            raise ValueError(f"{len(parts)} cells where there are {count}")
        return [self._matrix(part, depth + 1) for _, part in parts]

    def _text(self, kind: int, values: bytes, count: int) -> str:
        if kind not in _TEXTS and values:
            raise ValueError(f"text of type {kind}")
        coding = _TEXTS.get(kind, "latin1")
        order = {"<": "-le", ">": "-be"}[self._order] if coding in ("utf-16", "utf-32") else ""
        text = values.decode(coding + order)
        if len(text) != count:
            raise ValueError(f"text of {len(text)} letters where there are {count}")
        return text

    def _numbers(self, kind: int, values: bytes, shape: tuple[int, ...]) -> Any:
        if kind not in _NUMBERS:
            raise ValueError(f"numbers of type {kind}")
        return np.frombuffer(values, self._order + _NUMBERS[kind]).reshape(shape, order="F")
