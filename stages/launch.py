"""One training, in this process, in several of this machine, or under torchrun."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from mtcnn.checkpoint import read
from prepare.store import CropStore

from .batches import CropPool
from .loop import train
from .recipe import TrainSettings

__all__ = ["TrainJob", "is_main", "launch", "under_torchrun", "wait_for_main"]


@dataclass(frozen=True)
class TrainJob:
    """What a training needs, in a form that travels to another process. See loop.train for the parts."""

    net: str
    name: str
    stores: tuple[Path, ...]
    settings: TrainSettings
    folder: Path
    target: Path
    key: str
    start: Path | None = None
    device: str = "cpu"
    quiet: bool = False


def under_torchrun() -> bool:
    """Whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Whether this process builds, logs and writes; of several the first."""
    return int(os.environ.get("RANK", "0")) == 0


def _backend(device: str) -> str:
    return "nccl" if device.startswith("cuda") else "gloo"


def join_torchrun(device: str) -> None:
    """Join the process group that torchrun has set up."""
    if under_torchrun() and not dist.is_initialized():
        dist.init_process_group(_backend(device))


def wait_for_main() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _train(job: TrainJob) -> None:
    # One thread a process: on the small layers of these nets a second thread costs more than it gives, and several
    # processes, each with its own, use the cores better.
    if job.device == "cpu":
        torch.set_num_threads(1)
    stores = [CropStore(path) for path in job.stores]
    start = None if job.start is None else read(job.start).state
    train(
        job.net, CropPool(stores), job.settings, job.folder, job.target, job.key, job.name, start, job.device, job.quiet
    )


def _ranked(rank: int, job: TrainJob, processes: int, meeting: str) -> None:
    dist.init_process_group(_backend(job.device), init_method=f"file://{meeting}", rank=rank, world_size=processes)
    try:
        _train(job)
    finally:
        dist.destroy_process_group()


def launch(job: TrainJob, processes: int = 1) -> None:
    """Run `job` in `processes` processes of this machine, or as one of torchrun's.

    Raises what the training raises; a failed process ends the others.
    """
    if under_torchrun():
        join_torchrun(job.device)
        _train(job)
    elif processes <= 1:
        _train(job)
    else:
        with tempfile.TemporaryDirectory() as folder:
            meeting = str(Path(folder) / "meeting")
            torch.multiprocessing.spawn(_ranked, (job, processes, meeting), nprocs=processes)  # type: ignore[no-untyped-call]
