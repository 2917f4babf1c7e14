"""The training loop, from top to bottom.

An epoch is a fixed number of steps and ends with a checkpoint. All chance comes from (seed, epoch), so a run killed at
any moment and started again repeats the epoch it was in and ends with the very weights of an unbroken run.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from mtcnn.checkpoint import Checkpoint, write
from mtcnn.nets import NETS
from mtcnn.progress import progress
from mtcnn.types import NetOutput
from prepare.labels import Kind
from prepare.records import CropBatch

from ..recipes import TrainSettings
from ..run_log import RunLog
from ..training import Training, world
from .batches import CropPool, tensors, training_batches
from .losses import Losses, Targets, multitask_loss

__all__ = ["train"]

HELD_CROPS = {Kind.NEG: 12_000, Kind.PART: 4_000, Kind.POS: 6_000, Kind.LANDMARK: 3_000}  # at most, for judging


_Run = Training[TrainSettings]


def _begin(net: str, name: str, settings: TrainSettings, start: dict[str, Tensor] | None, device: str) -> _Run:
    torch.manual_seed(settings.seed)
    module = NETS[net]()
    if start is not None:
        module.load_state_dict(start)
    groups = [{"params": list(module.parameters()), "weight_decay": settings.weight_decay}]
    return Training(net, name, module, groups, settings, device)


def train(
    net: str,
    pool: CropPool,
    settings: TrainSettings,
    target: Path,
    key: str,
    name: str | None = None,
    start: dict[str, Tensor] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Train `net` on the crops of `pool` and write its weights to `target`.

    target  beside it lie the checkpoint of the running training (train-<name>.pt), the log and the curves.
    key     names recipe and inputs; a checkpoint with the same key is gone on from.
    start   weights to start from.

    Raises TrainingError when the loss stops being finite; the last checkpoint stays.
    """
    name = name or net
    rank, count = world()
    run = _begin(net, name, settings, start, device)
    resume = target.with_name(f"train-{name}.pt")
    run.restore(resume, key)
    log = RunLog(target.parent, name, run.epoch) if rank == 0 else None
    model, held = run.parallel(), _held_part(pool)
    for epoch in range(run.epoch, settings.epochs):
        began = time.perf_counter()
        row = _epoch(run, model, pool, epoch, quiet)
        run.epoch = epoch + 1
        judged = _judge(run, held)
        run.keep_best(judged["held_merit"])
        if log is not None:
            seconds = time.perf_counter() - began
            rate = settings.steps * settings.batch / seconds
            log.add({"epoch": epoch, **row, **judged, "seconds": round(seconds, 1), "crops_per_second": round(rate)})
            log.draw()
            run.save(resume, key)
            if not quiet:
                tqdm.write(_line(name, epoch, settings, row, judged), file=sys.stderr)
    if rank == 0:
        _finish(run, held, target, key)
    if count > 1:
        dist.barrier()


def _epoch(run: _Run, model: nn.Module, pool: CropPool, epoch: int, quiet: bool) -> dict[str, float]:
    """One epoch of steps. Returns the mean losses."""
    settings, (rank, count) = run.settings, world()
    torch.manual_seed(settings.seed * 1_000_003 + epoch * 1_009 + rank)  # dropout
    model.train()
    sums = torch.zeros(4)
    batches = training_batches(pool, settings, epoch, rank, count)
    label = f"{run.name} {epoch + 1}/{settings.epochs}"
    bar = progress(batches, name=label, total=settings.steps, unit="step", leave=False, quiet=quiet or rank > 0)
    for i, (x, targets) in enumerate(bar):
        with run.precision():
            output: NetOutput = model(x.to(run.device))
        losses = multitask_loss(_float32(output), Targets(*(t.to(run.device) for t in targets)), settings)
        run.advance(losses.total, epoch * settings.steps + i)
        sums += torch.stack([loss.detach().cpu() for loss in losses])
        if i % 20 == 19:
            bar.set_postfix(loss=f"{float(sums[0]) / (i + 1):.4f}", refresh=False)
    return Losses(*sums / settings.steps).named("train", 6)


def _float32(output: NetOutput) -> NetOutput:
    return NetOutput(*(None if part is None else part.float() for part in output))


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
    logits = output.face_logits.flatten()
    faces, background = logits[targets.kinds == int(Kind.POS)], logits[targets.kinds == int(Kind.NEG)]
    recall = 0.0
    if len(faces) and len(background):
        recall = float((faces >= background.quantile(0.99)).float().mean())
    merit = recall - run.settings.box * float(losses.box) - run.settings.landmark * float(losses.landmark)
    return {**losses.named("held", 6), "held_recall": round(recall, 5), "held_merit": round(merit, 6)}


def _finish(run: _Run, held: list[CropBatch], target: Path, key: str) -> None:
    """Write the best weights, their scores put in place, with the recipe and what the held part says."""
    state = {name: value.clone() for name, value in run.best_state.items()}
    if run.settings.recall > 0:
        output, targets = _held_outputs(run, state, held)
        faces = output.face_logits.flatten()[targets.kinds == int(Kind.POS)]
        state["face.bias"][1] -= float(faces.quantile(1 - run.settings.recall))
    figures = {"held_merit": round(run.best, 6), "epochs": run.settings.epochs}
    recipe, scoring = asdict(run.settings), run.settings.score
    write(target, Checkpoint(run.net, state, recipe=recipe, recipe_hash=key, figures=figures, scoring=scoring))


def _line(name: str, epoch: int, settings: TrainSettings, row: dict[str, float], judged: dict[str, float]) -> str:
    return (
        f"{name} {epoch + 1}/{settings.epochs}  train {row['train_total']:.4f}  held {judged['held_total']:.4f}  "
        f"face {judged['held_face']:.4f}  box {judged['held_box']:.4f}  landmark {judged['held_landmark']:.4f}  "
        f"recall at 1 % false alarms {judged['held_recall']:.4f}"
    )
