"""What a file was when it was looked at: results that were kept of it hold as long as it is the same."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["stamp_of"]


def stamp_of(file: Path) -> list[int]:
    """Size in bytes and modification time in nanoseconds, which differ when a file has changed; empty where there is
    none."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return []
    return [status.st_size, status.st_mtime_ns]
