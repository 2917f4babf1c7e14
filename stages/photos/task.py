"""A single-stage detector as a task for `fit`: pictures drawn from photos, and the losses of its objective."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import Checkpoint, read
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_trunk, model_of
from mtcnn.detectors.trunks import TRUNKS
from mtcnn.errors import CheckpointError, RecipeError
from prepare.records import ImageRecord

from ..fit import Training, fit, on_device
from ..labels import NO_POINTS, have_landmarks
from ..objectives import TAUGHT, objective_class
from ..objectives.teacher import load_teacher
from .norms import fix_norms
from .recipe import DetectorRecipe
from .scenes import ScenePool
from .store import PhotoStore

__all__ = ["DetectorTask", "new_net", "no_landmarks", "train_detector"]


def new_net(recipe: DetectorRecipe, start: Path | None = None) -> nn.Module:
    """The net of a recipe with weights from its seed, or those at `start`, of the net or its trunk.

    Raises CheckpointError when these do not fit, RecipeError for fixed norms without initial weights.
    """
    torch.manual_seed(recipe.train.seed)
    net, fixed = build(recipe.net, recipe.model), recipe.train.fixed_norms
    if start is None:
        if fixed:
            raise RecipeError(
                f"recipe of {recipe.net}: train.fixed_norms is true without initial weights; name some as its start"
            )
        return net
    found = read(start)
    if found.net in TRUNKS:
        load_trunk(net, start)
        if fixed:
            fix_norms(net.trunk)  # type: ignore[arg-type]
        return net
    if found.net != recipe.net:
        raise CheckpointError(f"{start} holds weights of {found.net}; expected {recipe.net}, or its trunk")
    try:
        net.load_state_dict(found.tensors())
    except RuntimeError as error:
        raise CheckpointError(f"{start} does not fit {recipe.net}: {' '.join(str(error).split())[:160]}") from error
    if fixed:
        fix_norms(net)
    return net


def no_landmarks(recipe: DetectorRecipe, records: Sequence[ImageRecord], teacher: Path | None = None) -> str:
    """Why a training on these photos does not train the landmarks of its net; "" if it does, or if the net has none."""
    has_head = model_of(recipe.net, recipe.model).get("landmarks", True)  # which some nets may leave out
    if "landmarks" not in DETECTORS[recipe.net].decoder.names or not has_head:
        return ""
    if not getattr(recipe.objective, "landmark", 1.0):
        return "objective.landmark is 0"
    if recipe.objective.name in TAUGHT and teacher is not None:  # what the labels say is mixed into its outputs
        return "" if read(teacher).has_landmarks else "its teacher has learned none"
    pages = recipe.pictures.points > 0
    known = have_landmarks([record for record in records if record.complete or pages], recipe.train.val)
    return "" if known else NO_POINTS


def train_detector(
    recipe: DetectorRecipe,
    net: nn.Module,
    photos: PhotoStore,
    target: Path,
    key: str,
    device: str = "cpu",
    quiet: bool = False,
    teacher: Path | None = None,
    callbacks: Callbacks | None = None,
    until: int | None = None,
) -> None:
    """Train `net`, made by `new_net`, on pictures drawn from `photos` and write its weights to `target`; see `fit`.

    teacher  weights of a net with the same anchors, for objectives that use one.
    """
    fit(DetectorTask(recipe, net, photos, teacher), recipe.train, target, key, device, quiet, callbacks, until)


class DetectorTask:
    """See `fit.Task`. The last epoch gives the weights."""

    def __init__(self, recipe: DetectorRecipe, net: nn.Module, photos: PhotoStore, teacher: Path | None = None) -> None:
        self.recipe, self.name, self.module, self.clip = recipe, recipe.net, net, recipe.train.clip
        self.groups = _groups(net, recipe.train.weight_decay)
        closer = getattr(recipe.objective, "closer", False)
        runtime = None if teacher is None else load_teacher(teacher, recipe.net, closer)
        self.objective = objective_class(recipe.objective.name)(
            recipe.objective, DETECTORS[recipe.net].decoder, runtime
        )
        if recipe.pictures.unlabelled and runtime is None:
            raise RecipeError(
                f"pictures.unlabelled is {recipe.pictures.unlabelled}; expected 0 for the objective "
                f"{recipe.objective.name}, which learns from labels alone"
            )
        self.pool = ScenePool(photos, recipe, self.objective)
        if self.pool.drawing.has_unlabelled and runtime is None:
            raise RecipeError(
                f"pictures.shares name folders of photos without labels; expected labelled ones for the objective "
                f"{recipe.objective.name}, which learns from labels alone"
            )
        self.has_landmarks = not no_landmarks(recipe, photos.records, teacher)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[tuple[Tensor, Any]]:
        return self.pool.batches(epoch, rank, world)

    def loss(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.objective.loss(outputs, targets)
        return losses

    @torch.no_grad()
    def validate(self, training: Training) -> dict[str, float]:
        """Mean losses on pictures of the validation part; empty if there are none."""
        if not len(self.pool.val):
            return {}
        module, rows = training.averaged(), []
        for x, targets in self.pool.val_batches():
            losses = self.loss(training.forward(module, x), on_device(targets, training.device))
            rows.append({f"val_{name}": float(loss) for name, loss in losses.items()})
        return {name: round(math.fsum(row[name] for row in rows) / len(rows), 6) for name in rows[0]}

    def checkpoint(self, training: Training, figures: dict[str, float], key: str) -> Checkpoint:
        scaling, model = DETECTORS[self.name].scaling, model_of(self.name, self.recipe.model)
        measured = {**figures, "epochs": self.recipe.train.epochs}
        return Checkpoint(
            self.name,
            training.average,
            scaling=scaling,
            recipe=asdict(self.recipe),
            recipe_hash=key,
            figures=measured,
            model=model,
            has_landmarks=self.has_landmarks,
            threshold=self.recipe.train.threshold,
        )


def _groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for kernels, none for biases and norms."""
    kernels = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in net.parameters() if parameter.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
