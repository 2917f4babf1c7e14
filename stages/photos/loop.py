"""The training loop of single-stage detectors, from top to bottom.

As that of the cascade: an epoch is a fixed number of steps and ends with a checkpoint, all chance comes from (seed,
epoch), and a run killed at any moment and started again ends with the very weights of an unbroken run.
"""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from mtcnn.checkpoint import Checkpoint, read, write
from mtcnn.detectors import PROPOSERS
from mtcnn.detectors.anchors import Layout, map_sizes
from mtcnn.detectors.blocks import ProposerOutput
from mtcnn.detectors.trunks import TRUNKS, load_trunk
from mtcnn.errors import CheckpointError
from mtcnn.progress import progress
from mtcnn.weights import Scaling

from ..crops.losses import Losses
from ..objectives.multibox import detector_loss
from ..objectives.targets import AnchorTargets, to
from ..run_log import RunLog
from ..training import Training, world
from .recipe import DetectorRecipe, DetectorSettings
from .scenes import ScenePool
from .store import Photos

__all__ = ["new_net", "train_detector"]

_Run = Training[DetectorSettings]


def new_net(recipe: DetectorRecipe, start: Path | None = None) -> nn.Module:
    """The net of a recipe with random weights, the same for the same seed; or those at `start`, of it or its trunk.

    Raises CheckpointError when these do not fit.
    """
    torch.manual_seed(recipe.train.seed)
    net = PROPOSERS[recipe.net](width=recipe.width)
    if start is None:
        return net
    found = read(start)
    if found.net in TRUNKS:
        load_trunk(net, start)
        return net
    if found.net != recipe.net:
        raise CheckpointError(f"{start} holds weights of {found.net}; expected {recipe.net}, or its trunk")
    try:
        net.load_state_dict(found.tensors())
    except RuntimeError as error:
        raise CheckpointError(f"{start} does not fit {recipe.net}: {' '.join(str(error).split())[:160]}") from error
    return net


def train_detector(
    recipe: DetectorRecipe,
    net: nn.Module,
    photos: Photos,
    target: Path,
    key: str,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Train `net` on pictures drawn from `photos` and write its weights to `target`.

    net     of `new_net`, with the weights to start from.
    target  beside it lie the checkpoint of the running training (train-<net>.pt), the log and the curves.
    key     names recipe and inputs; a checkpoint with the same key is gone on from.

    Raises TrainingError when the loss stops being finite; the last checkpoint stays.
    """
    rank, count = world()
    run = Training(recipe.net, recipe.net, net, _groups(net, recipe.train.weight_decay), recipe.train, device)
    pool, resume = ScenePool(photos, recipe, net), target.with_name(f"train-{recipe.net}.pt")
    run.restore(resume, key)
    log = RunLog(target.parent, recipe.net, run.epoch) if rank == 0 else None
    model, judged = run.parallel(), _judge(run, recipe, pool) if run.epoch else {}
    for epoch in range(run.epoch, recipe.train.epochs):
        began = time.perf_counter()
        row = _epoch(run, recipe, model, pool, epoch, quiet)
        run.epoch = epoch + 1
        judged = _judge(run, recipe, pool)  # by all processes, as losses are divided by counts of all
        if log is not None:
            log.add({"epoch": epoch, **row, **judged, "seconds": round(time.perf_counter() - began, 1)})
            log.draw()
            run.save(resume, key)
            if not quiet:
                tqdm.write(_line(run, {**row, **judged}), file=sys.stderr)
    if rank == 0:
        scaling: Scaling = net.scaling  # type: ignore[assignment]
        figures = {**judged, "epochs": recipe.train.epochs}
        write(target, Checkpoint(recipe.net, run.average, "rgb", scaling, asdict(recipe), key, figures))
    if count > 1:
        dist.barrier()


def _groups(net: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for kernels; biases, and the scales of norms, are left alone by it."""
    kernels = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in net.parameters() if parameter.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _epoch(
    run: _Run, recipe: DetectorRecipe, model: nn.Module, pool: ScenePool, epoch: int, quiet: bool
) -> dict[str, float]:
    """One epoch of steps. Returns the mean losses."""
    rank, count = world()
    model.train()
    sums, settings = torch.zeros(len(Losses._fields)), run.settings
    label = f"{run.name} {epoch + 1}/{settings.epochs}"
    batches = pool.batches(epoch, rank, count)
    bar = progress(batches, name=label, total=settings.steps, unit="step", leave=False, quiet=quiet or rank > 0)
    for i, (x, targets) in enumerate(bar):
        losses = _losses(run, recipe, model, x, targets)
        run.advance(losses.total, epoch * settings.steps + i, settings.clip)
        sums += torch.stack([loss.detach().cpu() for loss in losses])
        if i % 20 == 19:
            bar.set_postfix(loss=f"{float(sums[0]) / (i + 1):.4f}", refresh=False)
    return Losses(*sums / settings.steps).named("train", 5)


def _losses(run: _Run, recipe: DetectorRecipe, model: nn.Module, x: Tensor, targets: AnchorTargets) -> Losses:
    layout: Layout = run.module.layout
    maps = map_sizes(x.shape[2], x.shape[3], layout)
    levels = [rows * columns * len(level.sizes) for (rows, columns), level in zip(maps, layout, strict=True)]
    with run.precision():
        output: ProposerOutput = model(x.to(run.device))
    points = output.landmark_codes
    output = ProposerOutput(
        output.class_logits.float(), output.box_codes.float(), None if points is None else points.float()
    )
    return detector_loss(output, to(targets, run.device), levels, recipe.sample, run.settings)


@torch.no_grad()
def _judge(run: _Run, recipe: DetectorRecipe, pool: ScenePool) -> dict[str, float]:
    """Mean losses of the averaged weights on pictures of held images; nothing where none are held."""
    if not len(pool.held):
        return {}
    module = copy.deepcopy(run.module).eval()
    module.load_state_dict(run.average)
    rows = [torch.stack([*_losses(run, recipe, module, x, targets)]).cpu() for x, targets in pool.held_batches()]
    return Losses(*torch.stack(rows).mean(dim=0)).named("held", 5)


def _line(run: _Run, row: dict[str, float]) -> str:
    figures = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items())
    return f"{run.name} {run.epoch}/{run.settings.epochs}  {figures}"
