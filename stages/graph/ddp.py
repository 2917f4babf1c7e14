"""Launches a training in this process, in several local processes, or under torchrun."""

from __future__ import annotations

import ctypes
import logging
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
from torch.multiprocessing.spawn import ProcessContext, ProcessException, spawn

from mtcnn.__main__ import end_at_once
from mtcnn.errors import MtcnnError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.workers.processes import end_with_parent, plain_bars, unseen_interrupts

__all__ = ["agreed", "check_alone", "is_main", "joined", "launch", "wait_for_main"]

T = TypeVar("T")

SIGKILL, SIGTERM = 9, 15  # Windows has no such signals
PATIENCE = timedelta(days=7)  # other ranks wait while rank 0 prepares crops; torch's default is 30 minutes


def under_torchrun() -> bool:
    """Whether this process was started by torchrun."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Whether this process builds, logs and writes: rank 0."""
    return int(os.environ.get("RANK", "0")) == 0


def check_alone(what: str, instead: str) -> None:
    """Raise MtcnnError under torchrun, for what is not made by its processes together."""
    if under_torchrun():
        raise MtcnnError(f"{what} under torchrun: expected one process; use {instead} instead")


def _join(device: str, local_rank: int, **meeting: Any) -> None:
    if device == "cuda":
        torch.cuda.set_device(local_rank)  # one GPU per process
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, **meeting)


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Context with a process group of the torchrun processes; without torchrun, a no-op."""
    if not under_torchrun():
        yield
        return
    _join(device, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield
    finally:
        dist.destroy_process_group()


def agreed(decision: T) -> T:
    """Broadcast rank 0's decision. All ranks must call this: alone, one could find a file still being written."""
    decisions = [decision]
    if dist.is_initialized():
        dist.broadcast_object_list(decisions)
    return decisions[0]


def wait_for_main() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system; a no-op on other C libraries.

    Each step frees and allocates the same tens of megabytes. Fresh memory costs a page fault per 4 KiB, a tenth of a
    training step.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def _train(job: Callable[[], None], device: str) -> None:
    # One thread per process: on these small layers a second thread costs more than it gains, and several
    # processes, each with its own, use the cores better.
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
        _keep_freed_memory()
    try:
        job()
    finally:
        torch.set_num_threads(before)


def _note(error: MtcnnError, path: Path) -> None:
    """Store an error for the parent; torch passes on only its traceback.

    Written atomically: torch kills the other processes once one has failed, and they fail at the same time.
    """
    with atomic_write(path) as draft:
        draft.write_bytes(pickle.dumps(error))


def _ranked(rank: int, job: Callable[[], None], device: str, processes: int, folder: str) -> None:
    # torch sends SIGINT when the parent is gone, which background processes ignore.
    end_with_parent()
    plain_bars()
    # A store instead of a URL, in which # or ? of a path would be special.
    store = dist.FileStore(os.path.join(folder, "meeting"), processes)  # type: ignore[attr-defined]
    _join(device, rank, store=store, rank=rank, world_size=processes)
    try:
        _train(job, device)
    except MtcnnError as error:
        _note(error, Path(folder, f"error-{rank}"))
        raise
    finally:
        dist.destroy_process_group()
    end_at_once(0)


def launch(job: Callable[[], None], processes: int = 1, device: str = "cpu") -> None:
    """Run a training in `processes` local processes; within `joined`, in this one of torchrun's.

    job  picklable, such as a functools.partial of a function and plain arguments.

    Raises what the training raises, MtcnnError where one of its processes is killed; either ends the others.
    """
    if dist.is_initialized() or processes <= 1:
        _train(job, device)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _spawn((job, device, processes, folder), processes, Path(folder))


def _spawn(arguments: tuple[Any, ...], processes: int, folder: Path) -> None:
    """Start the processes, which do not see Ctrl-C, and wait for their end, or end them where this one is interrupted.

    One that is interrupted while it imports torch would leave the others waiting for it, and this one for them.
    """
    logging.getLogger(spawn.__module__).setLevel(logging.ERROR)  # it warns that it ends the others
    started: ProcessContext | None = None
    try:
        with unseen_interrupts():
            started = spawn(_ranked, arguments, processes, join=False)  # type: ignore[no-untyped-call]
        while not started.join():
            pass
    except ProcessException as error:  # raised, or killed by a signal, as by gloo's threads when a peer is gone
        if notes := sorted(folder.glob("error-*")):
            raise pickle.loads(notes[0].read_bytes()) from None
        if started is not None and _was_killed(error, started):
            raise MtcnnError(
                "a training process was killed, perhaps for want of memory; run the same command again to resume, with "
                "fewer `processes` if memory was short"
            ) from error
        raise
    finally:
        if started is not None:
            _end(started)


def _end(started: ProcessContext) -> None:
    """End the processes, and delete what they noted of errors, which torch leaves in the system's temporary folder."""
    for process in started.processes:
        process.kill()
    for process in started.processes:
        process.join()
    for note in started.error_files:
        Path(note).unlink(missing_ok=True)


def _was_killed(error: ProcessException, started: ProcessContext) -> bool:
    """Whether somebody killed a process. Its peers fail too, or are ended by SIGTERM, and one of them may be found
    first."""
    return getattr(error, "exit_code", 0) == -SIGTERM or any(each.exitcode == -SIGKILL for each in started.processes)
