"""A thread pool: compiled code releases the GIL, so plain threads run in parallel.

The number of threads is torch's, so OMP_NUM_THREADS and torch.set_num_threads apply; if torch is not imported, it is
torch's default.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from ..machine import cores

__all__ = ["spread", "threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_inside = threading.local()  # marks threads of the pool, which must not wait for the pool


def threads() -> int:
    """Number of threads that `spread` uses here: 1 within its own work."""
    return 1 if getattr(_inside, "working", False) else _setting()


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


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """[work(item) for item in items], in `threads()` threads, each taking the next item when free."""
    if len(items) < 2 or (count := threads()) == 1:
        return [work(item) for item in items]

    def inside(item: Item) -> Result:
        _inside.working = True
        return work(item)

    return list(_pool(count, os.getpid()).map(inside, items))
