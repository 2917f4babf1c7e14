"""A thread pool: compiled code releases the GIL, so plain threads run in parallel.

The number of threads is torch's, so OMP_NUM_THREADS and torch.set_num_threads apply; if torch is not imported, it is
torch's default.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, Generic, TypeVar

from ..machine import cores

__all__ = ["Aside", "aside_cost", "spread", "threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()  # `working`: does work of the pool, and must not wait for it; `aside`: see Aside


def threads() -> int:
    """Number of threads that `spread` uses here: 1 within its own work."""
    return 1 if getattr(_local, "working", False) else _setting()


def _setting() -> int:
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "get_num_threads"):  # fully imported, not being imported by another thread
        return int(torch.get_num_threads())
    try:
        return max(1, int(os.environ["OMP_NUM_THREADS"].partition(",")[0]))  # later numbers are for nested loops
    except (KeyError, ValueError):
        return cores()


@lru_cache(maxsize=1)
def _pool(count: int, process: int) -> ThreadPoolExecutor:
    """The threads of this process; those of a parent do not survive a fork."""
    return ThreadPoolExecutor(count, "mtcnn")


def aside_cost() -> float:
    """That of the work that the next `spread` here does beside its own; 0 without any."""
    aside: Aside[Any] | None = getattr(_local, "aside", None)
    return 0.0 if aside is None or threads() == 1 else aside.cost


class Aside(Generic[Result]):
    """Work that the next `spread` of this thread does beside its own, if that comes within the `with` block; else
    `result` does it.

    cost  its time, as a share of that of all work within the block.
    """

    def __init__(self, work: Callable[[], Result], cost: float) -> None:
        self.cost = cost
        self._work = work
        self._results: list[Result] = []

    def __enter__(self) -> Aside[Result]:
        _local.aside = self
        return self

    def __exit__(self, *_: object) -> None:
        _local.aside = None

    def do(self) -> None:
        self._results.append(self._work())

    def result(self) -> Result:
        if not self._results:
            self.do()
        return self._results[0]


def _call_in_threads(call: Callable[[], None], times: int, count: int) -> None:
    """`call` in that many of the pool's `count` threads, as soon as they are free.

    In fewer, or none, if the system starts no more threads, or if the main thread has ended, after which pools refuse
    new work though other threads may go on.
    """
    pool = _pool(count, os.getpid())
    try:
        for _ in range(times):
            pool.submit(call)
    except RuntimeError:
        _pool.cache_clear()  # the call that failed is still in its queue


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """[work(item) for item in items], in `threads()` threads, each taking the next item when free.

    The calling thread is one of them, since others take a while to wake up. The last of them begins with the work to be
    done beside, see `Aside`. After an error no further item is begun; it is raised when those at work are done.
    """
    aside: Aside[Any] | None = getattr(_local, "aside", None)
    if len(items) + (aside is not None) < 2 or (count := threads()) == 1:
        return [work(item) for item in items]
    results: dict[int, Result] = {}
    waiting = deque(range(len(items)))  # threads may take from it at the same time
    if aside is not None:
        _local.aside = None
        waiting.insert(count - 1, -1)

    def take() -> None:
        before = getattr(_local, "working", False)
        _local.working = True
        try:
            while waiting:
                try:
                    index = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                if aside is not None and index < 0:
                    aside.do()
                else:
                    results[index] = work(items[index])
        except BaseException:
            waiting.clear()
            raise
        finally:
            _local.working = before

    helpers: list[Future[None]] = []

    def help_out() -> None:
        done: Future[None] = Future()
        helpers.append(done)  # before it takes an item, so that the caller waits for every item taken
        try:
            take()
        except BaseException as error:  # for the caller
            done.set_exception(error)
        else:
            done.set_result(None)

    _call_in_threads(help_out, min(count, len(waiting)) - 1, count - 1)
    try:
        take()
    finally:
        begun = list(helpers)  # whoever comes later finds nothing to do
        wait(begun)
    for helper in begun:
        helper.result()
    return [results[index] for index in range(len(items))]
