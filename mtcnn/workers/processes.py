"""Local worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, TypeVar

from ..errors import MtcnnError
from ..hush import take_stderr

__all__ = ["Processes", "adopt", "end_with_parent", "plain_bars", "unseen_interrupts"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: Callable[[Any], Any] | None = None


@contextmanager
def unseen_interrupts() -> Iterator[None]:
    """Processes that are started here do not see Ctrl-C, which a terminal sends to all; this one does, afterwards.

    One that is interrupted on its start prints a traceback, and one that hands over a result keeps its lock: the other
    workers, and then this process, would wait for ever.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # otherwise the first process starts it, which lets the signal through again
    late, handler = list[Any](), signal.getsignal(signal.SIGINT)
    holds = handler is not None and threading.current_thread() is threading.main_thread()
    if holds:  # the mask is that of this thread, and any other may take the signal for it
        signal.signal(signal.SIGINT, lambda *given: late.append(given))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if holds:
            signal.signal(signal.SIGINT, handler)
        if late:
            signal.raise_signal(signal.SIGINT)


def end_with_parent() -> None:
    """End this process when its parent ends, killed or not. A no-op in the main process.

    A worker whose parent was killed would otherwise wait forever, or continue useless work.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def plain_bars() -> None:
    """Bars of this process get a lock of its own. tqdm's is shared between processes: Python warns of one that is left
    by a killed process."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def adopt(work: Callable[[Any], Any]) -> None:
    """Make this process a worker, for `work`, with one thread: the processes already share the cores."""
    global _work
    _work = work
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, if it is imported later, and the compiled engine
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    # torch's convolutions keep compiled code for each of the last 1,024 shapes they met. Images of all sizes meet new
    # ones without end, which took a worker several hundred megabytes; read at the first convolution, so not too late.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    take_stderr()


def _start(work: Callable[[Any], Any]) -> None:
    adopt(work)
    end_with_parent()


def _call(item: Any) -> Any:
    assert _work is not None
    return _work(item)


def _end(pool: ProcessPoolExecutor) -> None:
    """Kill the processes of a pool, which knows no such thing before Python 3.14."""
    for process in [*(pool._processes or {}).values()]:
        process.kill()
    results: Any = pool._result_queue
    if results is not None:  # not shut down
        results._writer.close()  # or a thread waits for the rest of a result that a process was handing over


class _PoolWatch:
    """Ends a pool when one of its processes dies.

    The pool itself sees that, unless the process was handing over a result: then it waits for the rest for ever.
    """

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool, self._seen, self._over = pool, set[int](), threading.Event()

    def look(self) -> None:
        """Watch the processes that were started since the last look."""
        for number, process in [*(self._pool._processes or {}).items()]:
            if number not in self._seen:
                self._seen.add(number)
                threading.Thread(target=self._wait, args=(process,), daemon=True).start()

    def stop(self) -> None:
        """From now on processes end because they should."""
        self._over.set()

    def _wait(self, process: Any) -> None:
        wait([process.sentinel])
        if not self._over.is_set():
            _end(self._pool)


@dataclass(frozen=True)
class Processes:
    """`count` processes, started for each `map` and ended with it.

    At most four items per worker are in flight, which bounds memory for any number of items.
    """

    count: int = 2

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        # spawn: a forked copy of a process that has used OpenMP or Numba threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.count, mp_context=context, initializer=_start, initargs=(function,)) as pool:
            flying: deque[Future[Result]] = deque()
            watch = _PoolWatch(pool)
            try:
                for item in items:
                    with unseen_interrupts():
                        flying.append(pool.submit(_call, item))
                        watch.look()
                    if len(flying) >= 4 * self.count:
                        yield flying.popleft().result()
                while flying:
                    yield flying.popleft().result()
            except BrokenProcessPool as error:
                flying.clear()  # the pool ends them itself, and warns about cancelled ones
                raise MtcnnError(
                    "a worker process died (killed, or out of memory); run the same command again to resume, "
                    "with fewer `workers` if memory was short"
                ) from error
            except (KeyboardInterrupt, GeneratorExit):  # nobody waits for what is being made
                flying.clear()
                _end(pool)
                raise
            finally:
                watch.stop()
                for future in flying:
                    future.cancel()
