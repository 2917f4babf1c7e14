"""A search: draws the candidates, trains them, and ranks them. Called again, it resumes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from mtcnn.checkpoint import packaged_weights
from mtcnn.detectors.load import model_of
from mtcnn.errors import SettingsError, TrainingError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.progress import progress
from mtcnn.terminal import printable

from ..card import name_sources, teacher_line
from ..graph.dag import Dag, Node
from ..graph.project import open_project
from ..graph.reservation import check_unused, reserved
from ..inputs import input_of, keep
from ..photos.recipe import DetectorRecipe
from ..recipes import load_recipe, read_recipe, recipe_path
from .nodes import WEIGHTS, CandidateOutcome, TrainCandidate, outcome_of, search_nodes
from .plan import STEPS, SearchPlan, load_plan, save_plan, settle
from .report import SearchRow, rows_of, winner_folder, write_report, write_winner

__all__ = ["NetSearch", "summary"]


class NetSearch:
    """One step of a search in a folder, which is a work folder too.

    folder    of sources, recipe, decoded photos, and a folder for each step.
    given     settings of the plan, see `SearchPlan`; those left out are those of the plan in the folder, for a new step
              "whole" those of "trunk", or the defaults.
    template  a recipe file, or a candidate of the folder such as "trunk-07"; None: for the step "whole" the winner of
              the step "trunk", otherwise the recipe of the folder.
    recipe    a recipe file for the trainings, copied into the folder; None: the one there, or the packaged one.

    Raises SettingsError where the folder holds another search of this step.
    """

    def __init__(
        self,
        folder: Path,
        step: str,
        given: Mapping[str, Any],
        template: str | None = None,
        recipe: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        **project: Any,
    ) -> None:
        self.folder, self.say = folder, say
        found = load_plan(folder, step)
        if found is None and step == "whole" and (before := load_plan(folder, "trunk")) is not None:
            given = {**before.settings(), **given}
        net = given.get("net") or (found or SearchPlan()).net
        self.base = _base_recipe(folder, net, recipe)
        if found is None or template is not None:
            given = {**given, "template": self._template(net, step, template)}
        self.plan = settle(found, step, given)  # raises before anything in the folder has changed
        if recipe is not None and _differs(recipe, recipe_path(folder, net)):
            check_unused(folder, "recipe")
            with atomic_write(recipe_path(folder, net)) as draft:
                draft.write_bytes(recipe.read_bytes())
        self.dag: Dag = open_project(folder, [net], **project)
        self.quiet = self.dag.options.quiet
        with reserved(folder, [_lock_of(step)]):
            if (now := load_plan(folder, step)) != found:  # another search has begun meanwhile
                self.plan = settle(now, step, given)
            save_plan(folder, self.plan)

    def _template(self, net: str, step: str, name: str | None) -> dict[str, Any]:
        winner = recipe_path(winner_folder(self.folder, "trunk"), net)
        if name is None and step == "whole" and winner.is_file():
            return model_of(net, load_recipe(DetectorRecipe, winner_folder(self.folder, "trunk"), net).model)
        if name is None:
            return model_of(net, self.base.model)
        where, _, number = name.rpartition("-")
        plan = load_plan(self.folder, where) if where in STEPS and number.isdecimal() else None
        if plan is not None and int(number) < len(plan.models):
            return plan.models[int(number)]
        if not Path(name).is_file():
            raise SettingsError(f"template is {name!r}; expected a recipe file, or a candidate such as trunk-07")
        found = read_recipe(DetectorRecipe, Path(name))
        if found.net != net:
            raise SettingsError(f"template is a recipe of {found.net}; expected one of {net}")
        return model_of(net, found.model)

    def run(self) -> list[SearchRow]:
        """Train what is not trained yet and write the report. Returns the rows of the table, best first.

        Raises TrainingError if every candidate failed.
        """
        plan, training = self.plan, self.dag.nodes[self.plan.net]
        photos = self.dag.nodes[training.needs[0]]
        self.dag.ensure(photos.name, say=self.say)
        with reserved(self.folder, [_lock_of(plan.step)], [photos.name]):
            self._train_all(training, photos)
        rows = rows_of(plan, self.outcomes())
        write_report(self.folder / plan.step, plan, rows)
        if rows[0].outcome.failed:
            raise TrainingError(f"all {len(rows)} candidates failed; the first: {rows[0].outcome.failed}")
        work = write_winner(self.folder, plan, self.base, rows[0])
        if (teacher := input_of(self.folder, plan.net, "teacher")) is not None:
            keep(teacher, work, plan.net, "teacher")
        return rows

    def _train_all(self, training: Node, photos: Node) -> None:
        for epochs in self.plan.rungs:
            nodes = search_nodes(self.folder, self.plan, training, photos)
            self.dag.nodes |= {node.name: node for node in nodes}
            self._train([node.name for node in nodes if _epochs(node) == epochs])
            self._write_cards(nodes)

    def _write_cards(self, nodes: Sequence[Node]) -> None:
        """A model card beside the weights of each candidate, after its longest training."""
        found = {node.makes.parent: (node, outcome) for node in nodes if (outcome := outcome_of(node)) is not None}
        for folder, (node, outcome) in found.items():
            assert isinstance(node.action, TrainCandidate)
            if not outcome.failed and self.dag.sources and (folder / WEIGHTS).is_file():
                ap = f"{outcome.ap:.4f} on {outcome.photos} photos with {outcome.faces} faces"
                more = {"candidate": node.name, "epochs trained": f"{outcome.epochs}", "hard AP": ap}
                name_sources(folder / WEIGHTS, self.dag.sources, more | teacher_line(node.action.teacher))

    def _train(self, names: list[str]) -> None:
        """Train these candidates, with a bar, or a line for each where stderr is no terminal."""
        missing = sum(self.dag.nodes[name].found() != self.dag.nodes[name].key for name in names)
        bar = progress(name=self.plan.step, total=len(names), unit="net", quiet=self.quiet,
                       initial=len(names) - missing)  # fmt: skip
        began, made = time.monotonic(), 0

        def note(name: str) -> None:
            nonlocal made
            made += 1
            bar.update()
            outcome = outcome_of(self.dag.nodes[name])
            if outcome is not None and not self.quiet:
                result = f"failed: {outcome.failed}" if outcome.failed else f"hard AP {outcome.ap:.4f}"
                left = timedelta(seconds=round((time.monotonic() - began) / made * (missing - made)))
                place = f"{len(names) - missing + made} of {len(names)}, about {left} left"
                bar.write(printable(f"{name}: {result} ({place})"), file=sys.stderr)

        with bar:
            self.dag.ensure_beside(names, note)

    def outcomes(self) -> list[CandidateOutcome | None]:
        """The outcome of each candidate after its longest training."""
        training = self.dag.nodes[self.plan.net]
        nodes = search_nodes(self.folder, self.plan, training, self.dag.nodes[training.needs[0]])
        return latest(self.plan, nodes)


def latest(plan: SearchPlan, nodes: Sequence[Node]) -> list[CandidateOutcome | None]:
    """The outcome of each candidate of a plan after its longest training, None without one."""
    found: list[CandidateOutcome | None] = [None] * len(plan.models)
    for node in nodes:  # shorter trainings come first
        index = int(node.makes.parent.name)
        found[index] = outcome_of(node) or found[index]
    return found


def _differs(recipe: Path, kept: Path) -> bool:
    return not kept.is_file() or kept.read_bytes() != recipe.read_bytes()


def _lock_of(step: str) -> str:
    """The name under which a step is reserved."""
    return f"search-{step}"


def _epochs(node: Node) -> int:
    assert isinstance(node.action, TrainCandidate)
    return node.action.epochs


def summary(folder: Path, dag: Dag) -> list[str]:
    """A line for each step of a search in a work folder: how far it is, and its best candidate."""
    lines = []
    for step in STEPS:
        plan = load_plan(folder, step)
        if plan is None or plan.net not in dag.nodes:
            continue
        training = dag.nodes[plan.net]
        found = latest(plan, search_nodes(folder, plan, training, dag.nodes[training.needs[0]]))
        rows = rows_of(plan, found)
        failed = sum(row.outcome.failed != "" for row in rows)
        done = sum(each is not None and (each.failed != "" or each.epochs == plan.epochs) for each in found)
        best = f"; best {rows[0].name}, hard AP {rows[0].outcome.ap:.4f}" if len(rows) > failed else ""
        lines.append(f"search {step}: {done} of {len(found)} candidates trained, {failed} failed{best}")
    return lines


def _base_recipe(folder: Path, net: str, path: Path | None) -> DetectorRecipe:
    """The recipe of the trainings: of a file, the one in the folder of the search, or the packaged one."""
    if path is None:
        there = recipe_path(folder, net).is_file()
        return load_recipe(DetectorRecipe, folder if there else packaged_weights(), net)
    found = read_recipe(DetectorRecipe, path)
    if found.net != net:
        raise SettingsError(f"recipe is of {found.net}; expected one of {net}; name it as `net`")
    return found
