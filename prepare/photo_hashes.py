"""Perceptual hashes of photos, to find near-duplicates and evaluation photos.

The hash is a difference hash of 64 bits (`mtcnn.images.difference_hash`). Re-encoding a photo, or halving its size,
changes at most one bit for most photos; docs/decisions.md has the figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.files.text import read_text
from mtcnn.images import difference_hash

from .photo_notes import PhotoNotes

__all__ = ["NEAR", "EvalHashes", "PhotoHashes", "near_pairs", "packaged_hashes"]

Hashes = NDArray[np.uint64]

NEAR = 2  # bits that two hashes of one photo may differ in
_BANDS = ((0, 22), (22, 21), (43, 21))  # first bit, length: hashes that differ in NEAR bits agree in one of NEAR + 1
_ROWS = 1024  # hashes compared with all others at once
_ONES = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


class PhotoHashes(PhotoNotes):
    """Hashes of photos by path."""

    name, length, lowest = "hashes", 1, 0
    save_every = 60.0  # whole photos are decoded, some thousands a minute

    def look(self, path: Path) -> tuple[int]:
        return (difference_hash(path),)

    def of(self, paths: Iterable[Path], bar: str | None = None) -> dict[Path, int | None]:
        """Hashes by path; None for unreadable photos and synthetic scenes."""
        return {path: None if row is None else row[0] for path, row in self.numbers(paths, bar).items()}

    def _is_row(self, row: object) -> bool:
        return super()._is_row(row) and row[2] < 1 << 64  # type: ignore[index]


def distances(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """Number of bits in which hashes differ: uint64 of any shapes that broadcast."""
    different = np.bitwise_xor(a, b)
    parts = np.ascontiguousarray(different)[..., None].view(np.uint16)  # (...) -> (..., 4)
    return np.asarray(_ONES[parts].sum(axis=-1, dtype=np.int64))


def near_pairs(hashes: Hashes) -> NDArray[np.int64]:
    """Pairs (P, 2) of rows, the earlier first and in order, whose hashes differ in at most NEAR bits.

    Such hashes agree in at least one of NEAR + 1 parts of their bits: only these are compared.
    """
    found: set[tuple[int, int]] = set()
    for first, length in _BANDS:
        part = (hashes >> np.uint64(first)) & np.uint64((1 << length) - 1)
        order = np.argsort(part, kind="stable")
        part, ordered = part[order], hashes[order]
        for step in range(1, len(hashes)):
            same = np.flatnonzero(part[:-step] == part[step:])
            if not len(same):
                break
            same = same[distances(ordered[same], ordered[same + step]) <= NEAR]
            found.update(zip(order[same].tolist(), order[same + step].tolist(), strict=True))
    pairs = sorted((min(pair), max(pair)) for pair in found)
    return np.array(pairs, np.int64).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class EvalHashes:
    """Hashes of evaluation photos, which are excluded from training.

    hashes   uint64 (E,).
    allowed  hashes of photos that only look like one of these.
    """

    hashes: Hashes
    allowed: frozenset[int] = frozenset()

    @classmethod
    def read(cls, files: Iterable[Path]) -> EvalHashes:
        """Read text files with one hash per line, 16 hexadecimal digits. Anything after a space, and lines that begin
        with #, are comments. A hash after ! is allowed. Raises DataError for any other line, and for a missing file.
        """
        hashes: set[int] = set()
        allowed: set[int] = set()
        for file in files:
            for number, line in enumerate(_lines(file), 1):
                word = line.split()[0] if line.strip() and not line.startswith("#") else ""
                if word:
                    (allowed if word[0] == "!" else hashes).add(_hash(file, number, word.removeprefix("!")))
        return cls(np.array(sorted(hashes), np.uint64), frozenset(allowed))

    def near(self, hashes: Sequence[int | None]) -> NDArray[np.bool_]:
        """Which of these hashes (N,) are near one of the evaluation; None is not."""
        found = np.zeros(len(hashes), bool)
        known = np.flatnonzero([value is not None and value not in self.allowed for value in hashes])
        values = np.array([hashes[row] for row in known.tolist()], np.uint64)
        for first in range(0, len(known) if len(self.hashes) else 0, _ROWS):
            rows = slice(first, first + _ROWS)
            found[known[rows]] = (distances(values[rows, None], self.hashes[None]) <= NEAR).any(axis=1)
        return found


def packaged_hashes() -> Path:
    """The file of the photos on which the figures of this project are measured."""
    return Path(__file__).with_name("eval-hashes.txt")


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise DataError(f"{file}: no such file of hashes; expected a text file; give the path of an existing one")
    return read_text(file, "utf-8-sig").splitlines()


def _hash(file: Path, number: int, word: str) -> int:
    if not re.fullmatch("[0-9a-fA-F]{16}", word):
        raise DataError(f"{file}:{number}: {word[:40]!r} is no hash; expected 16 hexadecimal digits, one hash a line")
    return int(word, 16)
