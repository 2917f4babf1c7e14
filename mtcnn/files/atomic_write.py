"""Atomic writes: a reader finds the old file or the new one, never a partial one."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Before", "atomic_write", "write_whole"]

Before = Callable[[Path, Path], None]
"""Called with the path of a file and its whole draft, which is about to replace it."""

ABANDONED = 600.0  # seconds since the last write after which a draft counts as left by a killed process


@contextmanager
def atomic_write(path: Path, suffix: str = "", before: Before | None = None) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to `path` on success, deleted if the block raises.

    suffix  file name suffix of the temporary file, for writers that choose a format by it.
    before  called before the rename, unless the block raises.

    The name holds the process id, so several processes may write the same file at once. The folder is created if
    missing. Temporary files left by killed processes, which may be gigabytes, are deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.draft{glob.escape(suffix)}"):
        with suppress(FileNotFoundError):  # another process has just renamed it
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft{suffix}")
    with _named(path, draft):
        yield draft
        if before is not None:
            before(path, draft)
        os.replace(draft, path)


def write_whole(path: Path, data: bytes, before: Before | None = None) -> None:
    """Write a small file atomically; its folder must exist. Temporary files of killed processes stay.

    `atomic_write` lists the folder to find them, which would take hours for 100,000 images in one folder.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with _named(path, draft):
        draft.write_bytes(data)
        if before is not None:
            before(path, draft)
        os.replace(draft, path)


@contextmanager
def _named(path: Path, draft: Path) -> Iterator[None]:
    """Delete the draft in the end; errors about it name the file that the user knows."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(draft):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        draft.unlink(missing_ok=True)
