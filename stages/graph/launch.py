"""A training in this process, in several of this machine, or under torchrun."""

from __future__ import annotations

import ctypes
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, spawn

from mtcnn.errors import MtcnnError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.workers.processes import end_with_parent

__all__ = ["agreed", "is_main", "joined", "launch", "wait_for_main"]

T = TypeVar("T")

PATIENCE = timedelta(days=7)  # the others wait while the first process prepares crops; torch's default is half an hour


def under_torchrun() -> bool:
    """Whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Whether this process builds, logs and writes; of several the first."""
    return int(os.environ.get("RANK", "0")) == 0


def _join(device: str, local_rank: int, **meeting: Any) -> None:
    if device == "cuda":
        torch.cuda.set_device(local_rank)  # one GPU a process
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, **meeting)


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Within it, the processes that torchrun started are one group; without torchrun, nothing."""
    if not under_torchrun():
        yield
        return
    _join(device, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield
    finally:
        dist.destroy_process_group()  # gloo's threads, left running, abort a process that ends


def agreed(decision: T) -> T:
    """What the first process decided. All have to ask, for one alone may find a file that the first is making."""
    decisions = [decision]
    if dist.is_initialized():
        dist.broadcast_object_list(decisions)
    return decisions[0]


def wait_for_main() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed instead of handing it back to the system; nothing on other C libraries.

    Each step frees and takes the same tens of megabytes. Taking them anew means a page fault every 4 KiB, a tenth of a
    training step.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def _train(job: Callable[[], None], device: str) -> None:
    # One thread a process: on the small layers of these nets a second thread costs more than it gives, and several
    # processes, each with its own, use the cores better.
    if device == "cpu":
        torch.set_num_threads(1)
        _keep_freed_memory()
    job()


def _note(error: MtcnnError, path: Path) -> None:
    """Leave an error for the parent, to which torch passes on the traceback alone.

    Whole or not at all, for torch ends the other processes when the first has failed, and they fail at the same time.
    """
    with atomic_write(path) as draft:
        draft.write_bytes(pickle.dumps(error))


def _ranked(rank: int, job: Callable[[], None], device: str, processes: int, folder: str) -> None:
    # torch sends SIGINT when the parent is gone, which a process that was started in the background ignores.
    end_with_parent()
    # A store instead of a URL, in which a folder's # or ? would mean something else.
    store = dist.FileStore(os.path.join(folder, "meeting"), processes)  # type: ignore[attr-defined]
    _join(device, rank, store=store, rank=rank, world_size=processes)
    try:
        _train(job, device)
    except MtcnnError as error:
        _note(error, Path(folder, f"error-{rank}"))
        raise
    finally:
        dist.destroy_process_group()


def launch(job: Callable[[], None], processes: int = 1, device: str = "cpu") -> None:
    """Run a training in `processes` processes of this machine; within `joined`, as one of torchrun's.

    job  can be pickled, such as a functools.partial of a function and plain arguments.

    Raises what the training raises; a failed process ends the others.
    """
    if dist.is_initialized() or processes <= 1:
        _train(job, device)
    else:
        with tempfile.TemporaryDirectory() as folder:
            try:
                spawn(_ranked, (job, device, processes, folder), nprocs=processes)  # type: ignore[no-untyped-call]
            except ProcessException:  # raised, or ended by a signal, as gloo's threads do when the other side is gone
                notes = sorted(Path(folder).glob("error-*"))
                if not notes:
                    raise
                raise pickle.loads(notes[0].read_bytes()) from None
