"""The table of a search, as JSON lines, Markdown and a plot, and the recipe of its winner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtcnn.detectors.load import build, model_of
from mtcnn.errors import RecipeError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.metrics.plots import figure_panels, save_figure
from mtcnn.metrics.tables import markdown_table
from mtcnn.nets import parameter_count
from prepare.sources import are_noted, remember_sources, remembered_sources

from ..photos.recipe import DetectorRecipe
from ..recipe_text import recipe_text
from ..recipes import load_recipe, recipe_path
from .counting import STAGES, multiply_adds
from .nodes import CandidateOutcome
from .plan import SearchPlan
from .shares import BestShares, best_shares

__all__ = ["PARTS", "SearchRow", "rows_of", "table", "winner_folder", "write_report", "write_winner"]

PARTS = (*STAGES, "neck", "head")
_SHOWN = ("block", "stem", "blocks", "widths", "neck", "head", "head_depth")  # of [model] in the Markdown table


@dataclass(frozen=True, eq=False)
class SearchRow:
    """A candidate in the table: its outcome after its longest training, and its cost by part in multiply-adds."""

    name: str
    net: str
    model: dict[str, Any]
    outcome: CandidateOutcome
    parts: dict[str, int]

    @cached_property
    def parameters(self) -> int:
        with torch.device("meta"):
            return parameter_count(build(self.net, self.model))

    @property
    def shares(self) -> NDArray[np.float64]:
        """(P,) by part, in the order of PARTS."""
        values = np.array([self.parts[part] for part in PARTS], np.float64)
        return np.asarray(values / values.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.outcome
        result = {"failed": found.failed} if found.failed else {"hard_ap": found.ap}
        cost = {"parameters": self.parameters, "multiply_adds": sum(self.parts.values()), "parts": self.parts}
        return {"candidate": self.name, **result, "epochs": found.epochs, **cost, "model": self.model}


def rows_of(plan: SearchPlan, outcomes: Sequence[CandidateOutcome | None]) -> list[SearchRow]:
    """Rows of the candidates that have an outcome, best first: those trained longest, then by AP; failed ones last."""
    rows = [
        SearchRow(f"{plan.step}-{i:02d}", plan.net, model, outcome, multiply_adds(model, plan.height, plan.width))
        for i, (model, outcome) in enumerate(zip(plan.models, outcomes, strict=True))
        if outcome is not None
    ]
    return sorted(rows, key=lambda row: (bool(row.outcome.failed), -row.outcome.epochs, -row.outcome.ap))


def table(plan: SearchPlan, rows: Sequence[SearchRow]) -> str:
    """The candidates in Markdown, and below them where the computation of the best ones lies."""
    head = [
        "candidate",
        "hard AP",
        "epochs",
        "M multiply-adds",
        "parameters",
        *(f"{part} %" for part in PARTS),
        "model",
    ]
    lines = [[row.name, *_cells(row)] for row in rows]
    return "\n\n".join([markdown_table(head, lines), *_best_lines(plan, rows)])


def _cells(row: SearchRow) -> list[str]:
    found = row.outcome
    cost = [f"{sum(row.parts.values()) / 1e6:.1f}", f"{row.parameters:,}"]
    shares = [f"{100 * share:.1f}" for share in row.shares]
    model = ", ".join(f"{name} {_short(row.model[name])}" for name in _SHOWN)
    last = f"failed: {found.failed}" if found.failed else model
    return ["failed" if found.failed else f"{found.ap:.4f}", f"{found.epochs}", *cost, *shares, last]


def _short(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _compared(plan: SearchPlan, rows: Sequence[SearchRow]) -> list[SearchRow]:
    """Those trained to the end: AP after fewer epochs is no measure beside theirs."""
    return [row for row in rows if not row.outcome.failed and row.outcome.epochs == plan.epochs]


def _best_lines(plan: SearchPlan, rows: Sequence[SearchRow]) -> list[str]:
    found = _bootstrap(plan, rows)
    if found is None:
        return []
    limits = zip(PARTS, found.median, found.low, found.high, strict=True)
    lines = [[part, *(f"{100 * value:.1f}" for value in values)] for part, *values in limits]
    words = (
        f"Share of the computation in the best of {found.sampled}, drawn with replacement from the "
        f"{len(_compared(plan, rows))} candidates; empirical bootstrap of 10,000 draws, 95 % interval:"
    )
    return [words, markdown_table(["part", "median %", "from %", "to %"], lines)]


def _bootstrap(plan: SearchPlan, rows: Sequence[SearchRow]) -> BestShares | None:
    good = _compared(plan, rows)
    return best_shares([row.outcome.ap for row in good], np.stack([row.shares for row in good])) if good else None


def write_report(folder: Path, plan: SearchPlan, rows: Sequence[SearchRow]) -> None:
    """Write table.jsonl, table.md and table.png to the folder of a step."""
    with atomic_write(folder / "table.jsonl") as draft:
        draft.write_text("".join(json.dumps(row.to_dict()) + "\n" for row in rows), "utf-8")
    with atomic_write(folder / "table.md") as draft:
        draft.write_text(table(plan, rows) + "\n", "utf-8")
    if _compared(plan, rows):
        _plot(folder / "table.png", plan, rows)


def _plot(path: Path, plan: SearchPlan, rows: Sequence[SearchRow]) -> None:
    """One panel per part: AP over its share of the computation, with the interval of the bootstrap."""
    good, best = _compared(plan, rows), _bootstrap(plan, rows)
    assert best is not None
    figure, axes = figure_panels(len(PARTS))
    aps = [row.outcome.ap for row in good]
    for i, (ax, part) in enumerate(zip(axes, PARTS, strict=True)):
        ax.axvspan(100 * best.low[i], 100 * best.high[i], alpha=0.15, label="95 % interval of the best")
        ax.axvline(100 * best.median[i], lw=1, label="median of the best")
        ax.scatter([100 * row.shares[i] for row in good], aps, s=14)
        ax.scatter([100 * good[0].shares[i]], aps[:1], s=40, marker="*", label=good[0].name)
        ax.set(title=part, xlabel="% of the multiply-adds", ylabel="hard AP")
    save_figure(figure, axes, path, "best")


def winner_folder(folder: Path, step: str) -> Path:
    """The work folder with the recipe of a step's winner."""
    return folder / step / "winner"


def write_winner(folder: Path, plan: SearchPlan, base: DetectorRecipe, row: SearchRow) -> Path:
    """A work folder for the training of the winner: its recipe, with the schedule of `base`, and the sources of the
    search. A recipe there that has the same [model] stays as it is: it may have been edited.
    """
    work = winner_folder(folder, plan.step)
    recipe = replace(base, model=row.model)
    try:
        same = model_of(plan.net, load_recipe(DetectorRecipe, work, plan.net).model) == row.model
    except RecipeError:
        same = False
    if not same:
        with atomic_write(recipe_path(work, plan.net)) as draft:
            draft.write_text(recipe_text(recipe), "utf-8")
    if are_noted(folder):
        remember_sources(work, remembered_sources(folder))
    if (hashes := folder / "eval-hashes.txt").is_file():
        with atomic_write(work / hashes.name) as draft:
            shutil.copyfile(hashes, draft)
    return work
