"""Calls in threads, in order, a little ahead of who takes the results; a call that hangs holds nobody up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Readers", "in_order"]

T = TypeVar("T")

GRACE = 1.0  # seconds that a call may go on when nobody wants its result any more


class Readers(Generic[T]):
    """A few threads that call what they are given.

    An executor would wait for its threads when the program ends, and a thread that opens a pipe without a writer never
    comes back: these are daemons.
    """

    def __init__(self, count: int) -> None:
        self._calls: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="decode", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # handed on to whoever waits for the result
                future.set_exception(error)
            else:
                future.set_result(result)
            del task, future, call

    def close(self) -> bool:
        """End the threads; whether they did end, and none of them hangs in a call."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(GRACE)
        return not any(thread.is_alive() for thread in self._threads)


class Room:
    """Lets threads decode while what waits to be taken weighs at most `limit`."""

    def __init__(self, limit: int, weight: Callable[[object], int]) -> None:
        self._limit, self._weight = limit, weight
        self._changed = threading.Condition()
        self._waiting = 0
        self._wanted = 0  # number of the result that is to be taken next: for this one there is always room
        self._closed = False

    def decode(self, number: int, call: Callable[[], T]) -> T:
        """What `call` returns, which is the result of this number."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= self._limit or number == self._wanted or self._closed)
            if self._closed:
                raise CancelledError
        result = call()
        with self._changed:
            self._waiting += self._weight(result)
        return result

    def take(self, future: Future[T]) -> T:
        """The next result, waited for."""
        result = future.result()
        with self._changed:
            self._waiting -= self._weight(result)
            self._wanted += 1
            self._changed.notify_all()
        return result

    def close(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def in_order(
    calls: Iterable[Callable[[], T]], readers: Readers[T], ahead: int, limit: int, weight: Callable[[object], int]
) -> Generator[T, None, None]:
    """What `calls` return, in order; at most `ahead` of them, or results that weigh `limit`, wait to be taken."""
    room = Room(limit, weight)
    flying: deque[Future[T]] = deque()

    def bound(number: int, call: Callable[[], T]) -> Callable[[], T]:
        return lambda: room.decode(number, call)

    try:
        for number, call in enumerate(calls):
            flying.append(readers.submit(bound(number, call)))
            if len(flying) > ahead:
                yield room.take(flying.popleft())
        while flying:
            yield room.take(flying.popleft())
    finally:
        room.close()
        for future in flying:
            future.cancel()
