"""Ctrl-C and SIGTERM at moments that suit: never in the middle of a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

__all__ = ["Interrupted", "Interrupts"]


class Interrupted(KeyboardInterrupt):
    """A signal that asked to stop; `number` says which. A shell expects the exit status 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """While entered, SIGINT and SIGTERM raise Interrupted: at once, or at the end of `with interrupts.delayed():`.

    Signals arrive in the main thread; in any other this does nothing.
    """

    def __init__(self) -> None:
        self._delayed = False
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    def _on_signal(self, number: int, _: object) -> None:
        if not self._delayed:
            raise Interrupted(number)
        self._came = number

    @contextmanager
    def delayed(self) -> Iterator[None]:
        """Signals wait until the end of what is done here."""
        self._delayed = True
        try:
            yield
        finally:
            self._delayed = False
        if self._came is not None:
            number, self._came = self._came, None
            raise Interrupted(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._on_signal) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
