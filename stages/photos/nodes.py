"""The nodes of single-stage detectors: the photos, decoded once for all of them, and the weights of each."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from mtcnn.checkpoint import weights_path
from mtcnn.files.atomic_write import draft_of
from prepare.records import ImageRecord

from ..graph.dag import Node, Options, weights_key
from ..graph.launch import launch
from ..recipes import digest
from .recipe import DetectorRecipe
from .store import Photos, build_photos, photos_key
from .task import new_net, train_detector

__all__ = ["detector_nodes", "keep_start", "train_on_photos"]


def detector_nodes(
    work: Path, recipes: Iterable[DetectorRecipe], records: Sequence[ImageRecord], data: str, options: Options
) -> list[Node]:
    """The nodes of a work folder, in building order; none without recipes. records, data  the images, and their key."""
    photos = work / "photos.raw"

    def run(key: str) -> None:
        build_photos(records, photos, key, quiet=options.quiet)

    first = Node(photos.stem, (), photos, {"data": data}, run, photos_key)
    trainings = [_training(work, recipe, first, records, options) for recipe in recipes]
    return [first, *trainings] if trainings else []


def _training(
    work: Path, recipe: DetectorRecipe, photos: Node, records: Sequence[ImageRecord], options: Options
) -> Node:
    start, makes = _start_path(work, recipe.net), weights_path(work, recipe.net)
    parts = {
        f"recipe's {name}" if isinstance(value, str) else f"recipe section [{name}]": digest(value)
        for name, value in vars(recipe).items()
    }
    parts[photos.name] = photos.key
    if start.is_file():
        parts["start"] = hashlib.sha256(start.read_bytes()).hexdigest()

    def run(key: str) -> None:
        given = start if "start" in parts else None
        job = partial(train_on_photos, recipe, records, photos.makes, makes, key, given, options.device, options.quiet)
        launch(job, options.processes, options.device)

    return Node(recipe.net, (photos.name,), makes, parts, run, weights_key)


def train_on_photos(
    recipe: DetectorRecipe,
    records: Sequence[ImageRecord],
    photos: Path,
    target: Path,
    key: str,
    start: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """`train_detector` with photos and start given by their paths, so that it can travel to another process."""
    net = new_net(recipe, start)
    train_detector(recipe, net, Photos(photos, records), target, key, device, quiet)


def _start_path(work: Path, net: str) -> Path:
    return weights_path(work, net).with_name(f"start-{net}.pt")


def keep_start(work: Path, recipe: DetectorRecipe, start: Path) -> None:
    """Copy the weights that a detector is to start from into the work folder, where later commands find them.

    Raises CheckpointError when they do not fit the recipe's net.
    """
    new_net(recipe, start)  # complains now, and not after minutes of decoding
    with draft_of(_start_path(work, recipe.net)) as draft:  # the processes of torchrun all do this at once
        shutil.copyfile(start, draft)
