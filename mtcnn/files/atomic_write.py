"""Atomic writes: a reader finds the old file or the new one, never a partial one."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["Before", "atomic_write", "draft_of", "is_draft", "naming", "write_whole", "written_by"]

Before = Callable[[Path, Path], None]
"""Called with the path of a file and its whole draft, which is about to replace it."""

ABANDONED = 600.0  # seconds since the last write after which a draft counts as left by a killed process
_NAME = re.compile(r"\..+\.([0-9a-f]{6})-(\d{1,9})\.draft(\.\w+)?")  # of a draft: system, process
_UNKNOWN = "000000"  # a system that says too little to know its processes again
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
_cleared: set[Path] = set()  # folders in which this process has looked for drafts of others


@contextmanager
def atomic_write(path: Path, suffix: str = "", before: Before | None = None) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to `path` on success, deleted if the block raises.

    suffix  file name suffix of the temporary file, for writers that choose a format by it.
    before  called before the rename, unless the block raises.

    The name holds the process id, so several processes may write the same file at once. The folder is created if
    missing. Temporary files of `path` left by killed processes, which may be gigabytes, are deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent.glob(f".{glob.escape(path.name)}.*.draft*"))
    with written_by(path, suffix, before) as draft:
        yield draft


@contextmanager
def written_by(path: Path, suffix: str = "", before: Before | None = None) -> Iterator[Path]:
    """`atomic_write` for one of many files: the folder must exist, and is not listed each time, which would take hours
    for 100,000 images in one."""
    draft = draft_of(path, suffix)
    with _named(path, draft):
        yield draft
        if before is not None:
            before(path, draft)
        os.replace(draft, path)


def write_whole(path: Path, data: bytes, before: Before | None = None) -> None:
    """Write a small file as `written_by` does."""
    with written_by(path, before=before) as draft:
        draft.write_bytes(data)


def draft_of(path: Path, suffix: str = "") -> Path:
    """The temporary path of this process for `path`.

    Those of killed processes are deleted when a process asks for its first one in a folder.
    """
    if path.parent not in _cleared:
        _cleared.add(path.parent)
        with suppress(OSError):
            _clear(path.with_name(name) for name in os.listdir(path.parent) if _NAME.fullmatch(name))
    return path.with_name(f".{path.name}.{_system()}-{os.getpid()}.draft{suffix}")


def is_draft(path: Path) -> bool:
    """Whether a file has the name of a draft, of any process."""
    return _NAME.fullmatch(path.name) is not None


def _clear(drafts: Iterable[Path]) -> None:
    """Delete those of killed processes."""
    for draft in drafts:
        with suppress(OSError):  # another process has just renamed it, or it is another user's
            if _is_abandoned(draft):
                draft.unlink()


def _is_abandoned(draft: Path) -> bool:
    """Whether its process has ended, or has not written to it for so long that it must have."""
    if time.time() - draft.lstat().st_mtime > ABANDONED:
        return True
    found = _NAME.fullmatch(draft.name)
    if found is None or found[1] != _system() or found[1] == _UNKNOWN:
        return False
    try:
        os.kill(int(found[2]), 0)  # sends nothing
    except ProcessLookupError:
        return True
    except OSError:  # the process of another user
        pass
    return False


@lru_cache(maxsize=1)
def _system() -> str:
    """Names this start of the machine, and the container, in which a process id means one process."""
    try:
        place = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return _UNKNOWN
    return hashlib.sha256(place.encode()).hexdigest()[:6]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of a full disk or a quota, which name no file, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


@contextmanager
def _named(path: Path, draft: Path) -> Iterator[None]:
    """Delete the draft in the end; errors about it name the file that the user knows."""
    try:
        with naming(path):
            yield
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(draft):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # a file system that is read-only would be reported of the draft, which nobody knows
            draft.unlink()
