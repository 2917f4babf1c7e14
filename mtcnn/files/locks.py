"""Locks between processes. A lock ends with its process, killed or not, so that none has to be cleared by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import MtcnnError

try:
    import fcntl
except ImportError:  # on Windows, where processes are not kept apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock", "alone_in"]

LOCK = ".mtcnn-lock"


class FileLock:
    """The lock of a file, which is made where missing. The file stays: to delete it would let in two at once.

    File systems without locks, as some of networks are, let everybody in.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # for the umask to narrow

    def acquire(self, shared: bool = False) -> bool:
        """Take the lock, alone or with others that share it; at once, or not at all: whether it was taken.

        A lock that is held already changes its kind.
        """
        try:
            if fcntl is not None:
                fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here
            pass
        return True

    def is_there(self) -> bool:
        """Whether its file still has its name: otherwise others lock another one."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)

    def remove(self) -> None:
        """Delete the file, then release the lock: in between, nobody can take it."""
        if fcntl is None:  # Windows deletes no open file
            self.close()
            self._path.unlink()
            return
        self._path.unlink()
        self.close()


@contextmanager
def alone_in(folder: Path, setting: str) -> Iterator[None]:
    """Keep other processes out of a folder that is written to; `setting` names it to the user.

    It is made where missing, and gone afterwards if nothing was written. Raises MtcnnError where another process is in.
    """
    new, free = not folder.exists(), False
    lock = FileLock(folder / LOCK)
    try:
        free = lock.acquire()
        while free and not lock.is_there():  # another process has just removed the folder that it had made
            lock.close()
            new, lock = True, FileLock(folder / LOCK)
            free = lock.acquire()
        if not free:
            raise MtcnnError(
                f"{folder}: another process of mtcnn writes to it; expected a folder for each; wait for its end, or "
                f"name another folder as `{setting}`"
            )
        yield
    finally:
        with suppress(OSError):  # someone may have deleted the folder meanwhile
            if free and new and os.listdir(folder) == [LOCK]:  # otherwise the lock is of another process
                (folder / LOCK).unlink()
                folder.rmdir()
        lock.close()
