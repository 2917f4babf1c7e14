"""The candidates of a search as nodes of the graph: each trains one net and notes how good it is, or why it failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mtcnn.checkpoint import read
from mtcnn.errors import CheckpointError, TrainingError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.workers.alone import ProcessKilled, call_alone
from prepare.records import ImageRecord

from ..graph.dag import Node, Options
from ..graph.ddp import launch
from ..inputs import content_hash
from ..photos.nodes import TrainOnPhotos
from ..photos.recipe import DetectorRecipe
from ..photos.store import PhotoStore
from ..photos.task import new_net, train_detector
from ..recipes import digest
from .plan import STEPS, SearchPlan, load_plan
from .ranking import hard_ap

__all__ = [
    "WEIGHTS",
    "CandidateOutcome",
    "TrainCandidate",
    "node_name",
    "outcome_of",
    "planned_nodes",
    "search_nodes",
    "survivors",
]

WEIGHTS = "weights.safetensors"
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(frozen=True)
class CandidateOutcome:
    """How good a candidate is.

    epochs  of its training.    ap  hard AP on `photos` validation photos with `faces` faces, see `ranking.hard_ap`.
    failed  why it has none; "" for a candidate that has one.
    """

    epochs: int
    ap: float = 0.0
    faces: int = 0
    photos: int = 0
    failed: str = ""


def outcome_of(node: Node) -> CandidateOutcome | None:
    """The outcome of a candidate that is fresh, None for another."""
    key, outcome = _read(node.makes)
    return outcome if key == node.key else None


def _read(path: Path) -> tuple[str, CandidateOutcome] | tuple[None, None]:
    """The key and the outcome in a file; None for a missing or damaged one."""
    try:
        body = json.loads(path.read_text("utf-8"))
        outcome = CandidateOutcome(**body["outcome"])
        whole = all(type(number) is int for number in (outcome.epochs, outcome.faces, outcome.photos))
        if whole and type(outcome.ap) in (int, float) and isinstance(outcome.failed, str) and type(body["key"]) is str:
            return body["key"], outcome
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None, None


def node_name(plan: SearchPlan, index: int, epochs: int) -> str:
    """ "trunk-07", and "trunk-07@3" for its first three epochs alone."""
    name = f"{plan.step}-{index:02d}"
    return name if epochs == plan.epochs else f"{name}@{epochs}"


def planned_nodes(folder: Path, nodes: Sequence[Node]) -> list[Node]:
    """The candidates of the searches in a folder, of nets that have a training among `nodes`."""
    trainings = {node.name: node for node in nodes if isinstance(node.action, TrainOnPhotos)}
    photos = {node.name: node for node in nodes}
    plans = [plan for step in STEPS if trainings and (plan := load_plan(folder, step)) is not None]
    return [
        node
        for plan in plans
        if plan.net in trainings
        for node in search_nodes(folder, plan, trainings[plan.net], photos[trainings[plan.net].needs[0]])
    ]


def search_nodes(folder: Path, plan: SearchPlan, training: Node, photos: Node) -> list[Node]:
    """The nodes of a search, as far as they are known: those that survive a comparison are, once it has been made.

    training  of the plan's net, with the recipe of the folder.    photos  decoded.
    """
    left, nodes = list(range(len(plan.models))), list[Node]()
    for epochs in plan.rungs:
        rung = [_candidate(folder, plan, index, epochs, training, photos) for index in left]
        nodes += rung
        outcomes = [outcome_of(node) for node in rung]
        known = [outcome for outcome in outcomes if outcome is not None]
        if len(known) < len(outcomes):
            break
        left = survivors(left, known)
    return nodes


def survivors(indices: Sequence[int], outcomes: Sequence[CandidateOutcome]) -> list[int]:
    """The better half of these candidates, rounded up, in their order; failed ones never, of equal ones the first."""
    good = [(-found.ap, index) for index, found in zip(indices, outcomes, strict=True) if not found.failed]
    return sorted(index for _, index in sorted(good)[: -(-len(indices) // 2)])


def _candidate(folder: Path, plan: SearchPlan, index: int, epochs: int, training: Node, photos: Node) -> Node:
    assert isinstance(training.action, TrainOnPhotos)
    base = training.action.recipe
    changes = {"model": plan.models[index], "train": plan.schedule(base.train)}
    parts = {
        f"recipe's {name}" if isinstance(value, str) else f"recipe section [{name}]": digest(value)
        for name, value in {**vars(base), **changes}.items()
    }
    teacher = training.action.teacher
    if teacher is not None:
        parts["teacher"] = content_hash(teacher)
    parts |= {photos.name: photos.key, "size of the validation photos": digest(plan.max_side)}
    action = TrainCandidate(base, changes, training.action.records, photos.makes, digest(parts), epochs, plan.max_side,
                            teacher)  # fmt: skip
    name = node_name(plan, index, epochs)
    end = f"-{epochs}" if epochs < plan.epochs else ""
    makes = folder / plan.step / f"{index:02d}" / f"outcome{end}.json"
    return Node(
        name, (photos.name,), makes, {**parts, "epochs": digest(epochs)}, action, fault=training.fault, cost=1.0
    )


@dataclass(frozen=True, eq=False)
class TrainCandidate:
    """Trains a candidate in a process of its own and writes its outcome. That of one that diverges, or for which memory
    is short, says so: the search goes on.

    base, changes  the recipe of the folder, and what differs from it. They are joined in the process of the training,
                   since a recipe is checked by building its net, which takes long for all the candidates of a search.
    key            of the training, the same after any number of epochs, so that a later call continues.
    epochs         to train, of those of the recipe.
    teacher        weights, for an objective that uses one.
    """

    base: DetectorRecipe
    changes: dict[str, Any]
    records: tuple[ImageRecord, ...]
    photos: Path
    key: str
    epochs: int
    max_side: int
    teacher: Path | None = None

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        makes.parent.mkdir(parents=True, exist_ok=True)
        try:
            call_alone(partial(self._work, makes, key, options.device))
        except (TrainingError, ProcessKilled, MemoryError) as error:
            self._write(makes, key, CandidateOutcome(self.epochs, failed=_line(error)))
        except RuntimeError as error:
            if not any(words in str(error).lower() for words in _NO_MEMORY):
                raise
            self._write(makes, key, CandidateOutcome(self.epochs, failed=_line(error)))

    def _work(self, makes: Path, key: str, device: str) -> None:
        launch(partial(self._train, makes, key, device), 1, device)

    def _train(self, makes: Path, key: str, device: str) -> None:
        recipe, photos = replace(self.base, **self.changes), PhotoStore(self.photos, self.records)
        weights = makes.with_name(WEIGHTS)
        train_detector(
            recipe, new_net(recipe), photos, weights, self.key, device, True, self.teacher, until=self.epochs
        )
        try:
            read(weights)
        except CheckpointError as error:  # of a last step that went wrong
            raise TrainingError(f"after {self.epochs} epochs {error}") from error
        found = hard_ap(weights, recipe.net, photos, recipe.train.val, self.max_side, device)
        self._write(makes, key, CandidateOutcome(self.epochs, *found))

    def _write(self, makes: Path, key: str, outcome: CandidateOutcome) -> None:
        with atomic_write(makes) as draft:
            draft.write_text(json.dumps({"key": key, "outcome": asdict(outcome)}, indent=1), "utf-8")

    def read_key(self, makes: Path) -> str | None:
        return _read(makes)[0]

    def update(self, makes: Path) -> None:
        """Its key covers all."""


def _line(error: BaseException) -> str:
    """The first sentence of an error, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
