"""The dependency graph of a work folder: what each file is made from, and which files are out of date.

A node's key hashes the recipe sections that it reads, the keys of its inputs and the format version. A node whose file
has another key is stale, and so is everything downstream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import read
from mtcnn.detectors import DETECTORS
from mtcnn.errors import CheckpointError, DataError, MtcnnError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.weights import SIDES
from mtcnn.workers import Here, Workers
from prepare.records import ImageRecord
from prepare.source_notes import SourceNote

from ..card import name_sources, teacher_line
from ..recipes import digest
from . import ddp
from .clock import Clock
from .reservation import reserved

__all__ = ["FORMAT", "Action", "Dag", "Node", "Options", "State", "data_key", "weights_key"]

FORMAT = 1  # of all outputs; increase it when the same recipe gives other crops or another training


@dataclass(frozen=True)
class Options:
    """Settings that are part of no key: workers for crops, training processes, device, quiet, callbacks.

    Only processes and device change a result, by which pictures a process draws and how sums are rounded.
    """

    workers: Workers = field(default_factory=Here)
    processes: int = 1
    device: str = "cpu"
    quiet: bool = False
    callbacks: Callbacks | None = None


class Action(Protocol):
    """An action that makes a file; it pickles, so it can run in another process or on another machine."""

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        """Make the file at `makes`, storing this key in it; resume from an interrupted run with the same key."""

    def read_key(self, makes: Path) -> str | None:
        """The key of the existing file; None if it is missing or incomplete."""

    def update(self, makes: Path) -> None:
        """Write into a fresh file what its key leaves out."""


@dataclass(frozen=True)
class Node:
    """One thing to make.

    needs       names of the nodes whose files it reads.    makes  the file or folder.
    parts       what its key hashes, by name: recipe sections, and an entry for each input. `key` is their digest.
    collective  made by all torchrun processes together, like a training; anything else is made by rank 0.
    note        one line to print before it is made.
    fault       why it cannot be made; raised before any of its inputs is made.
    cost        approximate seconds on one core, to estimate the time of the others; 0 if unknown.
    trained     False for weights that are a copy of given ones, made from none of the folder's photos.
    """

    name: str
    needs: tuple[str, ...]
    makes: Path
    parts: dict[str, str]
    action: Action = field(repr=False)
    collective: bool = False
    note: str = ""
    fault: str = ""
    cost: float = 0.0
    trained: bool = True

    @property
    def key(self) -> str:
        return digest(FORMAT, self.parts)

    def found(self) -> str | None:
        """The key of the existing file, None if missing or incomplete."""
        return self.action.read_key(self.makes)


class State(NamedTuple):
    """State of one node: fresh, stale or missing, and why; broken for a net with an unusable recipe."""

    name: str
    state: Literal["fresh", "stale", "missing", "broken"]
    reason: str


def data_key(records: Sequence[ImageRecord]) -> str:
    """A hash of the labels: image names, boxes, landmarks and flags, in order. Pixels are assumed not to change.

    Scores are part of it where a teacher gave some; so labels of people have the hash that they always had.
    """
    rows = []
    for r in records:
        parts = [
            r.path.name,
            r.boxes.tobytes().hex(),
            r.landmarks.tobytes().hex(),
            r.ignore.tobytes().hex(),
            r.complete,
        ]
        rows.append([*parts, r.scores.tobytes().hex()] if r.scores is not None and r.is_scored else parts)
    return digest(rows)


def weights_key(path: Path) -> str | None:
    """The key stored in a weights file."""
    try:
        return read(path).recipe_hash
    except CheckpointError:
        return None


class Dag:
    """The nodes of one work folder, in topological order: inputs come first.

    broken  nets without nodes -> the error in their recipe.
    val     the photos of the validation part whose faces are all labelled.    records  all photos.
    sources  of the photos, which weights and their cards name; no key depends on them.
    """

    def __init__(
        self,
        work: Path,
        nodes: Iterable[Node],
        options: Options = Options(),  # frozen
        broken: Mapping[str, str] | None = None,
        val: Sequence[ImageRecord] = (),
        sources: Sequence[SourceNote] = (),
        records: Sequence[ImageRecord] = (),
    ) -> None:
        self.work, self.options, self.broken, self.sources = work, options, dict(broken or {}), list(sources)
        self.val, self.records = list(val), list(records)
        self.nodes = {node.name: node for node in nodes}

    # ---- status

    def status(self) -> list[State]:
        """Every node in topological order: fresh, stale or missing, with the reason; then the broken nets."""
        states: dict[str, State] = {}
        for node in self.nodes.values():
            states[node.name] = self._state(node, states)
        return [*states.values(), *(State(net, "broken", why) for net, why in self.broken.items())]

    def _state(self, node: Node, before: dict[str, State]) -> State:
        found = node.found()
        if found is None:
            what = "not complete" if node.makes.exists() else "nothing"
            return State(node.name, "missing", f"{what} at {_short(node.makes)}")
        if found != node.key:
            return State(node.name, "stale", self._difference(node))
        old = [needed for needed in node.needs if before[needed].state == "stale"]
        if old:
            return State(node.name, "stale", f"{old[0]} is stale")
        return State(node.name, "fresh", _short(node.makes))

    def _difference(self, node: Node) -> str:
        then = _noted_parts(_note_path(self.work, node))
        if then is None:
            return "made by another recipe or from other inputs"
        changed = [name for name in {**node.parts, **then} if then.get(name) != node.parts.get(name)]
        return f"changed: {', '.join(changed)}" if changed else "its format has changed"

    # ---- building

    def ensure(self, *targets: str, say: Callable[[str], None] = lambda line: None) -> list[str]:
        """Make `targets` and their inputs where missing or stale. Returns the names of the nodes made.

        Under torchrun, rank 0 makes the data, and all processes train. Raises DataError for labels that a node cannot
        be made from, and MtcnnError if another process is at one of them, before anything is made.
        """
        with ddp.joined(self.options.device), self._reserved(ddp.agreed(self._to_make(targets))) as (names, made):
            if ddp.is_main():
                self._finish(targets, names)
            self._announce(names, say)
            clock = Clock([self.nodes[name].cost for name in names])
            for i, name in enumerate(names):
                node = self.nodes[name]
                if ddp.is_main():
                    say(f"{name}: making {_short(node.makes)}{clock.place(i)}")
                began = time.monotonic()
                self._make(node)
                made(name)
                if ddp.is_main():
                    say(f"{name}: made in {timedelta(seconds=round(time.monotonic() - began))}")
        return names

    @contextmanager
    def _reserved(self, names: list[str]) -> Iterator[tuple[list[str], Callable[[str], None]]]:
        """The nodes to make, which no other process makes meanwhile, nor what they need; see `reserved`."""
        read = {needed for name in names for needed in self.nodes[name].needs}
        main = ddp.is_main()
        with reserved(self.work, names if main else (), read) as made:
            yield names, made if main else lambda name: None

    def ensure_beside(self, names: Sequence[str], done: Callable[[str], None] = lambda name: None) -> None:
        """Make those of these nodes that are missing or stale, beside each other on the workers of the options.

        names  of nodes that do not need one another; what they need is fresh.
        done   called with the name of each node made, in order.
        """
        nodes = [self.nodes[name] for name in names if self.nodes[name].found() != self.nodes[name].key]
        for node in (self.nodes[name] for name in names):
            if self._is_unfinished(node):
                _note_parts(_note_path(self.work, node), node)
        self._announce([node.name for node in nodes], lambda line: None)
        work = partial(_made, self.work, replace(self.options, workers=Here(), callbacks=None))
        for name in self.options.workers.map(work, nodes):
            done(name)

    def _finish(self, targets: Iterable[str], made: Sequence[str]) -> None:
        """Write what belongs to fresh files: to those of `targets`, and to inputs that a killed run did not finish.

        made  the nodes to be made.
        """
        wanted = set(targets)
        for node in reversed(self.nodes.values()):
            if node.name in wanted:
                wanted.update(node.needs)
            if node.name in wanted and node.name not in made and (node.name in targets or self._is_unfinished(node)):
                node.action.update(node.makes)
                self._name_sources(node)
                with suppress(OSError):  # in a folder that cannot be written to, `status` says less of it
                    _note_parts(_note_path(self.work, node), node)

    def _is_unfinished(self, node: Node) -> bool:
        """Whether its file is there, and not the note that is written last."""
        return _noted_parts(_note_path(self.work, node)) != node.parts and node.found() == node.key

    def _announce(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        """Print the notes of these nodes, or raise the fault that would stop one of them hours later."""
        for node in (self.nodes[name] for name in names):
            if node.fault:
                raise DataError(node.fault)
            if node.note and ddp.is_main():
                say(f"{node.name}: {node.note}")

    def _to_make(self, targets: Iterable[str]) -> list[str]:
        """The outdated nodes among `targets` and the inputs needed to make them, in topological order.

        A missing input is made again only if a node that needs it must be made.
        """
        wanted, names = set(targets), []
        for unknown in wanted - self.nodes.keys():
            raise MtcnnError(f"no stage named {unknown}; expected one of {', '.join(self.nodes)}")
        for node in reversed(self.nodes.values()):
            if node.name in wanted and node.found() != node.key:
                names.append(node.name)
                wanted.update(node.needs)
        return names[::-1]

    def _make(self, node: Node) -> None:
        if node.collective or ddp.is_main():
            node.action(node.makes, node.key, self.options)
        if ddp.is_main():
            self._name_sources(node)
            _note_parts(_note_path(self.work, node), node)  # last: without it, a later call does the rest
        ddp.wait_for_main()

    def _name_sources(self, node: Node) -> None:
        is_net = node.name in SIDES or node.name in DETECTORS  # and not the draft of one
        if self.sources and node.trained and is_net:
            name_sources(node.makes, self.sources, teacher_line(getattr(node.action, "teacher", None)))


def _made(work: Path, options: Options, node: Node) -> str:
    """Make a node in any process; its name."""
    node.action(node.makes, node.key, options)
    _note_parts(_note_path(work, node), node)
    return node.name


def _note_path(work: Path, node: Node) -> Path:
    return work / "nodes" / f"{node.name}.json"


def _noted_parts(path: Path) -> dict[str, Any] | None:
    try:
        parts = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return parts if isinstance(parts, dict) else None


def _note_parts(path: Path, node: Node) -> None:
    if _noted_parts(path) == node.parts:
        return
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(node.parts, indent=1))


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
