"""Folders that are written at once: new or empty before, and whole afterwards, or as they were.

What a killed run left is deleted by the next one, if nobody has changed it or added to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtcnn.errors import DataError, MtcnnError
from mtcnn.files.atomic_write import Before, is_draft
from mtcnn.files.locks import FileLock

from .written_files import WrittenFiles

__all__ = ["is_free", "written_whole"]

MARK = ".mtcnn-unfinished"  # in a folder that is being written: the record of its files, locked by who writes


def is_free(folder: Path) -> bool:
    """Whether a folder may be written: new, empty, or what a killed run left.

    Raises DataError for an unfinished folder with a file that the killed run did not write, or that was changed since.
    """
    if not os.path.lexists(folder):
        return True
    if not folder.is_dir():
        return False
    if not (folder / MARK).is_file():
        return not any(folder.iterdir())
    files = _files(folder)  # before the record is read: another process may be adding to both
    _check(files, WrittenFiles(folder, MARK))
    return True


@contextmanager
def written_whole(folder: Path) -> Iterator[Before]:
    """`folder`, which `is_free`, made; and without what was written if the block raises, Ctrl-C included.

    Yields what each writer of a file in it is given as `before`. Raises DataError as `is_free` does, MtcnnError if
    another process writes to the folder.
    """
    there, killed = folder.exists(), (folder / MARK).exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / MARK)
    if not (lock.acquire() and lock.is_there()):  # or another one has just finished
        lock.close()
        raise MtcnnError(
            f"{folder}: another process of mtcnn writes to it; expected a folder for each; wait for its end, or name "
            "another folder"
        )
    written = WrittenFiles(folder, MARK)
    try:
        _check(_files(folder), written)
    except DataError:
        if killed:
            lock.close()
        else:
            lock.remove()
        raise
    try:
        _delete(_files(folder), folder)
        yield written.note
    except BaseException:
        _delete(filter(written.is_known, _files(folder)), folder)
        lock.remove()
        if not there:
            with suppress(OSError):  # somebody else has put something in it
                folder.rmdir()
        raise
    lock.remove()


def _files(folder: Path) -> list[Path]:
    """All files and links in a folder but the record."""
    found = []
    for root, folders, names in os.walk(folder):
        found += [Path(root, name) for name in names]
        found += [path for path in (Path(root, name) for name in folders) if path.is_symlink()]
    return [path for path in found if path != folder / MARK]


def _check(files: Iterable[Path], written: WrittenFiles) -> None:
    for path in files:
        if not (is_draft(path) or written.is_unchanged(path)):
            raise DataError(
                f"{written.folder}: a run that was killed left it unfinished, and {written.name_of(path)} in it is not "
                "as that run wrote it; expected its own files alone, which are replaced; move that file elsewhere"
            )


def _delete(files: Iterable[Path], folder: Path) -> None:
    """Delete files of a folder, and folders that are empty then."""
    for path in files:
        path.unlink()
    for root, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with suppress(OSError):  # not empty, or a link
                os.rmdir(os.path.join(root, name))
