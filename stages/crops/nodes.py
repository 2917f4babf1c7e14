"""The nodes of the cascade: crops, PNet, mining, RNet, mining, ONet; if asked for, mining and cnet.

    crops-12 -> pnet-draft -> crops-12-hard -> pnet -> crops-24 -> rnet -> crops-48 -> onet (-> crops-64 -> cnet)

Changing ONet's learning rate re-trains ONet alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import lmdb

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import has_weights, load_weights, set_threshold, weights_file, weights_path
from mtcnn.errors import CheckpointError, MtcnnError, RecipeError
from mtcnn.weights import SECOND, SIDES
from prepare.build import CropMaker, build
from prepare.mine import detector_folder
from prepare.records import ImageRecord
from prepare.store import CropStore

from ..graph.dag import Node, Options, weights_key
from ..graph.ddp import launch
from ..inputs import content_hash, given_file, input_of, keep
from ..labels import NO_POINTS, have_landmarks, label_fault, without_landmarks
from ..recipes import digest
from .batches import CropPool
from .given import given_net, given_node
from .recipe import Recipe, TrainSettings
from .start import start_state
from .task import train

__all__ = ["CutCrops", "TrainOnStores", "cascade_nodes", "chain", "check_mining", "keep_start", "train_on_stores"]

# Seconds of one core, as the model cards have them: a photo to cut and mine, a crop to train on.
CUT_COST = {"pnet": 0.05, "rnet": 0.075, "onet": 0.04, SECOND: 0.1}
TRAIN_COST = {"pnet": 3e-5, "rnet": 3e-4, "onet": 1e-3, SECOND: 1.7e-3}

BEFORE = {"rnet": "pnet", "onet": "rnet", SECOND: "onet"}  # the net whose hard examples are mined, by default


def chain(net: str, hard_from: str | None = None) -> tuple[str, ...]:
    """The nets to train up to `net`, in order; `hard_from` is the one before ONet.

    Before cnet are always all three, which find the faces that it sees.
    """
    before = hard_from if net == "onet" and hard_from else BEFORE.get(net)
    return (*chain(before, None if net == SECOND else hard_from), net) if before else (net,)


def cascade_nodes(
    work: Path,
    recipes: Mapping[str, Recipe],
    records: Sequence[ImageRecord],
    data: str,
    hard_from: str | None = None,
) -> list[Node]:
    """The nodes of a work folder, in building order.

    recipes    by net; for each net also those of its `chain`.
    records, data  the labelled images, and their key.
    hard_from  the last net of the cascade that mines ONet's hard examples, instead of RNet.

    Nets that the folder was given trained have a node that copies them, and need no recipe.

    Raises RecipeError for a recipe with too few thresholds for the nets that mine.
    """
    found = _Nodes(work, records, data, hard_from)
    given = {net: path for net in SIDES if (path := given_net(work, net)) is not None}
    for net in SIDES:
        if net in given:
            found.nodes[net] = given_node(work, net, given[net])
        elif net in recipes:
            found.add_net(recipes[net])
    return list(found.nodes.values())


def check_mining(recipe: Recipe, nets: Sequence[str], work: Path) -> None:
    """Raise RecipeError if a recipe has too few thresholds to mine with these nets, or a detector without weights."""
    mine = recipe.mine
    if mine is None or not nets:
        return
    wanted = {"thresholds": tuple(nets)}
    if mine.detector:
        wanted["detector_thresholds"] = (mine.detector, *nets[1:])
    for name, each in wanted.items():
        if len(getattr(mine, name)) < len(each):
            raise RecipeError(
                f"recipe-{recipe.net}.toml: mine.{name} is {list(getattr(mine, name))}; "
                f"expected one for each of {', '.join(each)}"
            )
    if mine.detector and not has_weights(detector_folder(work, mine.detector), mine.detector):
        raise RecipeError(
            f"recipe-{recipe.net}.toml: mine.detector is {mine.detector}; expected one with weights in {work}, or that "
            "ships with some: train it there first"
        )


def keep_start(work: Path, net: str, start: Path) -> None:
    """Copy the weights that a net of the cascade starts from into the work folder; PNet's draft starts from them.

    Raises CheckpointError if they do not fit the net.
    """
    path = given_file(start, net, "start")
    assert path is not None
    load_weights(path, net)  # raises now, not after hours of mining
    keep(path, work, net, "start")


def other_context(start: Path, net: str, context: float) -> list[str]:
    """A note if the weights to start from know crops of another context than the recipe makes."""
    try:
        known = load_weights(start, net).scoring.context
    except CheckpointError:  # the training says what is wrong
        return []
    if known == context:
        return []
    return [
        f"starts from weights for crops with a context of {known:g}, while its recipe makes crops with {context:g}; "
        f"set crops.context = {known:g} for the best start"
    ]


class _Nodes:
    """The nodes as they are added, by name."""

    def __init__(self, work: Path, records: Sequence[ImageRecord], data: str, hard_from: str | None) -> None:
        self.work, self.records, self.data, self.hard_from = work, tuple(records), data, hard_from
        self.nodes: dict[str, Node] = {}

    def add_net(self, recipe: Recipe) -> None:
        net = recipe.net
        crops = f"crops-{SIDES[net]}"
        self._add_crops(crops, recipe, chain(net, self.hard_from)[:-1])
        stores: tuple[str, ...] = (crops,)
        if recipe.draft is not None and recipe.mine is not None:
            self._add_training(f"{net}-draft", recipe, recipe.draft, (crops,))
            self._add_crops(f"{crops}-hard", recipe, (net,), sampled=False, models=self.work / "draft")
            stores = (crops, f"{crops}-hard")
        self._add_training(net, recipe, recipe.train, stores)

    def _add_crops(
        self, name: str, recipe: Recipe, nets: tuple[str, ...], sampled: bool = True, models: Path | None = None
    ) -> None:
        check_mining(recipe, nets, self.work)
        mining = recipe.mine if nets else None
        inputs = tuple(f"{net}-draft" if models else net for net in nets)
        sections = digest([recipe.seed, recipe.bands, recipe.crops, sampled, mining])
        parts = {"recipe sections [crops], [mine] and [bands]": sections, "data": self.data}
        parts |= {needed: self.nodes[needed].key for needed in inputs}
        routes = 1
        if mining is not None and mining.detector:
            routes, net = 2, mining.detector
            parts[net] = content_hash(weights_file(detector_folder(self.work, net), net))
        make = CropMaker(
            SIDES[recipe.net], recipe.seed, recipe.bands, recipe.crops, sampled, mining, nets, models or self.work
        )
        cost = len(self.records) * CUT_COST[recipe.net] * routes
        self.nodes[name] = Node(
            name, inputs, self.work / f"{name}.lmdb", parts, CutCrops(self.records, make), cost=cost
        )

    def _add_training(self, name: str, recipe: Recipe, settings: TrainSettings, stores: tuple[str, ...]) -> None:
        net, draft = recipe.net, f"{recipe.net}-draft"
        settings = replace(settings, score=replace(settings.score, context=recipe.crops.context))
        section = "draft" if name == draft else "train"
        parts = {f"recipe section [{section}]": digest(settings), **{store: self.nodes[store].key for store in stores}}
        start = weights_path(self.work / "draft", net) if section == "train" and draft in self.nodes else None
        given = None if start else input_of(self.work, net, "start")
        parts |= {"start": content_hash(given)} if given else {}
        needs = stores
        if net == SECOND and given is None:
            start, needs = self.nodes["onet"].makes, (*stores, "onet")
            parts |= {"onet": self.nodes["onet"].key}
        notes = [] if given is None else other_context(given, net, recipe.crops.context)
        makes = weights_path(self.work / "draft" if section == "draft" else self.work, net)
        if settings.trains_landmarks and not have_landmarks(self.records, recipe.crops.val):  # of which the key knows
            settings, notes = settings.without_landmarks(), [*notes, without_landmarks(NO_POINTS)]
        paths = tuple(self.nodes[store].makes for store in stores)
        action = TrainOnStores(name, net, paths, settings, start or given)
        fault = label_fault(net, self.records, recipe.crops.val)
        cost = settings.epochs * settings.steps * settings.batch * TRAIN_COST[net]
        self.nodes[name] = Node(
            name, needs, makes, parts, action, collective=True, note="; ".join(notes), fault=fault, cost=cost
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class CutCrops:
    """Writes a store of crops."""

    records: tuple[ImageRecord, ...]
    make: CropMaker

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        build(self.records, self.make, makes, key, options.workers, options.quiet)

    def read_key(self, makes: Path) -> str | None:
        try:
            with closing(CropStore(makes)) as store:
                return store.key
        except (MtcnnError, lmdb.Error):
            return None

    def update(self, makes: Path) -> None:
        """Its key covers all."""


@dataclass(frozen=True, eq=False)
class TrainOnStores:
    """Trains a net on crop stores, given by path, from random weights or those at `start`."""

    name: str
    net: str
    stores: tuple[Path, ...]
    settings: TrainSettings
    start: Path | None = None

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        job = partial(train_on_stores, self.net, self.stores, self.settings, makes, key, self.name, self.start)
        launch(
            partial(job, device=options.device, quiet=options.quiet, callbacks=options.callbacks),
            options.processes,
            options.device,
        )

    def read_key(self, makes: Path) -> str | None:
        return weights_key(makes)

    def update(self, makes: Path) -> None:
        set_threshold(makes, self.settings.threshold, self.settings.score)


def train_on_stores(
    net: str,
    stores: Sequence[Path],
    settings: TrainSettings,
    target: Path,
    key: str,
    name: str | None = None,
    start: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
    callbacks: Callbacks | None = None,
) -> None:
    """`task.train` with stores and start given by path, so that it pickles."""
    state = None if start is None else start_state(start, net)
    with ExitStack() as stack:
        pool = CropPool([stack.enter_context(closing(CropStore(path))) for path in stores])
        train(net, pool, settings, target, key, name, state, device, quiet, callbacks)
