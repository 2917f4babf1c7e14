"""The nodes of single-stage detectors: the photos, decoded once for all of them, and the weights of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import has_weights, packaged_weights, set_threshold, weights_path
from mtcnn.errors import RecipeError
from mtcnn.runtimes.plans import ensure_graph, write_graph
from prepare.records import ImageRecord

from ..graph.dag import Node, Options, weights_key
from ..graph.ddp import launch
from ..inputs import PACKAGED, content_hash, given_file, input_of, keep
from ..labels import label_fault, without_landmarks
from ..objectives import TAUGHT
from ..objectives.teacher import load_teacher
from ..recipes import digest
from .recipe import DetectorRecipe
from .store import PhotoStore, build_photos, photos_key
from .task import new_net, no_landmarks, train_detector

__all__ = ["DecodePhotos", "TrainOnPhotos", "detector_nodes", "keep_inputs", "train_on_photos"]

INPUTS = ("start", "teacher")  # weights given to a training, copied into the work folder


def detector_nodes(
    work: Path, recipes: Iterable[DetectorRecipe], records: Sequence[ImageRecord], data: str
) -> list[Node]:
    """The nodes of a work folder, in building order; none without recipes. records, data  the images, and their key."""
    photos = work / "photos.raw"
    first = Node(photos.stem, (), photos, {"data": data}, DecodePhotos(tuple(records)))
    trainings = [_training(work, recipe, first, tuple(records)) for recipe in recipes]
    return [first, *trainings] if trainings else []


def _training(work: Path, recipe: DetectorRecipe, photos: Node, records: tuple[ImageRecord, ...]) -> Node:
    inputs = {kind: path for kind in INPUTS if (path := input_of(work, recipe.net, kind)) is not None}
    parts = {
        f"recipe's {name}" if isinstance(value, str) else f"recipe section [{name}]": digest(value)
        for name, value in vars(recipe).items()
    }
    parts[photos.name] = photos.key
    parts |= {kind: content_hash(path) for kind, path in inputs.items()}
    action = TrainOnPhotos(recipe, records, photos.makes, **inputs)
    fault = label_fault(recipe.net, records, recipe.train.val)
    notes = [] if "start" in inputs else [_random_start(recipe.net)]
    if why := no_landmarks(recipe, records, inputs.get("teacher")):
        notes.append(without_landmarks(why))
    makes = weights_path(work, recipe.net)
    note = "; ".join(notes)
    return Node(recipe.net, (photos.name,), makes, parts, action, collective=True, note=note, fault=fault)


def _random_start(net: str) -> str:
    ships = f"; {PACKAGED} are those that ship" if has_weights(packaged_weights(), net) else ""
    return (
        "starts from random weights, which takes many more epochs than trained ones do; name weights of "
        f"{net} or of its trunk as `start` of mtcnn train{ships}"
    )


@dataclass(frozen=True, eq=False)
class DecodePhotos:
    """Writes the pixels of all photos to one file."""

    records: tuple[ImageRecord, ...]

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        build_photos(self.records, makes, key, quiet=options.quiet)

    def read_key(self, makes: Path) -> str | None:
        return photos_key(makes)

    def update(self, makes: Path) -> None:
        """Its key covers all."""


@dataclass(frozen=True, eq=False)
class TrainOnPhotos:
    """Trains a detector on the photos in a file, from random weights or those at `start`; distils `teacher`."""

    recipe: DetectorRecipe
    records: tuple[ImageRecord, ...]
    photos: Path
    start: Path | None = None
    teacher: Path | None = None

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        job = partial(train_on_photos, self.recipe, self.records, self.photos, makes, key, self.start, self.teacher)
        launch(
            partial(job, device=options.device, quiet=options.quiet, callbacks=options.callbacks),
            options.processes,
            options.device,
        )
        write_graph(makes, self.recipe.net)

    def read_key(self, makes: Path) -> str | None:
        return weights_key(makes)

    def update(self, makes: Path) -> None:
        set_threshold(makes, self.recipe.train.threshold)
        ensure_graph(makes, self.recipe.net)  # a killed training may have left it out


def train_on_photos(
    recipe: DetectorRecipe,
    records: Sequence[ImageRecord],
    photos: Path,
    target: Path,
    key: str,
    start: Path | None = None,
    teacher: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
    callbacks: Callbacks | None = None,
) -> None:
    """`task.train_detector` with photos and start given by path, so that it pickles."""
    net = new_net(recipe, start)
    train_detector(recipe, net, PhotoStore(photos, records), target, key, device, quiet, teacher, callbacks)


def keep_inputs(work: Path, recipe: DetectorRecipe, start: Path | None = None, teacher: Path | None = None) -> None:
    """Copy a detector's initial weights, and its teacher's, into the work folder for later commands.

    Raises CheckpointError if they do not fit the recipe's net; RecipeError for an objective that needs a teacher if
    none is given or already there.
    """
    start, teacher = given_file(start, recipe.net, "start"), given_file(teacher, recipe.net, "teacher")
    if start is not None:
        new_net(recipe, start)  # raises now, not after minutes of decoding
    if teacher is not None:
        load_teacher(teacher, recipe.net, getattr(recipe.objective, "closer", False))
    elif recipe.objective.name in TAUGHT and input_of(work, recipe.net, "teacher") is None:
        raise RecipeError(f"recipe of {recipe.net}: objective is {recipe.objective.name} without a teacher; name "
                          "weights of the same net, or of one with the same anchors, as its teacher")  # fmt: skip
    for kind, given in (("start", start), ("teacher", teacher)):
        if given is not None:
            keep(given, work, recipe.net, kind)
