"""The training loop, from top to bottom.

An epoch is a fixed number of steps and ends with a checkpoint. All chance comes from (seed, epoch), so a run killed at
any moment and started again repeats the epoch it was in and ends with the very weights of an unbroken run.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from mtcnn.checkpoint import Checkpoint, write
from mtcnn.errors import TrainingError
from mtcnn.nets import NETS
from mtcnn.types import NetOutput
from prepare.labels import Kind
from prepare.records import CropBatch

from .batches import CropPool, tensors, training_batches
from .losses import Targets, multitask_loss
from .recipe import TrainSettings
from .run_log import RunLog

__all__ = ["learning_rate", "train"]

HELD_CROPS = {Kind.NEG: 12_000, Kind.PART: 4_000, Kind.POS: 6_000, Kind.LANDMARK: 3_000}  # at most, for judging


def _world() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, then a cosine from `rate` to 1 % of it (Loshchilov and Hutter 2017, equation 5)."""
    whole = settings.epochs * settings.steps
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(whole - settings.warmup, 1)
    return settings.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


class _Run:
    """The state that a checkpoint of a running training holds."""

    def __init__(self, net: str, settings: TrainSettings, start: dict[str, Tensor] | None, device: str) -> None:
        torch.manual_seed(settings.seed)
        self.net, self.settings, self.device = net, settings, device
        self.module = NETS[net]()
        if start is not None:
            self.module.load_state_dict(start)
        self.module = self.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
        )
        self.epoch, self.best, self.best_state = 0, -math.inf, self.average

    def state(self, key: str) -> dict[str, Any]:
        return {
            "key": key,
            "epoch": self.epoch,
            "best": self.best,
            "best_state": self.best_state,
            "module": self.module.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, path: Path, key: str) -> None:
        """Go on from the checkpoint at `path`, if it is there, whole, and of the same recipe."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception:  # absent, or not a checkpoint: then the training starts anew
            return
        if not isinstance(state, dict) or state.get("key") != key:
            return
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.best_state = state["average"], state["best_state"]
        self.epoch, self.best = state["epoch"], state["best"]

    def follow(self, step: int) -> None:
        """Move the average towards the weights; at first faster, so that the start is forgotten."""
        decay = min(self.settings.ema, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)


def train(
    net: str,
    pool: CropPool,
    settings: TrainSettings,
    folder: Path,
    target: Path,
    key: str,
    name: str | None = None,
    start: dict[str, Tensor] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Train `net` on the crops of `pool` and write its weights to `target`.

    folder  for the checkpoint of the running training (train-<name>.pt), the log and the curves.
    key     names recipe and inputs; a checkpoint in `folder` with the same key is gone on from.
    start   weights to start from.

    Raises TrainingError when the loss stops being finite; the last checkpoint stays.
    """
    name = name or net
    rank, world = _world()
    run = _Run(net, settings, start, device)
    resume = folder / f"train-{name}.pt"
    run.restore(resume, key)
    log = RunLog(folder, name, run.epoch) if rank == 0 else None
    # Gradients are averaged over the processes after each backward pass; without others the net itself is called.
    model = nn.parallel.DistributedDataParallel(run.module) if world > 1 else run.module
    held = _held_part(pool)
    for epoch in range(run.epoch, settings.epochs):
        began = time.perf_counter()
        row = _epoch(run, model, pool, epoch, name, quiet)
        run.epoch = epoch + 1
        judged = _judge(run, held)
        if judged["held_merit"] > run.best:
            run.best, run.best_state = judged["held_merit"], {k: v.clone() for k, v in run.average.items()}
        if log is not None:
            seconds = time.perf_counter() - began
            rate = settings.steps * settings.batch / seconds
            log.add({"epoch": epoch, **row, **judged, "seconds": round(seconds, 1), "crops_per_second": round(rate)})
            log.draw()
            _save(run.state(key), resume)
            if not quiet:
                tqdm.write(_line(name, epoch, settings, row, judged), file=sys.stderr)
    if rank == 0:
        finish(run, held, target, key, resume)
    if world > 1:
        dist.barrier()


