"""Batches of crops: the mix of kinds, and augmentation that transforms boxes and landmarks too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtcnn import boxes as box
from mtcnn.errors import DataError
from mtcnn.nets import to_input
from prepare.labels import Kind
from prepare.records import CropBatch
from prepare.store import CropStore

from .loss import Targets
from .recipe import TrainSettings

__all__ = ["CropPool", "augment", "flip", "move", "tensors", "training_batches"]

WHOLE = (0.0, 0.0, 1.0, 1.0)  # the box that is the crop, in its units


class CropPool:
    """Several stores as one, split by image into training and validation. `kinds` and `val` describe its rows."""

    def __init__(self, stores: Sequence[CropStore]) -> None:
        self.stores = list(stores)
        self.starts = np.cumsum([0] + [len(store) for store in stores])
        self.kinds = np.concatenate([store.kinds for store in stores])
        self.val = np.concatenate([store.val for store in stores])

    def of(self, kind: Kind, val: bool = False) -> NDArray[np.int64]:
        """Rows of one kind, in the training part or the validation part."""
        return np.flatnonzero((self.kinds == kind) & (self.val == val))

    def read(self, rows: NDArray[np.int64]) -> CropBatch:
        """Crops of `rows`, in this order."""
        parts, order = [], []
        for number, store in enumerate(self.stores):
            mine = np.flatnonzero((rows >= self.starts[number]) & (rows < self.starts[number + 1]))
            if len(mine):
                parts.append(store.read(rows[mine] - self.starts[number]))
                order.append(mine)
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(order))
        whole = CropBatch.concat(parts)
        return CropBatch(*(getattr(whole, name)[back] for name in CropBatch.__dataclass_fields__))


def flip(batch: CropBatch, mirrored: NDArray[np.bool_]) -> CropBatch:
    """Mirror the crops where `mirrored` (N,) says so, with their offsets and landmarks."""
    crops, offsets, points = batch.crops.copy(), batch.offsets.copy(), batch.landmarks.copy()
    crops[mirrored] = crops[mirrored][:, :, ::-1]
    offsets[mirrored] = box.mirror_offsets(offsets[mirrored])
    points[mirrored] = box.mirror_landmarks(points[mirrored])
    return CropBatch(crops, batch.kinds, offsets, points, batch.scores)


def _colours(x: Tensor, strength: float, chance: NDArray[Any]) -> Tensor:
    """Random saturation, contrast and brightness per crop of x (N, 3, S, S); chance (N, 3) in [-1, 1]."""
    drawn = torch.from_numpy(chance).float()[:, :, None, None, None] * strength
    gray = x.mean(dim=1, keepdim=True)
    x = gray + (x - gray) * (1 + drawn[:, 0])
    return (x * (1 + drawn[:, 1]) + drawn[:, 2]).clamp_(-1, 1)


def move(x: Tensor, targets: Targets, settings: TrainSettings, rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """Crops x (N, 3, S, S) seen through windows that are shifted and resized at random, with their targets.

    Pixels beyond the border of a crop are those at the border.
    """
    count, grow = len(x), np.log1p(settings.scale)
    side = torch.from_numpy(np.exp(rng.uniform(-grow, grow, count))).float()
    centre = torch.from_numpy(rng.uniform(-settings.shift, settings.shift, (count, 2))).float() + 0.5
    corner = centre - side[:, None] / 2  # (N, 2), of the window, in units of the crop
    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0], grid[:, 1, 1], grid[:, :, 2] = side, side, 2 * centre - 1
    places = F.affine_grid(grid, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, places, padding_mode="border", align_corners=False)
    boxes = targets.offsets + targets.offsets.new_tensor(WHOLE)
    offsets = (boxes - corner.repeat(1, 2)) / side[:, None] - boxes.new_tensor(WHOLE)
    points = (targets.landmarks - corner[:, None]) / side[:, None, None]
    return moved.contiguous(memory_format=torch.channels_last), targets._replace(offsets=offsets, landmarks=points)


def augment(batch: CropBatch, settings: TrainSettings, rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """A training batch as tensors: random horizontal flips, windows, colours, and blur."""
    mirrored, blurred = rng.random(len(batch)) < 0.5, rng.random(len(batch)) < settings.blur
    chance = rng.uniform(-1, 1, (len(batch), 3))
    x, targets = tensors(flip(batch, mirrored))
    if settings.shift or settings.scale:
        x, targets = move(x, targets, settings, rng)
    if blurred.any():
        small = F.avg_pool2d(x[blurred], 2)
        x[blurred] = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    return (_colours(x, settings.colour, chance) if settings.colour else x), targets


def tensors(batch: CropBatch) -> tuple[Tensor, Targets]:
    """Net input (N, 3, S, S) float32 and targets."""
    values = (batch.kinds, batch.offsets, batch.landmarks, batch.scores)
    return to_input(batch.crops), Targets(*(torch.from_numpy(np.ascontiguousarray(value)) for value in values))


def training_batches(
    pool: CropPool, settings: TrainSettings, epoch: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Targets]]:
    """The batches of one epoch: `steps` draws of the mix, at random with replacement.

    Randomness depends only on seed and epoch. Every process draws for all and reads only its share, so the crops of an
    epoch are the same for any number of processes.

    Raises DataError if a kind of the mix is missing.
    """
    rows = {kind: pool.of(kind) for kind, count in settings.mix.counts(settings.batch).items() if count}
    missing = [kind.name for kind, found in rows.items() if not len(found)]
    if missing:
        raise DataError(f"no {missing[0]} crops in {pool.stores[0].path}; expected some of each kind in the mix")
    rng = np.random.default_rng([settings.seed, epoch])
    counts = settings.mix.counts(settings.batch)
    for _ in range(settings.steps):
        drawn = np.concatenate([found[rng.integers(len(found), size=counts[kind])] for kind, found in rows.items()])
        step_seed = int(rng.integers(1 << 62))
        yield augment(pool.read(drawn[rank::world]), settings, np.random.default_rng([step_seed, rank]))
