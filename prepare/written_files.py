"""A record of the files that were written to a folder: none is replaced or deleted that was changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import naming

__all__ = ["WrittenFiles"]


class WrittenFiles:
    """The files written to a folder, with their hashes: a file of another content was changed since.

    name  of the record in the folder.

    The hash of a file is stored before the file is replaced, so that a killed run knows its own files.
    """

    def __init__(self, folder: Path, name: str = "written.jsonl") -> None:
        self.folder, self._path = folder, folder / name
        self._known: dict[str, set[str]] = {}
        data = self._path.read_bytes() if self._path.is_file() else b""
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            try:
                row = json.loads(line)
                self._known.setdefault(str(row["file"]), set()).add(str(row["sha256"]))
            except (ValueError, KeyError, TypeError, RecursionError):  # a killed run was about to write it
                continue

    def check(self, files: Iterable[Path]) -> None:
        """Raises DataError for a file that is there, and not as it was written."""
        for path in files:
            if not os.path.lexists(path):
                continue
            if not self.is_known(path):
                raise DataError(
                    f"{path} exists, and no earlier call wrote it; expected a new `folder`, as it may be of others"
                )
            if not self.is_unchanged(path):
                raise DataError(
                    f"{path} was changed since it was written; expected a new `folder`, as it may hold corrected labels"
                )

    def is_known(self, path: Path) -> bool:
        """Whether a file of this name was written, changed since or not."""
        return self.name_of(path) in self._known

    def is_unchanged(self, path: Path) -> bool:
        """Whether a file, which must be there, is as it was written."""
        return _digest(path) in self._known.get(self.name_of(path), ())

    def note(self, path: Path, draft: Path) -> None:
        """Store the hash of a draft that is about to replace a file: a `Before`."""
        name, digest = self.name_of(path), _digest(draft)
        if digest in self._known.get(name, ()):
            return
        line = json.dumps({"file": name, "sha256": digest}, separators=(",", ":"))
        with naming(self._path), self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("\n" * self._torn + f"{line}\n")
        self._torn = False
        self._known.setdefault(name, set()).add(digest)

    def name_of(self, path: Path) -> str:
        """The name of a file in the folder, with / between folders."""
        return path.relative_to(self.folder).as_posix()


def _digest(path: Path) -> str:
    """Of a file's content; of a link, where it leads."""
    if path.is_symlink():
        return hashlib.sha256(b"link to " + os.fsencode(os.readlink(path))).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
