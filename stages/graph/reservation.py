"""Which nodes of a work folder this process makes or reads: meanwhile no other process makes them.

Two trainings in one folder would otherwise write to one file of crops, or train on crops of another recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mtcnn.errors import MtcnnError
from mtcnn.files.locks import FileLock

__all__ = ["check_unused", "reserved"]

SUFFIX = ".lock"
_FIX = "wait for its end and run the same command again, or name another folder as `work`"


@contextmanager
def reserved(work: Path, made: Iterable[str], read: Iterable[str] = ()) -> Iterator[Callable[[str], None]]:
    """Keep other processes from making these nodes, and from reading those that are `made`. Without any of these,
    nothing is locked, nor written.

    Yields a function to call with the name of a node once it is made: from then on others may read it.
    Raises MtcnnError where another process is at one of them.
    """
    made = list(made)
    shared = {name: True for name in read if made} | dict.fromkeys(made, False)
    with ExitStack() as stack:
        locks = {}
        for name, together in shared.items():
            locks[name] = FileLock(_path(work, name))
            stack.callback(locks[name].close)
            if not locks[name].acquire(together):
                raise MtcnnError(f"{name}: another process makes or reads it in {work}; expected one at a time; {_FIX}")

        def share(name: str) -> None:
            locks[name].acquire(shared=True)

        yield share


def check_unused(work: Path, what: str, names: Sequence[str] | None = None) -> None:
    """Raises MtcnnError if a process makes or reads a node of a work folder whose `what` are about to change: any
    node, or those of these names."""
    for path in sorted((work / "nodes").glob(f"*{SUFFIX}")):
        if names is not None and path.stem not in names:
            continue
        lock = FileLock(path)
        free = lock.acquire()
        lock.close()
        if not free:
            raise MtcnnError(
                f"{path.stem}: another process makes or reads it in {work}, whose {what} would change under it; "
                f"expected one at a time; {_FIX}"
            )


def _path(work: Path, name: str) -> Path:
    return work / "nodes" / f"{name}{SUFFIX}"
