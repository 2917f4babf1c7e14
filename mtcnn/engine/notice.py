"""Word of the one long pause: the first use on a machine compiles, later ones read Numba's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from numba.core import event

__all__ = ["compiling_told"]

LINE = "compiling for this processor, some twenty seconds; later runs need not"


PATIENCE = 1.0  # seconds of compiling that nobody asks about, as for one small function


class _Once(event.Listener):
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Callable[[str], None] | None = say
        self._first: float | None = None

    def on_start(self, _: Any) -> None:
        now = time.monotonic()
        self._first = self._first or now
        if self._say is not None and now - self._first > PATIENCE:
            say, self._say = self._say, None
            say(LINE)

    def on_end(self, _: Any) -> None:
        pass


@contextmanager
def compiling_told(say: Callable[[str], None]) -> Iterator[None]:
    """While entered, `say` is given one line when something has to be compiled that takes long."""
    listener, events = _Once(say), cast(Any, event)
    events.register("numba:compile", listener)
    try:
        yield
    finally:
        events.unregister("numba:compile", listener)
