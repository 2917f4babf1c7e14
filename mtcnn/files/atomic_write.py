"""Files that appear whole: who reads one finds the old file or the new one, and never half of it."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["draft_of"]

ABANDONED = 600.0  # seconds that nobody has written to a draft: its writer was killed


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end, or is gone when something was raised.

    No other process writes to it, so that several may make the same file at once. The folder is made where missing;
    drafts that killed processes left there, which may be gigabytes, are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            left.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
