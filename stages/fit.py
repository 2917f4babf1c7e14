"""The training loop of every net.

An epoch is a fixed number of steps and ends with a checkpoint. All randomness derives from (seed, epoch), so an
interrupted run repeats the current epoch when resumed, and ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from mtcnn.api.training import Batch, Callbacks, Epoch
from mtcnn.checkpoint import Checkpoint, save_atomic, write
from mtcnn.errors import TrainingError
from mtcnn.files.torch_file import check_saved
from mtcnn.progress import progress

from .recipes import Schedule
from .run_log import RunLog

__all__ = ["Task", "Training", "fit", "learning_rate", "world"]

T = TypeVar("T")


class Task(Protocol):
    """What `fit` trains: a net, its batches, and its losses.

    name    of the run; names its files.            module  the net, with the weights to start from.
    groups  parameter groups for AdamW.             clip    largest norm of the gradient.
    """

    name: str
    module: nn.Module
    groups: list[dict[str, Any]]
    clip: float

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[tuple[Tensor, Any]]:
        """One process's share of the batches of an epoch: net input, and targets, a tuple of tensors."""

    def loss(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Losses of a batch by name, scalars; `total` is minimised. Names become columns of the log."""

    def validate(self, training: Training) -> dict[str, float]:
        """Metrics of the averaged weights on the validation part, as val_<name>; if there is a `val_score`, the epoch
        with the largest one gives the weights. Called by every process."""

    def checkpoint(self, training: Training, figures: dict[str, float], key: str) -> Checkpoint:
        """The result. figures  of the last epoch that `validate` gave, for tasks that store them."""


def fit(
    task: Task,
    schedule: Schedule,
    target: Path,
    key: str,
    device: str = "cpu",
    quiet: bool = False,
    callbacks: Callbacks | None = None,
    until: int | None = None,
) -> None:
    """Train and write the weights to `target`.

    target  file for the weights; the checkpoint of the training (train-<name>.pt), log and curves lie beside it.
    key     identifies recipe and inputs; training resumes from a checkpoint with the same key.
    callbacks  called by rank 0: after a batch, and after the checkpoint of an epoch was written.
    until   stop after so many epochs of the schedule; a later call continues as if it had not stopped.

    With several processes (torch.distributed), each one trains on its share of every batch and rank 0 writes.
    Raises TrainingError if the loss is not finite; the last checkpoint stays.
    """
    rank, count = world()
    training = Training(task, schedule, device)
    resume = target.with_name(f"train-{task.name}.pt")
    training.restore(resume, key)
    log = RunLog(target.parent, task.name, training.epoch) if rank == 0 else None
    model = training.parallel()
    figures = task.validate(training) if training.epoch else {}
    for epoch in range(training.epoch, schedule.epochs if until is None else min(until, schedule.epochs)):
        began = time.perf_counter()
        losses = _epoch(training, model, epoch, quiet or rank > 0, callbacks if rank == 0 else None)
        training.epoch = epoch + 1
        figures = task.validate(training)
        training.keep_best(figures.get("val_score", math.inf))
        if log is not None:
            seconds = time.perf_counter() - began
            speed = round(schedule.steps * schedule.batch / seconds)
            metrics = {**losses, **figures, "seconds": round(seconds, 1), "samples_per_second": speed}
            log.add({"epoch": epoch, **metrics})
            log.draw()
            training.save(resume, key)
            if not quiet:
                tqdm.write(_line(training, {**losses, **figures}), file=sys.stderr)
            if callbacks is not None and callbacks.on_epoch is not None:
                callbacks.on_epoch(Epoch(task.name, epoch, schedule.epochs, metrics))
    if rank == 0:
        write(target, task.checkpoint(training, figures, key))
    if count > 1:
        dist.barrier()


def _epoch(
    training: Training, model: nn.Module, epoch: int, quiet: bool, callbacks: Callbacks | None
) -> dict[str, float]:
    """One epoch of steps. Returns the mean losses as train_<name>."""
    task, schedule, (rank, count) = training.task, training.schedule, world()
    torch.manual_seed((schedule.seed * 1_000_003 + epoch * 1_009 + rank) % 2**63)  # seeds dropout
    model.train()
    sums: dict[str, Tensor] = {}
    label = f"{task.name} {epoch + 1}/{schedule.epochs}"
    batches = task.batches(epoch, rank, count)
    bar = progress(batches, name=label, total=schedule.steps, unit="step", leave=False, quiet=quiet)
    for i, (x, targets) in enumerate(bar):
        losses = task.loss(training.forward(model, x), on_device(targets, training.device))
        training.step(losses["total"], epoch * schedule.steps + i)
        sums = {name: sums.get(name, torch.zeros(())) + loss.detach().cpu() for name, loss in losses.items()}
        if callbacks is not None and callbacks.on_batch is not None:
            callbacks.on_batch(
                Batch(task.name, epoch, i, {name: float(loss.detach()) for name, loss in losses.items()})
            )
        if i % 20 == 19:
            bar.set_postfix(loss=f"{float(sums['total']) / (i + 1):.4f}", refresh=False)
    return {f"train_{name}": round(float(value / schedule.steps), 6) for name, value in sums.items()}


def _line(training: Training, figures: dict[str, float]) -> str:
    words = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())
    return f"{training.task.name} {training.epoch}/{training.schedule.epochs}  {words}"


# ---- training state


class Training:
    """A net in training: the module on its device, the optimiser, and the moving average of the weights.

    average     the moving average (EMA), which is validated and saved.
    best_state  the average at the best epoch so far, whose validation score is `best`.
    """

    def __init__(self, task: Task, schedule: Schedule, device: str) -> None:
        self.task, self.schedule, self.device = task, schedule, device
        module = task.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module: nn.Module = module
        self.average = {key: value.detach().clone() for key, value in self.module.state_dict().items()}
        self.optimizer = torch.optim.AdamW(task.groups, lr=schedule.lr)
        self.epoch, self.best, self.best_state = 0, -math.inf, self.average

    def parallel(self) -> nn.Module:
        """The net to call in training. With several processes, gradients are averaged over them after each backward
        pass; without others it is the net itself."""
        return nn.parallel.DistributedDataParallel(self.module) if world()[1] > 1 else self.module

    def forward(self, module: nn.Module, x: Tensor) -> Any:
        """Outputs of `module` in float32 for input on any device.

        With `mixed`, convolutions run in bfloat16 if the device supports it natively. Elsewhere torch emulates it,
        slower than float32.
        """
        kind = torch.device(self.device).type
        helps = kind != "cpu" or _processor_has_bfloat16()
        with torch.autocast(kind, torch.bfloat16, enabled=self.schedule.mixed and helps):
            outputs = module(x.to(self.device))
        return _float32(outputs)

    def averaged(self, state: dict[str, Tensor] | None = None) -> nn.Module:
        """A copy of the net in evaluation mode with the averaged weights, or those of `state`."""
        module = copy.deepcopy(self.module).eval()
        module.load_state_dict(self.average if state is None else state)
        return module

    def save(self, path: Path, key: str) -> None:
        """Write the checkpoint atomically."""
        state = {
            "key": key,
            "epoch": self.epoch,
            "best": self.best,
            "best_state": self.best_state,
            "module": self.module.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        save_atomic(state, path)

    def restore(self, path: Path, key: str) -> None:
        """Resume from the checkpoint at `path`, if it exists, is intact, and has the same key.

        Warns of a damaged one: the training then starts anew.
        """
        if not path.exists():
            return
        module, optimizer = copy.deepcopy((self.module.state_dict(), self.optimizer.state_dict()))
        try:
            check_saved(path, data=True)  # torch reads over a damaged number
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["key"] != key:
                return
            self.module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            averages = state["average"], state["best_state"]
            for each in averages:
                self.averaged(each)  # raises where it does not fit
            self.epoch, self.best = int(state["epoch"]), float(state["best"])
            self.average, self.best_state = averages
        except Exception:  # of whatever lies there
            self.module.load_state_dict(module)
            self.optimizer.load_state_dict(optimizer)
            self.epoch, self.best = 0, -math.inf
            if world()[0] == 0:
                warnings.warn(f"{path} is damaged; {self.task.name} is trained from the start", stacklevel=2)

    def step(self, loss: Tensor, step: int) -> None:
        """One step of the optimiser. Raises TrainingError for a loss that is not finite."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of {self.task.name} is {value} at step {step}; expected a finite number: lower lr, or the "
                "weights of its losses, in the recipe and run the same command again, which trains it from the start"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.schedule)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.task.clip < math.inf:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.task.clip)
        self.optimizer.step()
        self._follow(step)

    def _follow(self, step: int) -> None:
        """Update the moving average; faster at first, to forget the initial weights."""
        decay = min(self.schedule.ema, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)  # batch norm's num_batches_tracked

    def keep_best(self, score: float) -> None:
        """Keep a copy of the average if `score` beats all earlier epochs; without scores (inf) the last one is kept."""
        if score == math.inf:
            self.best_state = self.average
        elif score > self.best:
            self.best, self.best_state = score, {name: value.clone() for name, value in self.average.items()}


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine from `lr` to 1 % of it (Loshchilov and Hutter 2017, equation 5)."""
    steps = schedule.epochs * schedule.steps
    if step < schedule.warmup:
        return schedule.lr * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(steps - schedule.warmup, 1)
    return schedule.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def world() -> tuple[int, int]:
    """Rank of this process, and world size."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def on_device(tensors: T, device: str) -> T:
    """A named tuple of tensors, moved to `device`."""
    return type(tensors)(*(value.to(device) for value in tensors))  # type: ignore[attr-defined]


def _float32(outputs: Any) -> Any:
    """The outputs of a net, a dict or a named tuple of tensors, in float32; None stays None."""
    if isinstance(outputs, dict):
        return {name: value.float() for name, value in outputs.items()}
    return type(outputs)(*(None if part is None else part.float() for part in outputs))


def _processor_has_bfloat16() -> bool:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # available ones depend on the torch version
    return any(getattr(torch.cpu, name, bool)() for name in names)