def _epoch(run: _Run, model: nn.Module, pool: CropPool, epoch: int, name: str, quiet: bool) -> dict[str, float]:
    """One epoch of steps. Returns the mean losses."""
    settings, (rank, world) = run.settings, _world()
    torch.manual_seed(settings.seed * 1_000_003 + epoch * 1_009 + rank)  # dropout
    model.train()
    sums = torch.zeros(4)
    batches = training_batches(pool, settings, epoch, rank, world)
    label = f"{name} {epoch + 1}/{settings.epochs}"
    bar = tqdm(batches, total=settings.steps, desc=label, unit="step", leave=False, disable=quiet or rank > 0)
    for i, (x, targets) in enumerate(bar):
        step = epoch * settings.steps + i
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        losses = multitask_loss(model(x.to(run.device)), Targets(*(t.to(run.device) for t in targets)), settings)
        if not math.isfinite(float(losses.total.detach())):
            raise TrainingError(
                f"the loss of {name} is {float(losses.total.detach())} at step {step}; expected a finite number: "
                "lower rate in its section of the recipe and run the same command again, which trains it from the start"
            )
        run.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.follow(step)
        sums += torch.stack([loss.detach().cpu() for loss in losses])
        if i % 20 == 19:
            bar.set_postfix(loss=f"{float(sums[0]) / (i + 1):.4f}", refresh=False)
    means = (sums / settings.steps).tolist()
    return {f"train_{name}": round(v, 6) for name, v in zip(("total", "face", "box", "landmark"), means, strict=True)}


def _held_part(pool: CropPool) -> list[CropBatch]:
    """The same crops of held images every time, in batches; falls back on training crops where none are held.

    They stay bytes until they are judged: as net input those of ONet would take 700 MB in every process.
    """
    rng = np.random.default_rng(0)
    rows = []
    for kind, most in HELD_CROPS.items():
        found = pool.of(kind, held=True)
        found = found if len(found) else pool.of(kind)
        rows.append(np.sort(found if len(found) <= most else rng.choice(found, most, replace=False)))
    every = np.concatenate(rows)
    return [pool.read(every[i : i + 1000]) for i in range(0, len(every), 1000)]


@torch.no_grad()
def _held_outputs(run: _Run, state: dict[str, Tensor], held: list[CropBatch]) -> tuple[NetOutput, Targets]:
    """Net outputs and targets of the held part, joined."""
    module = NETS[run.net]().to(device=run.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    module.load_state_dict(state)
    outputs, targets = [], []
    for batch in held:
        x, wanted = tensors(batch)
        outputs.append(module(x.to(run.device)))
        targets.append(wanted)
    columns = zip(*outputs, strict=True)
    joined = NetOutput(*(None if column[0] is None else torch.cat(column).cpu() for column in columns))
    return joined, Targets(*(torch.cat(column) for column in zip(*targets, strict=True)))


def _judge(run: _Run, held: list[CropBatch]) -> dict[str, float]:
    """Losses on the held part, the share of faces found when 1 % of the background passes, and the merit of the epoch.

    Merit is that share less the weighted losses of boxes and landmarks. The face loss has no part in it: it punishes
    confidence, which grows long after ranking, all that a threshold can use, has stopped getting worse.
    """
    output, targets = _held_outputs(run, run.average, held)
    losses = multitask_loss(output, targets, run.settings, hard=1.0)
    named = zip(("total", "face", "box", "landmark"), losses, strict=True)
    logits = output.face_logits.flatten()
    faces, background = logits[targets.kinds == int(Kind.POS)], logits[targets.kinds == int(Kind.NEG)]
    recall = 0.0
    if len(faces) and len(background):
        recall = float((faces >= background.quantile(0.99)).float().mean())
    merit = recall - run.settings.box * float(losses.box) - run.settings.landmark * float(losses.landmark)
    figures = {f"held_{name}": round(float(v), 6) for name, v in named}
    return {**figures, "held_recall": round(recall, 5), "held_merit": round(merit, 6)}


def finish(run: _Run, held: list[CropBatch], target: Path, key: str, resume: Path) -> None:
    """Write the best weights, their scores put in place, with the recipe and what the held part says."""
    state = {name: value.clone() for name, value in run.best_state.items()}
    if run.settings.recall > 0:
        output, targets = _held_outputs(run, state, held)
        faces = output.face_logits.flatten()[targets.kinds == int(Kind.POS)]
        state["face.bias"][1] -= float(faces.quantile(1 - run.settings.recall))
    figures = {"held_merit": round(run.best, 6), "epochs": run.settings.epochs}
    recipe = asdict(run.settings)
    write(target, Checkpoint(run.net, state, recipe=recipe, recipe_hash=key, figures=figures))


def _save(state: dict[str, Any], path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, draft)
    os.replace(draft, path)


def _line(name: str, epoch: int, settings: TrainSettings, row: dict[str, float], judged: dict[str, float]) -> str:
    return (
        f"{name} {epoch + 1}/{settings.epochs}  train {row['train_total']:.4f}  held {judged['held_total']:.4f}  "
        f"face {judged['held_face']:.4f}  box {judged['held_box']:.4f}  landmark {judged['held_landmark']:.4f}  "
        f"recall at 1 % false alarms {judged['held_recall']:.4f}"
    )
