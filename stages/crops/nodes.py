"""The nodes of the cascade: crops, PNet, mining, RNet, mining, ONet.

    crops-12 -> pnet-draft -> crops-12-hard -> pnet -> crops-24 -> rnet -> crops-48 -> onet

Changing ONet's learning rate re-trains ONet alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import lmdb

from mtcnn.checkpoint import read, weights_path
from mtcnn.errors import MtcnnError, RecipeError
from mtcnn.weights import SIZES
from prepare.build import CropMaker, build
from prepare.records import ImageRecord
from prepare.store import CropStore

from ..graph.dag import Node, Options, weights_key
from ..graph.launch import launch
from ..recipes import digest
from .batches import CropPool
from .recipe import Recipe, TrainSettings
from .task import train

__all__ = ["cascade_nodes", "train_on_stores"]

BEFORE = {"rnet": "pnet", "onet": "rnet"}  # whose mistakes a net learns from, unless told otherwise


def cascade_nodes(
    work: Path,
    recipes: Mapping[str, Recipe],
    records: Sequence[ImageRecord],
    data: str,
    options: Options,
    hard_from: Mapping[str, str] | None = None,
) -> list[Node]:
    """The nodes of a work folder, in building order.

    recipes    by net.    records, data  the labelled images, and their key.
    hard_from  net -> the net whose mistakes it learns from, to override the usual one before it.

    Raises RecipeError for a recipe that has too few thresholds for the nets that mine.
    """
    chain = _Chain(work, records, data, options, {**BEFORE, **(hard_from or {})})
    for net in SIZES:
        chain.add_net(recipes[net])
    return list(chain.nodes.values())


class _Chain:
    """The nodes as they are added, by name."""

    def __init__(
        self, work: Path, records: Sequence[ImageRecord], data: str, options: Options, before: Mapping[str, str]
    ) -> None:
        self.work, self.records, self.data, self.options, self.before = work, records, data, options, before
        self.nodes: dict[str, Node] = {}

    def add_net(self, recipe: Recipe) -> None:
        net = recipe.net
        crops = f"crops-{SIZES[net]}"
        self._add_crops(crops, recipe, self._miners(self.before[net]) if net in self.before else ())
        stores: tuple[str, ...] = (crops,)
        if recipe.draft is not None and recipe.mine is not None:
            self._add_training(f"{net}-draft", recipe, recipe.draft, (crops,))
            self._add_crops(f"{crops}-hard", recipe, (net,), sampled=False, models=self.work / "draft")
            stores = (crops, f"{crops}-hard")
        self._add_training(net, recipe, recipe.train, stores)

    def _miners(self, net: str) -> tuple[str, ...]:
        """The nets to mine with, up to and with `net`."""
        return (*self._miners(self.before[net]), net) if net in self.before else (net,)

    def _add_crops(
        self, name: str, recipe: Recipe, nets: tuple[str, ...], sampled: bool = True, models: Path | None = None
    ) -> None:
        mining = recipe.mine if nets else None
        if mining is not None and len(mining.thresholds) < len(nets):
            raise RecipeError(
                f"recipe-{recipe.net}.toml: mine.thresholds is {list(mining.thresholds)}; "
                f"expected one for each of {', '.join(nets)}"
            )
        inputs = tuple(f"{net}-draft" if models else net for net in nets)
        sections = digest([recipe.seed, recipe.bands, recipe.crops, sampled, mining])
        parts = {"recipe sections [crops], [mine] and [bands]": sections, "data": self.data}
        parts |= {needed: self.nodes[needed].key for needed in inputs}
        makes = self.work / f"{name}.lmdb"
        make = CropMaker(
            SIZES[recipe.net], recipe.seed, recipe.bands, recipe.crops, sampled, mining, nets, models or self.work
        )

        def run(key: str) -> None:
            build(self.records, make, makes, key, self.options.workers, self.options.quiet)

        self.nodes[name] = Node(name, inputs, makes, parts, run, _store_key)

    def _add_training(self, name: str, recipe: Recipe, settings: TrainSettings, stores: tuple[str, ...]) -> None:
        net, draft = recipe.net, f"{recipe.net}-draft"
        section = "draft" if name == draft else "train"
        parts = {f"recipe section [{section}]": digest(settings), **{store: self.nodes[store].key for store in stores}}
        start = weights_path(self.work / "draft", net) if section == "train" and draft in self.nodes else None
        makes = weights_path(self.work / "draft" if section == "draft" else self.work, net)
        paths = [self.nodes[store].makes for store in stores]

        def run(key: str) -> None:
            device, quiet = self.options.device, self.options.quiet
            job = partial(train_on_stores, net, paths, settings, makes, key, name, start, device, quiet)
            launch(job, self.options.processes, device)

        self.nodes[name] = Node(name, stores, makes, parts, run, weights_key)


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
) -> None:
    """`task.train` with stores and start given by their paths, so that it can travel to another process."""
    state = None if start is None else read(start).tensors()
    with ExitStack() as stack:
        pool = CropPool([stack.enter_context(closing(CropStore(path))) for path in stores])
        train(net, pool, settings, target, key, name, state, device, quiet)


def _store_key(path: Path) -> str | None:
    try:
        with closing(CropStore(path)) as store:
            return store.key
    except (MtcnnError, lmdb.Error):
        return None
