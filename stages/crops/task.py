"""A net of the cascade as a task for `fit`: batches of crops, and the choice of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import Checkpoint
from mtcnn.nets import CLASSES
from mtcnn.types import NetOutput
from mtcnn.weights import SECOND
from prepare.labels import Kind
from prepare.records import CropBatch

from ..fit import Training, fit
from .batches import CropPool, tensors, training_batches
from .loss import Targets, multitask_loss
from .recipe import TrainSettings

__all__ = ["CropTask", "train"]

# Maximum number of validation crops.
VAL_CROPS = {Kind.NEG: 12_000, Kind.PART: 4_000, Kind.POS: 6_000, Kind.LANDMARK: 3_000}


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
    callbacks: Callbacks | None = None,
) -> None:
    """Train `net` on the crops of `pool` and write its weights to `target`, see `fit`.

    name  of the run, the net's by default.    start  weights to start from, random by default.
    """
    fit(CropTask(net, name or net, pool, settings, start), settings, target, key, device, quiet, callbacks)


class CropTask:
    """See `fit.Task`. The epoch with the best `val_score` gives the weights."""

    clip = math.inf

    def __init__(
        self, net: str, name: str, pool: CropPool, settings: TrainSettings, start: dict[str, Tensor] | None = None
    ) -> None:
        self.net, self.name, self.pool, self.settings = net, name, pool, settings
        torch.manual_seed(settings.seed)
        self.module = CLASSES[net]()
        if start is not None:
            self.module.load_state_dict(start)
        self.groups = [{"params": list(self.module.parameters()), "weight_decay": settings.weight_decay}]
        self.val = _validation_part(pool)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[tuple[Tensor, Any]]:
        return training_batches(self.pool, self.settings, epoch, rank, world)

    def loss(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return multitask_loss(outputs, targets, self.settings)

    def validate(self, training: Training) -> dict[str, float]:
        """Validation losses, the recall at 1 % false positives, and the score of the epoch.

        The score is that recall minus the weighted losses of boxes and landmarks. The face loss is excluded: it
        penalises confidence, which keeps growing after the ranking, all that matters for a threshold, has converged.
        """
        output, targets = self._outputs(training)
        losses = multitask_loss(output, targets, self.settings, hard=1.0)
        logits = output.face_logits.flatten()
        faces, background = logits[targets.kinds == int(Kind.POS)], logits[targets.kinds == int(Kind.NEG)]
        recall = 0.0
        if len(faces) and len(background):
            recall = float((faces >= background.quantile(0.99)).float().mean())
        score = recall
        for name in (each for each in losses if each not in ("total", "face")):
            score -= getattr(self.settings, name) * float(losses[name])
        figures = {f"val_{name}": round(float(loss), 6) for name, loss in losses.items()}
        return {**figures, "val_recall": round(recall, 5), "val_score": round(score, 6)}

    def checkpoint(self, training: Training, figures: dict[str, float], key: str) -> Checkpoint:
        """The best weights, with the face bias shifted for `recall`."""
        state = {name: value.clone() for name, value in training.best_state.items()}
        if self.settings.recall > 0:
            output, targets = self._outputs(training, state)
            faces = output.face_logits.flatten()[targets.kinds == int(Kind.POS)]
            state["face.bias"][1] -= float(faces.quantile(1 - self.settings.recall))
        figures = {"val_score": round(training.best, 6), "epochs": self.settings.epochs}
        recipe, scoring = asdict(self.settings), self.settings.score
        return Checkpoint(
            self.net, state, recipe=recipe, recipe_hash=key, figures=figures, scoring=scoring,
            has_landmarks=self.net not in ("onet", SECOND) or self.settings.trains_landmarks,
            threshold=self.settings.threshold,
        )  # fmt: skip

    @torch.no_grad()
    def _outputs(self, training: Training, state: dict[str, Tensor] | None = None) -> tuple[NetOutput, Targets]:
        """Outputs and targets on the validation part, concatenated, of the averaged weights or of `state`."""
        module = training.averaged(state)
        outputs, targets = [], []
        for batch in self.val:
            x, wanted = tensors(batch)
            outputs.append(module(x.to(training.device)))
            targets.append(wanted)
        columns = zip(*outputs, strict=True)
        joined = NetOutput(*(None if column[0] is None else torch.cat(column).cpu() for column in columns))
        return joined, Targets(*(torch.cat(column) for column in zip(*targets, strict=True)))


def _validation_part(pool: CropPool) -> list[CropBatch]:
    """A fixed set of validation crops, in batches; training crops for kinds that have none.

    They stay uint8 until used: as net input, those of ONet would take 700 MB in every process.
    """
    rng = np.random.default_rng(0)
    rows = []
    for kind, limit in VAL_CROPS.items():
        found = pool.of(kind, val=True)
        found = found if len(found) else pool.of(kind)
        rows.append(np.sort(found if len(found) <= limit else rng.choice(found, limit, replace=False)))
    every = np.concatenate(rows)
    return [pool.read(every[i : i + 1000]) for i in range(0, len(every), 1000)]
