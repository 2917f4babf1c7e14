"""Suppresses stderr output of C libraries while they decode: lines that do not name the file.

libjpeg writes directly to file descriptor 2, which is shared by all threads and child processes. It is only redirected
in commands of this project, which call `take_stderr` at their start.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["hushed", "take_stderr"]

STDERR = 2


class _Descriptor:
    """File descriptor 2: redirected while any thread is hushed."""

    def __init__(self) -> None:
        self.lock, self.hushed = threading.Lock(), 0
        self.copy: int | None = None  # of the descriptor, for Python and to turn it back
        self.nowhere = -1


_stderr = _Descriptor()


def take_stderr() -> None:
    """Have Python write to a copy of file descriptor 2 from now on, so that `hushed` can turn away the descriptor."""
    if _stderr.copy is not None:
        return
    try:
        if sys.stderr.fileno() != STDERR:
            return
        sys.stderr.flush()
        copy = os.dup(STDERR)
        _stderr.nowhere = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):  # closed, or no file
        return
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    sys.stderr = open(copy, "w", buffering=1, encoding=encoding, errors=errors)  # noqa: SIM115 - to the end
    _stderr.copy = copy


def _forget_threads() -> None:
    """In a forked process: the threads that were hushed are not there."""
    _stderr.lock = threading.Lock()
    if _stderr.hushed and _stderr.copy is not None:
        _stderr.hushed = 0
        os.dup2(_stderr.copy, STDERR)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def hushed() -> Iterator[None]:
    """A context in which C libraries write nothing to stderr, in a process that called `take_stderr`."""
    if _stderr.copy is None:
        yield
        return
    with _stderr.lock:
        _stderr.hushed += 1
        if _stderr.hushed == 1:
            os.dup2(_stderr.nowhere, STDERR)
    try:
        yield
    finally:
        with _stderr.lock:
            _stderr.hushed -= 1
            if _stderr.hushed == 0:
                os.dup2(_stderr.copy, STDERR)
