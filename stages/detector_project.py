"""Single-stage detectors in a work folder: the recipe, the photos, and the training when its result is out of date."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mtcnn.checkpoint import packaged_weights, read, weights_path
from mtcnn.errors import CheckpointError, RecipeError
from mtcnn.proposers.trunks import TRUNKS, load_trunk
from prepare.records import ImageRecord
from prepare.sources import read_sources, remember_sources, remembered_sources

from .dag import data_key
from .detector_recipe import DetectorRecipe
from .launch import agreed, is_main, joined, launch, wait_for_main
from .photos import Photos, build_photos
from .recipe import digest, read_as
from .single_stage import new_net, train_detector

__all__ = ["DetectorJob", "make_detector"]

FORMAT = 1  # raise it when the same recipe gives another training


@dataclass(frozen=True)
class DetectorJob:
    """What the training of a detector needs, in a form that travels to another process; see single_stage.

    start  weights to start from: of the net, or of its trunk.
    """

    recipe: DetectorRecipe
    records: Sequence[ImageRecord]
    photos: Path
    folder: Path
    target: Path
    key: str
    start: Path | None = None
    device: str = "cpu"
    quiet: bool = False

    def train(self) -> None:
        """Train, in this process or as one of several."""
        net = new_net(self.recipe)
        if self.start is not None:
            _load(net, self.recipe.net, self.start)
        photos = Photos(self.photos, self.records)
        train_detector(self.recipe, net, photos, self.folder, self.target, self.key, self.device, self.quiet)


def _load(net: nn.Module, name: str, path: Path) -> None:
    """Weights to start from, of the whole net or its trunk."""
    found = read(path)
    if found.net in TRUNKS:
        load_trunk(net, path)
        return
    if found.net != name:
        raise CheckpointError(f"{path} holds weights of {found.net}; expected {name}, or its trunk")
    try:
        net.load_state_dict(found.state)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {name}: {' '.join(str(error).split())[:160]}") from error


def make_detector(
    net: str,
    work: Path,
    sources: Sequence[str] = (),
    start: Path | None = None,
    processes: int = 1,
    device: str = "cpu",
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Path, bool]:
    """Train the detector `net` in the work folder where it is missing or out of date. Returns its weights, and whether
    they were made now.

    sources  where the images are; empty takes those that the folder remembers.
    start    weights to start from, of the net or its trunk, as `mtcnn weights import` writes them.

    The recipe is copied from the packaged one on first use: the copy is the user's to edit. Under torchrun the first
    process decodes the photos, and all take part in the training.
    """
    recipe = _recipe(net, work)
    records = read_sources(list(sources) or remembered_sources(work), recipe.train.seed)
    if sources and is_main():
        remember_sources(work, sources)  # now that they could be read
    data = data_key(records)
    if start is not None:
        read(start)  # complains now, and not after minutes of decoding
    key = digest(FORMAT, recipe, data, start and hashlib.sha256(start.read_bytes()).hexdigest())
    target, photos = weights_path(work, net), work / "photos.raw"
    with joined(device):
        if not agreed(_key(target) != key):
            return target, False
        if is_main():
            say(f"{net}: making {target}")
            for problem in build_photos(records, photos, data, quiet=quiet):
                say(f"skipped {problem}")
        wait_for_main()
        launch(DetectorJob(recipe, records, photos, target.parent, target, key, start, device, quiet), processes)
    return target, True


def _key(path: Path) -> str | None:
    try:
        return read(path).recipe_hash
    except CheckpointError:
        return None


def _recipe(net: str, work: Path) -> DetectorRecipe:
    """The recipe of `net` in a work folder, copied from the packaged one where there is none."""
    target = work / "models-12" / f"recipe-{net}.toml"
    if not target.is_file():
        packaged = packaged_weights() / "models-12" / target.name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")  # the processes of torchrun all do this at once
        shutil.copyfile(packaged, draft)
        os.replace(draft, target)
    recipe = read_as(DetectorRecipe, target)
    if recipe.net != net:
        raise RecipeError(f"{target}: net is {recipe.net}; expected {net}, as the file name says")
    return recipe
