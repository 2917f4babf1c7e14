"""The pictures of one training step: drawn from photos by chance that depends on seed, epoch and place alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mtcnn.errors import DataError
from mtcnn.nets import to_input
from mtcnn.proposers.anchors import Layout

from .anchor_targets import AnchorTargets, encode, stack
from .assigners import MatchSettings
from .photos import Photos
from .square_crops import PictureSettings, Scene, colours, crop, mirrored, page, square_crop, tile

__all__ = ["ScenePool", "tensors"]

Array = NDArray[Any]
TILES = (2, 8)  # faces in a row of a page, least and most


class ScenePool:
    """Photos to draw training pictures from.

    scenes  images whose faces are all labelled.    faces  (image, face) whose five points are known.

    Raises DataError when no image is fully labelled.
    """

    def __init__(self, photos: Photos, held: float = 0.0) -> None:
        self.photos = photos
        complete = [i for i, record in enumerate(photos.records) if record.complete]
        self.scenes = np.array([i for i in complete if not photos.records[i].held(held)], np.int64)
        self.held = np.array([i for i in complete if photos.records[i].held(held)], np.int64)
        self.faces = np.array(
            [
                (i, face)
                for i, record in enumerate(photos.records)
                for face in np.flatnonzero(np.isfinite(record.landmarks).all(axis=(1, 2)) & ~record.ignore)
            ],
            np.int64,
        ).reshape(-1, 2)
        if not len(self.scenes):
            raise DataError("no image with all its faces labelled; a detector needs some, such as those of WIDER FACE")

    def scene(self, image: int, size: int, settings: PictureSettings, rng: Any) -> Scene:
        """A training picture of photo `image`, or now and then a page of faces instead."""
        if len(self.faces) and rng.random() < settings.points:
            scene = self.page(size, rng)
        else:
            photo, record = self.photos[image], self.photos.records[image]
            height, width = photo.shape[:2]
            window = square_crop(record, height, width, settings.crop, rng)
            scene = crop(photo, record, window, size, settings.smallest)
        scene = scene._replace(image=colours(scene.image, settings, rng))
        return mirrored(scene) if rng.random() < 0.5 else scene

    def page(self, size: int, rng: Any) -> Scene:
        """A picture tiled with faces whose points are known."""
        count = int(rng.integers(TILES[0], TILES[1] + 1))
        tiles = []
        for image, face in self.faces[rng.integers(len(self.faces), size=count * count)]:
            tiles.append(tile(self.photos[image], self.photos.records[image].landmarks[face], size // count, rng))
        return page(tiles, size)

    def batches(
        self,
        settings: PictureSettings,
        batch: int,
        steps: int,
        seed: tuple[int, int],
        net: nn.Module,
        matching: MatchSettings,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[Tensor, AnchorTargets]]:
        """The batches of an epoch, `seed` (recipe's seed, epoch). Of `world` processes each gets its part.

        Every process makes the draws of all, so that the pictures of an epoch are the same for any number of them; only
        the sizes, where there are several, are drawn for each process by itself.
        """
        rng = np.random.default_rng(seed)
        order = _endless(self.scenes, rng)
        for _ in range(steps):
            sides = [int(settings.sizes[rng.integers(len(settings.sizes))]) for _ in range(world)]
            counts = [max(round(batch / world * (settings.sizes[0] / side) ** 2), 1) for side in sides]
            drawn = [(next(order), int(rng.integers(1 << 62))) for _ in range(sum(counts))]
            mine = drawn[sum(counts[:rank]) : sum(counts[: rank + 1])]
            scenes = [self.scene(image, sides[rank], settings, np.random.default_rng(key)) for image, key in mine]
            yield tensors(scenes, net, matching)


def tensors(scenes: list[Scene], net: nn.Module, matching: MatchSettings) -> tuple[Tensor, AnchorTargets]:
    """Input (N, 3, S, S) float32 of a net, as its `scaling` says, and the targets of the anchors of its `layout`."""
    layout: Layout = net.layout  # type: ignore[assignment]
    x = to_input(np.stack([scene.image for scene in scenes]), scaling=net.scaling)  # type: ignore[arg-type]
    return x, stack([encode(scene, layout, matching) for scene in scenes])


def _endless(items: NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    """All items in random order, again and again."""
    while True:
        yield from rng.permutation(items).tolist()
