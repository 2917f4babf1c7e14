"""Parallel map over many items, with results in order.

`Workers` is the interface; `Here` is this process, `processes.Processes` are local ones, `cluster.Cluster` are Ray's.
Another backend is another class with `map`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..settings import Range, require

__all__ = ["Here", "Workers", "as_workers", "cluster_workers", "local_workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")


_COUNT = Range(min=1, whole=True)


class Workers(Protocol):
    """What does work."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield function(item) for each item, in the order of the items; few are in flight at a time.

        function  must pickle: each worker gets one copy of it, so it may hold nets. Nothing random in it may depend on
                  which worker does what, so that results do not depend on the number of workers.

        Raises what the function or the items raise; MtcnnError when a worker is killed.
        """


@dataclass(frozen=True)
class Here:
    """This process."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        yield from map(function, items)


def as_workers(workers: int | Workers) -> Workers:
    """As many local processes, or the `Workers` itself. Raises SettingsError for anything else."""
    if hasattr(workers, "map"):
        return workers
    count: Any = workers
    require(_COUNT.holds(count), "workers", count, f"{_COUNT}, or a `Workers`")
    return local_workers(int(count))


def local_workers(count: int) -> Workers:
    """`count` processes of this machine; up to one, this process."""
    if count <= 1:
        return Here()
    from .processes import Processes

    return Processes(count)


def cluster_workers(address: str, count: int) -> Workers:
    """Those of the Ray cluster at `address`; "local": `count` of a Ray that is started on this machine."""
    from .cluster import Cluster

    return Cluster(address, count)
