"""Which files `mtcnn label` writes, and a record of those it wrote: none is replaced that was corrected since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import naming

from ..photo_names import check_listed, common_folder, listed_name, name_key
from ..writers import OF_ALL, OF_EACH, yolo

__all__ = ["NOTE", "WrittenLabels", "label_files"]

NOTE = "teachers.json"


def label_files(form: str, photos: Sequence[Path], folder: Path) -> list[Path]:
    """The files that labels of photos in the format `form`, one of `writers.WRITERS`, replace in a folder.

    Raises DataError for two photos whose labels would have the same file, and for names that labels cannot hold.
    """
    root, files = common_folder(photos), [folder / name for name in (*OF_ALL[form], NOTE)]
    photo_of: dict[str, Path] = {}
    for photo in photos:
        name = listed_name(photo, root)
        if form != "wider":  # a file a photo, which may have any name
            check_listed(photo, name)
        if form not in OF_EACH:
            continue
        file = OF_EACH[form](photo, name)
        other = photo_of.setdefault(name_key(file), photo)
        if other != photo:
            raise DataError(
                f"{photo} and {other} would both have the labels {file}; expected photos of different names; rename "
                "one, or name another format"
            )
        files.append(folder / file)
        link = folder / "images" / name
        if form == "yolo" and link.is_symlink() and not yolo.is_linked(photo, link):
            files.append(link)
    return files


class WrittenLabels:
    """The files of labels written to a folder, with their hashes: a file of another content was changed since.

    The hash of a file is stored before the file is replaced, so that a killed run knows its own files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / "written.jsonl"
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
            known = self._known.get(self._name(path))
            if known is None:
                raise DataError(
                    f"{path} exists, and no earlier call wrote it; expected a new `folder`, as it may be of others"
                )
            if _digest(path) not in known:
                raise DataError(
                    f"{path} was changed since it was written; expected a new `folder`, as it may hold corrected labels"
                )

    def note(self, path: Path, draft: Path) -> None:
        """Store the hash of a draft that is about to replace a file: a `Before`."""
        name, digest = self._name(path), _digest(draft)
        if digest in self._known.get(name, ()):
            return
        line = json.dumps({"file": name, "sha256": digest}, separators=(",", ":"))
        with naming(self._path), self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("\n" * self._torn + f"{line}\n")
        self._torn = False
        self._known.setdefault(name, set()).add(digest)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _digest(path: Path) -> str:
    """Of a file's content; of a link, where it leads."""
    if path.is_symlink():
        return hashlib.sha256(b"link to " + os.fsencode(os.readlink(path))).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
