"""Workers of a Ray cluster, or of a Ray that is started on this machine for the purpose."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import MtcnnError
from .alone import sendable
from .processes import adopt

__all__ = ["LOCAL", "Cluster"]

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
RETRIES = 5  # of an item whose worker or node dies
FLYING = 4  # tasks per core that are in flight
TASK, TOGETHER = 0.1, 8  # seconds of a task, and items in it at most: Ray takes milliseconds for each
STORE = 256 << 20  # bytes of shared memory that a local Ray takes: a few items in flight
# Read when Ray starts: no statistics are sent, GPUs are not hidden from tasks, workers are as urgent as others.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}


@dataclass(frozen=True)
class Cluster:
    """Ray's workers, one core each.

    address  of a cluster, such as 10.0.0.1:6379; or LOCAL, which starts a Ray of `count` workers on this machine, that
             ends with this process. A cluster's workers are as many as it has cores, and nodes may come and go.

    Nodes need this package and its dependencies in the same versions, and the photos, and for `prepare` the weights
    that mine, under the same paths. Only this process writes results.
    """

    address: str = LOCAL
    count: int = 2

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Workers`. What a dying worker or node had not finished is done again by others, RETRIES times."""
        ray = self._connected()
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        work = ray.put((pickle.dumps(function), os.getcwd(), list(sys.path)))
        key, flying, count = secrets.token_hex(8), deque[Any](), 1
        waiting = iter(items)
        try:
            while True:
                while len(flying) < FLYING * self._cores(ray) and (some := list(itertools.islice(waiting, count))):
                    flying.append(task.remote(key, [work], pickle.dumps(some, 5)))
                if not flying:
                    return
                seconds, results = pickle.loads(self._got(ray, flying.popleft()))
                count = min(max(int(TASK * len(results) / max(seconds, 1e-6)), 1), TOGETHER)
                for done, result in results:
                    if not done:
                        raise result
                    yield result
        finally:
            for each in flying:
                with suppress(Exception):  # Ray may have ended
                    ray.cancel(each)

    def _connected(self) -> Any:
        """The package, connected. Raises MtcnnError where it is missing, or the cluster is."""
        try:
            import ray
        except ImportError:
            raise MtcnnError(
                "no package ray; expected it for `cluster`: pip install 'mtcnn-cascade[cluster]'"
            ) from None
        if ray.is_initialized():
            return ray
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        size: dict[str, Any] = {}
        if self.address == LOCAL:
            size = {"num_cpus": self.count, "object_store_memory": STORE, "include_dashboard": False}
        try:
            ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, **size)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            why = " ".join(str(error).split())[:160]
            raise MtcnnError(
                f"`cluster` is {self.address}, which does not answer ({why}); expected {LOCAL}, or the address of a "
                "Ray cluster of the same version, such as 10.0.0.1:6379"
            ) from error
        return ray

    def _cores(self, ray: Any) -> int:
        """Of the cluster now: nodes come and go."""
        return self.count if self.address == LOCAL else max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def _got(self, ray: Any, reference: Any) -> bytes:
        try:
            found: bytes = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # before the work began
            why = " ".join(str(error.cause).split())[:160]
            raise MtcnnError(
                f"workers of the cluster cannot begin ({why}); expected this package on each node, in this version"
            ) from error
        except ray.exceptions.RayError as error:
            why = type(error).__name__
            raise MtcnnError(
                f"workers of the cluster died {RETRIES + 1} times over one item ({why}: killed, or out of memory); run "
                "the same command again to resume, with fewer workers per node if memory was short"
            ) from error
        return found


# ---- on the workers

_works: dict[str, Callable[[Any], Any]] = {}  # of this worker, by the key of `map`: it keeps nets loaded


def _call(key: str, work: list[Any], items: bytes) -> bytes:
    """The seconds that some items took, and for each whether it succeeded, and the result or the error, the last one.

    Pickled, for arrays in Ray's own memory are read-only.
    """
    import ray

    began, found = time.perf_counter(), list[tuple[bool, Any]]()
    try:
        if key not in _works:
            _begin(key, *ray.get(work[0]))
        for item in pickle.loads(items):
            found.append((True, _works[key](item)))
    except Exception as error:
        found.append((False, sendable(error)))
    return pickle.dumps((time.perf_counter() - began, found), 5)


def _begin(key: str, function: bytes, folder: str, path: list[str]) -> None:
    """Make this process a worker: relative paths and modules are those of the process that started all."""
    with suppress(OSError):
        os.chdir(folder)
    sys.path += [each for each in path if each not in sys.path]
    _works.clear()  # of an earlier map
    _works[key] = pickle.loads(function)
    adopt(_works[key])
