"""The stages as a graph: which file is made from what, and which of them are out of date.

    crops-12 -> pnet-draft -> crops-12-hard -> pnet -> crops-24 -> rnet -> crops-48 -> onet

A node's key hashes the recipe sections that it reads, the keys of its inputs and the format version. A node whose file
carries another key is stale, and so is everything behind it; changing ONet's learning rate re-trains ONet alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lmdb

from mtcnn.checkpoint import read, weights_path
from mtcnn.errors import CheckpointError, MtcnnError, RecipeError
from mtcnn.nets import SIZES
from prepare.build import CropMaker, build
from prepare.records import ImageRecord
from prepare.store import CropStore

from . import launch
from .recipe import Recipe, TrainSettings, digest

__all__ = ["Dag", "Node", "Options", "State", "data_key"]

FORMAT = 1  # of everything the nodes make; raise it when the same recipe gives other crops or another training
BEFORE = {"rnet": "pnet", "onet": "rnet"}  # whose mistakes a net learns from, unless told otherwise


@dataclass(frozen=True)
class Options:
    """What does not change a result: worker processes, training processes, device, silence."""

    workers: int = 2
    processes: int = 1
    device: str = "cpu"
    quiet: bool = False


@dataclass(frozen=True)
class Node:
    """One thing to make.

    parts  what its key hashes, by name: "recipe" and an entry for each input. `key` is their digest.
    found  the key of what lies at `makes`, or None when nothing whole lies there.
    """

    name: str
    needs: tuple[str, ...]
    makes: Path
    parts: dict[str, str]
    run: Callable[[], None] = field(repr=False)
    found: Callable[[], str | None] = field(repr=False)

    @property
    def key(self) -> str:
        return digest(FORMAT, self.parts)


class State(NamedTuple):
    """Of one node: fresh, stale or missing, and why."""

    name: str
    state: Literal["fresh", "stale", "missing"]
    reason: str


def data_key(records: Sequence[ImageRecord]) -> str:
    """A hash of the labels: image names, boxes, landmarks and flags, in order. Pixels are trusted not to change."""
    return digest(
        [
            [r.path.name, r.boxes.tobytes().hex(), r.landmarks.tobytes().hex(), r.ignore.tobytes().hex(), r.complete]
            for r in records
        ]
    )


class Dag:
    """The nodes of one work folder.

    work       folder that holds all that is made.     recipes  by net.
    records    gives the labelled images; called only when crops have to be made or keys to be known.
    hard_from  net -> the net whose mistakes it learns from, to override the usual one before it.
    """

    def __init__(
        self,
        work: Path,
        recipes: dict[str, Recipe],
        records: Callable[[], Sequence[ImageRecord]],
        options: Options = Options(),
        hard_from: dict[str, str] | None = None,
    ) -> None:
        self.work, self.recipes, self.options = work, recipes, options
        self.before = {**BEFORE, **(hard_from or {})}
        self._records = records
        self.nodes: dict[str, Node] = {}
        for net in SIZES:
            self._add_net(net)

    # ---- the graph

    def _add_net(self, net: str) -> None:
        recipe = self.recipes[net]
        crops = f"crops-{SIZES[net]}"
        if net in self.before:
            self._add_crops(crops, recipe, self._chain(self.before[net]))
        else:
            self._add_crops(crops, recipe, ())
        stores: tuple[str, ...] = (crops,)
        if recipe.draft is not None and recipe.mine is not None:
            self._add_training(f"{net}-draft", recipe, recipe.draft, (crops,))
            self._add_crops(f"{crops}-hard", recipe, (net,), sampled=False, models=self.work / "draft")
            stores = (crops, f"{crops}-hard")
        self._add_training(net, recipe, recipe.train, stores)

    def _chain(self, net: str) -> tuple[str, ...]:
        """The nets to mine with, up to and with `net`."""
        return (*self._chain(self.before[net]), net) if net in self.before else (net,)

    def _add_crops(
        self, name: str, recipe: Recipe, nets: tuple[str, ...], sampled: bool = True, models: Path | None = None
    ) -> None:
        mining = recipe.mine if nets else None
        sections: list[Any] = [recipe.seed, recipe.bands, recipe.crops, sampled, mining]
        parts = {"recipe sections [crops], [mine] and [bands]": digest(sections_plain(sections)), "data": self.data}
        if mining is not None and len(mining.thresholds) < len(nets):
            raise RecipeError(
                f"recipe-{recipe.net}.toml: mine.thresholds is {list(mining.thresholds)}; "
                f"expected one for each of {', '.join(nets)}"
            )
        inputs = tuple(f"{net}-draft" if models else net for net in nets)
        parts |= {needed: self.nodes[needed].key for needed in inputs}
        makes = self.work / f"{name}.lmdb"
        make = CropMaker(
            SIZES[recipe.net], recipe.seed, recipe.bands, recipe.crops, sampled, mining, nets, models or self.work
        )

        def run() -> None:
            build(self.records, make, makes, self.nodes[name].key, self.options.workers, self.options.quiet)

        self.nodes[name] = Node(name, inputs, makes, parts, run, lambda: _store_key(makes))

    def _add_training(self, name: str, recipe: Recipe, settings: TrainSettings, stores: tuple[str, ...]) -> None:
        net, draft = recipe.net, f"{recipe.net}-draft"
        section = "draft" if name == draft else "train"
        parts = {f"recipe section [{section}]": digest(settings), **{store: self.nodes[store].key for store in stores}}
        start = weights_path(self.work / "draft", net) if section == "train" and draft in self.nodes else None
        makes = weights_path(self.work / "draft" if section == "draft" else self.work, net)

        def run() -> None:
            job = launch.TrainJob(
                net, name, tuple(self.nodes[store].makes for store in stores), settings, makes.parent, makes,
                self.nodes[name].key, start, self.options.device, self.options.quiet,
            )  # fmt: skip
            launch.launch(job, self.options.processes)

        self.nodes[name] = Node(name, stores, makes, parts, run, lambda: _weights_key(makes))

    # ---- the data

    @cached_property
    def records(self) -> Sequence[ImageRecord]:
        return self._records()

    @cached_property
    def data(self) -> str:
        return data_key(self.records)

    # ---- what is there, and what is to do

    def status(self) -> list[State]:
        """Every node in building order: fresh, stale or missing, with the reason."""
        states: dict[str, State] = {}
        for node in self.nodes.values():
            states[node.name] = self._state(node, states)
        return list(states.values())

    def _state(self, node: Node, before: dict[str, State]) -> State:
        found = node.found()
        if found is None:
            begun = " (begun, not complete)" if node.makes.exists() else ""
            return State(node.name, "missing", f"nothing at {_short(node.makes)}{begun}")
        if found != node.key:
            return State(node.name, "stale", self._difference(node))
        old = [needed for needed in node.needs if before[needed].state == "stale"]
        if old:
            return State(node.name, "stale", f"{old[0]} is stale")
        return State(node.name, "fresh", _short(node.makes))

    def _difference(self, node: Node) -> str:
        try:
            then = json.loads(self._note(node).read_text())
        except (OSError, json.JSONDecodeError):
            return "made by another recipe or from other inputs"
        changed = [name for name in {**node.parts, **then} if then.get(name) != node.parts.get(name)]
        return f"changed: {', '.join(changed)}" if changed else "its format has changed"

    def _note(self, node: Node) -> Path:
        return self.work / "nodes" / f"{node.name}.json"

    def ensure(self, *targets: str, say: Callable[[str], None] = lambda line: None) -> list[str]:
        """Make `targets` and all they need, where missing or stale. Returns the names of what was made.

        Under torchrun the first process makes the crops, and all take part in the trainings.
        """
        made = []
        with launch.joined(self.options.device):
            for node in self._needed(targets):
                # An input that is gone is made again only when something that needs it has to be.
                if not launch.agreed(node.found() != node.key and self._wanted(node, targets)):
                    continue
                if launch.is_main():
                    say(f"{node.name}: making {_short(node.makes)}")
                self._make(node)
                made.append(node.name)
        return made

    def _wanted(self, node: Node, targets: Iterable[str]) -> bool:
        if node.name in targets:
            return True
        users = [other for other in self._needed(targets) if node.name in other.needs]
        return any(other.found() != other.key and self._wanted(other, targets) for other in users)

    def _make(self, node: Node) -> None:
        training = node.makes.suffix == ".pt"
        if training or launch.is_main():
            node.run()
        if launch.is_main():
            note = self._note(node)
            note.parent.mkdir(parents=True, exist_ok=True)
            draft = note.with_name(f".{note.name}.{os.getpid()}")
            draft.write_text(json.dumps(node.parts, indent=1))
            os.replace(draft, note)
        launch.wait_for_main()

    def _needed(self, targets: Iterable[str]) -> list[Node]:
        """`targets` and everything before them, in building order."""
        wanted = set()
        stack = list(targets)
        while stack:
            name = stack.pop()
            if name not in self.nodes:
                raise MtcnnError(f"no stage named {name}; expected one of {', '.join(self.nodes)}")
            if name not in wanted:
                wanted.add(name)
                stack.extend(self.nodes[name].needs)
        return [node for node in self.nodes.values() if node.name in wanted]


def sections_plain(sections: list[Any]) -> list[Any]:
    """Dataclasses as plain values, so that a digest sees their content."""
    return [vars(section) if hasattr(section, "__dataclass_fields__") else section for section in sections]


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _store_key(path: Path) -> str | None:
    try:
        store = CropStore(path)
    except (MtcnnError, lmdb.Error):
        return None
    store.close()
    return store.key


def _weights_key(path: Path) -> str | None:
    try:
        return read(path).recipe_hash
    except CheckpointError:
        return None
