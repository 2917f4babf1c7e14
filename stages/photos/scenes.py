"""The pictures of a training step, drawn from photos; randomness depends only on seed, epoch and position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.errors import DataError, RecipeError
from mtcnn.nets import to_input
from prepare.points import pointed_faces

from ..objectives import Objective
from ..objectives.targets import stack
from ..scene import Scene
from .colour import distort
from .crops import anchored_crop, crop, fill, mirrored, square_crop
from .drawing import Drawing
from .pages import page, tile
from .recipe import DetectorRecipe
from .store import PhotoStore

__all__ = ["ScenePool"]

ROW = (2, 8)  # faces per row of a page, min and max
VAL_IMAGES = 160  # enough for a mean loss; an epoch must not wait long for it


class ScenePool:
    """Draws training pictures from photos, by one recipe.

    scenes  int64, images whose faces are all labelled.    val  those of the validation part.
    faces   int64 (F, 2), image and row of the faces whose five points are known.
    val_faces  those of the validation part, which is not in `faces`.
    unlabelled  int64, images without labels.

    Raises DataError if no image is fully labelled, or the recipe needs unlabelled ones and there are none.
    """

    def __init__(self, photos: PhotoStore, recipe: DetectorRecipe, objective: Objective) -> None:
        self.photos, self.recipe, self.objective = photos, recipe, objective
        self.spec = DETECTORS[recipe.net]
        decoder = self.spec.decoder
        layout = decoder.layout if isinstance(decoder, SsdCodes | Distances) else ()
        self.sides = [side for level in layout for side in level.sizes]
        if recipe.pictures.anchored and not self.sides:
            raise RecipeError(
                f"pictures.anchored is {recipe.pictures.anchored}; expected 0: {recipe.net} has no anchors"
            )
        complete = [i for i, record in enumerate(photos.records) if record.complete]
        val = np.array([photos.records[i].is_val(recipe.train.val) for i in complete], bool)
        self.scenes, self.val = np.array(complete, np.int64)[~val], np.array(complete, np.int64)[val]
        pairs = [
            (i, face)
            for i, (record, (_, height, width)) in enumerate(zip(photos.records, photos.places, strict=True))
            for face in pointed_faces(record, height, width)
        ]
        of_val = np.array([photos.records[i].is_val(recipe.train.val) for i, _ in pairs], bool)
        self.faces, self.val_faces = (np.array(pairs, np.int64).reshape(-1, 2)[part] for part in (~of_val, of_val))
        self.unlabelled = np.array(
            [i for i, each in enumerate(photos.records) if not each.complete and not len(each.boxes)], np.int64
        )
        if not len(self.scenes):
            raise DataError("no image with all its faces labelled; a detector needs some, such as those of WIDER FACE")
        if recipe.pictures.unlabelled and not len(self.unlabelled):
            raise DataError(
                f"no image without labels, pictures.unlabelled is {recipe.pictures.unlabelled}; expected some: "
                "name a folder of photos: unlabelled:FOLDER"
            )
        pictures = recipe.pictures
        self.drawing = Drawing(photos.records, self.scenes, self.unlabelled, pictures.unlabelled, pictures.shares)

    def scene(self, image: int, size: int, rng: np.random.Generator) -> Scene:
        """A training picture of photo `image`, or sometimes a page of faces instead."""
        return self._scene(image, self.faces, size, rng)

    def _scene(self, image: int, faces: NDArray[np.int64], size: int, rng: np.random.Generator) -> Scene:
        made = self._page(faces, size, rng) if len(faces) and rng.random() < self.recipe.pictures.points else None
        made = made or self._crop(image, size, rng)
        return mirrored(made) if rng.random() < 0.5 else made

    def _crop(self, image: int, size: int, rng: np.random.Generator) -> Scene:
        settings, photo, record = self.recipe.pictures, self.photos[image], self.photos.records[image]
        height, width = photo.shape[:2]
        if rng.random() < settings.anchored:
            window = anchored_crop(record, height, width, size, self.sides, rng)
        else:
            window = square_crop(record, height, width, settings.crop, rng)
        made = crop(photo, record, window, size, settings.min_face, settings.min_landmark_face)
        pixels = distort(made.image, settings, rng)
        return made._replace(image=fill(pixels, window, height, width, self.spec.padding))

    def _page(self, faces: NDArray[np.int64], size: int, rng: np.random.Generator) -> Scene:
        count = int(rng.integers(ROW[0], ROW[1] + 1))
        tiles = []
        for image, face in faces[rng.integers(len(faces), size=count * count)]:
            tiles.append(tile(self.photos[image], self.photos.records[image].landmarks[face], size // count, rng))
        made = page(tiles, size)
        return made._replace(image=distort(made.image, self.recipe.pictures, rng))

    def batches(self, epoch: int, rank: int = 0, count: int = 1) -> Iterator[tuple[Tensor, Any]]:
        """The batches of an epoch, see `tensors`. Of `count` processes each gets its part.

        Every process draws for all, so that no picture comes twice. Sizes are drawn per process, and every batch has
        about the same number of pixels: the pictures depend on the number of processes.
        """
        settings, sizes = self.recipe.train, self.recipe.pictures.sizes
        rng = np.random.default_rng([settings.seed, epoch])
        images = self.drawing.images(rng)
        for _ in range(settings.steps):
            sides = [int(sizes[rng.integers(len(sizes))]) for _ in range(count)]
            shares = [max(round(settings.batch / count * (sizes[0] / side) ** 2), 1) for side in sides]
            drawn = [(next(images), int(rng.integers(1 << 62))) for _ in range(sum(shares))]
            mine = drawn[sum(shares[:rank]) : sum(shares[: rank + 1])]
            yield self.tensors([self.scene(image, sides[rank], np.random.default_rng(key)) for image, key in mine])

    def val_batches(self) -> Iterator[tuple[Tensor, Any]]:
        """A fixed set of pictures, of at most VAL_IMAGES validation images."""
        rng, size = np.random.default_rng(0), int(self.recipe.pictures.sizes[0])
        for first in range(0, min(len(self.val), VAL_IMAGES), 8):
            yield self.tensors([self._scene(image, self.val_faces, size, rng) for image in self.val[first : first + 8]])

    def tensors(self, scenes: Sequence[Scene]) -> tuple[Tensor, Any]:
        """Net input (N, 3, S, S) float32, and the targets of the objective."""
        x = to_input(np.stack([scene.image for scene in scenes]), scaling=self.spec.scaling)
        return x, stack([self.objective.targets(scene) for scene in scenes])
