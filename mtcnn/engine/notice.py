"""Announces the one long pause: the first use on a machine compiles, later ones read the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["compiling_announced", "listen"]

LINE = "compiling for this processor, some ten seconds; later runs need not"

PATIENCE = 1.0  # seconds; shorter compilations, as of one small function, are not announced


class _Once:
    """A listener, notified once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Callable[[str], None] | None = say
        self._first: float | None = None

    def compiling(self) -> None:
        now = time.monotonic()
        self._first = self._first or now
        if self._say is not None and now - self._first > PATIENCE:
            say, self._say = self._say, None
            say(LINE)


_waiting: list[_Once] = []


@contextmanager
def compiling_announced(say: Callable[[str], None]) -> Iterator[None]:
    """Context in which `say` is called with one line if a long compilation starts."""
    once = _Once(say)
    _waiting.append(once)
    try:
        yield
    finally:
        _waiting.remove(once)


@lru_cache
def listen() -> None:
    """Register with Numba's compiler events. Called by code that loads Numba to compile."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, _: Any) -> None:
            for once in list(_waiting):
                once.compiling()

        def on_end(self, _: Any) -> None:
            pass

    register: Any = event.register
    register("numba:compile", Listener())
