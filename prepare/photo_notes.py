"""A cache of facts about photos: reading thousands of photos at each start takes seconds to minutes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from mtcnn.errors import ImageError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.files.stamps import stamp_of
from mtcnn.progress import progress

from . import synthetic

__all__ = ["PhotoNotes"]


class PhotoNotes:
    """Integers by photo, valid as long as the photo's file size and modification time are unchanged.

    A subclass defines them: `look` returns `length` numbers of at least `lowest` for a photo.

    file         the cache; None for none. A missing or damaged one counts as empty.
    cached_only  photos that are not in the cache are not read: they count as unreadable.
    """

    name: ClassVar[str]  # of the numbers in the file
    length: ClassVar[int]
    lowest: ClassVar[int]
    format: ClassVar[int] = 1  # increase it when `look` gives other numbers for the same files
    save_every: ClassVar[float] = math.inf  # seconds of looking after which `numbers` saves: what a kill costs

    def __init__(self, file: Path | None = None, cached_only: bool = False) -> None:
        self._cached_only = cached_only
        self._file, self._known = file, {} if file is None else self._read(file)
        self._learned = False

    def look(self, path: Path) -> Sequence[int]:
        """The numbers of a photo. Raises ImageError if it cannot be read."""
        raise NotImplementedError

    def numbers(self, paths: Iterable[Path], bar: str | None = None) -> dict[Path, list[int] | None]:
        """Numbers by path; None for unreadable photos and synthetic scenes.

        bar  title of a progress bar over the photos to read; None for no bar.
        """
        stamps = {path: [] if synthetic.is_synthetic(path) else stamp_of(path) for path in paths}
        found = {path: self._remembered(path, stamp) for path, stamp in stamps.items()}
        readable = {path for path, stamp in stamps.items() if stamp and not self._cached_only}
        unknown = [path for path in found if path in readable and found[path] is None]
        with ThreadPoolExecutor(4) as pool:
            try:
                seen = zip(unknown, pool.map(self._look, unknown), strict=True)
                quiet = bar is None or not unknown
                self._learn(progress(seen, name=bar or "", total=len(unknown), quiet=quiet), stamps, found)
            except BaseException:  # Ctrl-C: the photos that are left are not looked at
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _learn(
        self,
        seen: Iterable[tuple[Path, list[int] | None]],
        stamps: Mapping[Path, list[int]],
        found: dict[Path, list[int] | None],
    ) -> None:
        saved = time.monotonic()
        for path, numbers in seen:
            found[path] = numbers
            if numbers is not None:
                self._known[str(path)] = [*stamps[path], *numbers]
                self._learned = True
            if time.monotonic() - saved > self.save_every:
                self.save()
                saved = time.monotonic()

    def save(self) -> None:
        """Write new numbers to the file, atomically. If it cannot be written, they are lost without an error."""
        if self._file is None or not self._learned:
            return
        with suppress(OSError), atomic_write(self._file) as draft:
            draft.write_text(json.dumps({"format": self.format, self.name: self._known}))
            self._learned = False

    def _look(self, path: Path) -> list[int] | None:
        try:
            return list(self.look(path))
        except ImageError:  # reported when its pixels are needed
            return None

    def _remembered(self, path: Path, stamp: list[int]) -> list[int] | None:
        row = self._known.get(str(path))
        return row[2:] if row is not None and stamp == row[:2] else None

    def _read(self, file: Path) -> dict[str, list[int]]:
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        rows = content.get(self.name) if isinstance(content, dict) and content.get("format") == self.format else None
        return rows if isinstance(rows, dict) and all(self._is_row(row) for row in rows.values()) else {}

    def _is_row(self, row: object) -> bool:
        """Whether it is [file size, modification time, numbers...]."""
        whole = isinstance(row, list) and len(row) == 2 + self.length and all(type(number) is int for number in row)
        return whole and min(row[2:]) >= self.lowest  # type: ignore[index]  # a list, as checked
