"""The training loop of single-stage detectors.

As that of the cascade: an epoch is a fixed number of steps and ends with a checkpoint, all chance comes from (seed,
epoch), and a run killed at any moment and started again ends with the very weights of an unbroken run.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mtcnn.checkpoint import Checkpoint, write
from mtcnn.errors import TrainingError
from mtcnn.proposers import PROPOSERS

from .anchor_losses import AnchorLosses, detector_loss
from .anchor_targets import to
from .detector_recipe import DetectorRecipe
from .loop import _save, _world, learning_rate
from .run_log import RunLog
from .scenes import ScenePool, tensors

__all__ = ["train_detector"]


class _Run:
    """The state that a checkpoint of a running training holds."""

    def __init__(self, recipe: DetectorRecipe, start: dict[str, Tensor] | None, device: str) -> None:
        torch.manual_seed(recipe.train.seed)
        self.recipe, self.device = recipe, device
        self.module = PROPOSERS[recipe.net]()
        if start:
            own = self.module.state_dict()
            self.module.load_state_dict({**own, **start})
        self.module = self.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        settings = recipe.train
        decayed = [p for p in self.module.parameters() if p.ndim > 1]
        plain = [p for p in self.module.parameters() if p.ndim <= 1]  # biases and the scales of batch norm
        groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay)
        self.epoch = 0

    def state(self, key: str) -> dict[str, Any]:
        return {
            "key": key,
            "epoch": self.epoch,
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
        self.average, self.epoch = state["average"], state["epoch"]

    def follow(self, step: int) -> None:
        """Move the average towards the weights; at first faster, so that the start is forgotten."""
        decay = min(self.recipe.train.ema, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)  # batch norm's count of batches


def train_detector(
    recipe: DetectorRecipe,
    pool: ScenePool,
    folder: Path,
    target: Path,
    key: str,
    start: dict[str, Tensor] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Train a detector on the pictures of `pool` and write its weights to `target`.

    folder  for the checkpoint of the running training (train-<net>.pt), the log and the curves.
    key     names recipe and inputs; a checkpoint in `folder` with the same key is gone on from.
    start   weights to start from, all of them or a part such as a trunk.

    Raises TrainingError when the loss stops being finite; the last checkpoint stays.
    """
    settings, (rank, world) = recipe.train, _world()
    run = _Run(recipe, start, device)
    resume = folder / f"train-{recipe.net}.pt"
    run.restore(resume, key)
    log = RunLog(folder, recipe.net, run.epoch) if rank == 0 else None
    model = nn.parallel.DistributedDataParallel(run.module) if world > 1 else run.module
    figures: dict[str, float] = {}
    for epoch in range(run.epoch, settings.epochs):
        began = time.perf_counter()
        row = _epoch(run, model, pool, epoch, quiet)
        run.epoch = epoch + 1
        if log is not None:
            figures = _judge(run, pool)
            seconds = time.perf_counter() - began
            log.add({"epoch": epoch, **row, **figures, "seconds": round(seconds, 1)})
            log.draw()
            _save(run.state(key), resume)
            if not quiet:
                tqdm.write(_line(recipe.net, epoch, settings.epochs, {**row, **figures}), file=sys.stderr)
    if rank == 0:
        figures = {**(figures or _judge(run, pool)), "epochs": settings.epochs}
        write(
            target,
            Checkpoint(
                recipe.net,
                run.average,
                scaling=run.module.scaling,
                recipe=asdict(recipe),
                recipe_hash=key,
                figures=figures,
            ),
        )
    if world > 1:
        torch.distributed.barrier()


def _epoch(run: _Run, model: nn.Module, pool: ScenePool, epoch: int, quiet: bool) -> dict[str, float]:
    """One epoch of steps. Returns the mean losses."""
    recipe, settings, (rank, world) = run.recipe, run.recipe.train, _world()
    model.train()
    sums = torch.zeros(4)
    batches = pool.batches(
        recipe.pictures, settings.batch, settings.steps, (settings.seed, epoch), run.module, recipe.match, rank, world
    )
    label = f"{recipe.net} {epoch + 1}/{settings.epochs}"
    bar = tqdm(batches, total=settings.steps, desc=label, unit="step", leave=False, disable=quiet or rank > 0)
    for i, (x, targets) in enumerate(bar):
        step = epoch * settings.steps + i
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        losses = _losses(model, x, targets, run)
        total = float(losses.total.detach())
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss of {recipe.net} is {total} at step {step}; expected a finite number: lower rate in its "
                "recipe and run the same command again, which trains it from the start"
            )
        run.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.module.parameters(), settings.clip)
        run.optimizer.step()
        run.follow(step)
        sums += torch.stack([loss.detach().cpu() for loss in losses])
    return _named("train", (sums / settings.steps).tolist())


def _losses(model: nn.Module, x: Tensor, targets: Any, run: _Run) -> AnchorLosses:
    settings = run.recipe.train
    weights = (settings.face, settings.box, settings.landmark)
    return detector_loss(model(x.to(run.device)), to(targets, run.device), weights, settings.negatives, settings.least)


def _named(part: str, values: list[float]) -> dict[str, float]:
    return {f"{part}_{n}": round(v, 5) for n, v in zip(("total", "face", "box", "landmark"), values, strict=True)}


@torch.no_grad()
def _judge(run: _Run, pool: ScenePool) -> dict[str, float]:
    """Losses of the averaged weights on the same pictures of held images every time; nothing where none are held."""
    if not len(pool.held):
        return {}
    recipe, rng = run.recipe, np.random.default_rng(0)
    module = PROPOSERS[recipe.net]().to(device=run.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    module.load_state_dict(run.average)
    sums, batches = torch.zeros(4), 0
    for first in range(0, min(len(pool.held), 160), 8):
        images = pool.held[first : first + 8].tolist()
        scenes = [pool.scene(image, int(recipe.pictures.sizes[0]), recipe.pictures, rng) for image in images]
        x, targets = tensors(scenes, module, recipe.match)
        sums += torch.stack([loss.cpu() for loss in _losses(module, x, targets, run)])
        batches += 1
    return _named("held", (sums / batches).tolist())


def _line(net: str, epoch: int, epochs: int, row: dict[str, float]) -> str:
    parts = [f"{name} {row[f'train_{name}']:.4f}" for name in ("total", "face", "box", "landmark")]
    held = f"  held {row['held_total']:.4f}  face {row['held_face']:.4f}" if "held_total" in row else ""
    return f"{net} {epoch + 1}/{epochs}  {'  '.join(parts)}{held}"
