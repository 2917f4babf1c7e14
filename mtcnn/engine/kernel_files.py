"""Locations of compiled kernels and of plans, and which of the files are trusted.

An object file is machine code from anyone who could write it. It is only run if nobody else could: file and folder
belong to this user, to root, or to the owner of this package, and are not writable by group or others. A folder that is
writable by others, or given by a relative path, is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from functools import lru_cache
from pathlib import Path

__all__ = ["folders", "read", "write"]

UNUSED = 90 * 86400.0  # seconds after which kernels of other versions are deleted; those in use are touched once a day
_DAY = 86400.0
_NAME = re.compile(r"\.?[a-z_0-9-]+-[0-9a-f]{16}-[0-9a-f]{16}\.(o|plan)(\.\d+\.\d+)?")  # or a draft of a killed process
_DIGEST = 32  # bytes in front of the code
# No symlinks, no blocking on pipes, no newline conversion; 0 for flags that the system lacks.
_NO_SURPRISES = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))


def folders() -> list[Path]:
    """Folders for kernels, the first to be used first: those of NUMBA_CACHE_DIR, of the package, of the user.

    Without a home the last is left out.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    user = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    found = [Path(given) / "mtcnn"] if given else [Path(__file__).parent / "__pycache__"]
    return [folder for folder in (*found, Path(user) / "mtcnn") if folder.is_absolute()]


def read(path: Path) -> bytes | None:
    """Code stored by `write`; None if missing, damaged, or possibly written by somebody else."""
    with contextlib.suppress(OSError):
        if not _is_safe_folder(path.parent):
            return None
        file = os.open(path, os.O_RDONLY | _NO_SURPRISES)
        with open(file, "rb") as stream:
            state = os.fstat(file)
            if not (stat.S_ISREG(state.st_mode) and _is_safe(state)):
                return None
            content = stream.read()
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            if time.time() - state.st_mtime > _DAY:
                with contextlib.suppress(OSError):  # somebody else's, such as root's
                    os.utime(path)
            return content[_DIGEST:]
    return None


def write(path: Path, code: bytes) -> bool:
    """Write code atomically. False if that fails or the folder is not safe.

    Files of other versions and processors are deleted once unused for UNUSED seconds.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.time_ns()}")
    try:
        _make_folder(path.parent)
        if not _is_safe_folder(path.parent):
            return False
        # Mode 644 at most, whatever the umask: a group-writable file would not be trusted again.
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_SURPRISES, 0o644)
        with open(file, "wb") as stream:
            stream.write(hashlib.sha256(code).digest() + code)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    _remove_unused(path)
    return True


def _make_folder(folder: Path) -> None:
    if folder.name == "__pycache__":  # which others read as well
        folder.mkdir(parents=True, exist_ok=True)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        return
    state = os.stat(folder)
    if os.name == "posix" and state.st_uid == os.geteuid() and state.st_mode & 0o022:
        # Made by an earlier version under a wide umask. What others may have put there has another owner.
        os.chmod(folder, stat.S_IMODE(state.st_mode) & ~0o022)


def _remove_unused(path: Path) -> None:
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            if _NAME.fullmatch(other.name) and other != path:
                with contextlib.suppress(OSError):
                    if time.time() - other.lstat().st_mtime > UNUSED:
                        other.unlink()


# ---- trust


@lru_cache
def _owners(user: int) -> frozenset[int]:
    """Trusted owners: this user, root, and the owner of this package."""
    return frozenset({user, 0, os.stat(__file__).st_uid})


def _is_safe(state: os.stat_result) -> bool:
    """Whether only trusted owners could have written this file, or in this folder."""
    if os.name != "posix":  # folders of users are closed to each other there
        return True
    return state.st_uid in _owners(os.geteuid()) and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_safe_folder(folder: Path) -> bool:
    """Also of a link to a folder: then of the folder, and the link is of the trusted."""
    link = os.lstat(folder)
    if stat.S_ISLNK(link.st_mode) and os.name == "posix" and link.st_uid not in _owners(os.geteuid()):
        return False
    return _is_safe(os.stat(folder))
