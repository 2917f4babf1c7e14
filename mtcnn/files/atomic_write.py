"""Atomic writes: who reads a file finds the old one or the new one, and never half of it."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["draft_of", "write_whole"]

ABANDONED = 600.0  # seconds that nobody has written to a draft: its writer was killed


@contextmanager
def draft_of(path: Path, suffix: str = "") -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end, or is gone when something was raised.

    suffix  that the name of the draft must have, for writers that go by it.

    No other process writes to it, so that several may make the same file at once. The folder is made where missing;
    drafts that killed processes left there, which may be gigabytes, are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.draft{glob.escape(suffix)}"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            left.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft{suffix}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file atomically; its folder must exist. Drafts of killed processes are not looked for.

    `draft_of` lists the folder for them, which for each of 100,000 pictures in one folder would take hours.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
