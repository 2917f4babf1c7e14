"""What a work folder holds: its photos, crops, logs, weights and recipes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn.checkpoint import has_weights
from mtcnn.detectors import DETECTORS
from mtcnn.errors import DataError, MtcnnError
from mtcnn.weights import SECOND, SIDES, SIZES
from prepare.records import ImageRecord
from prepare.sources import are_noted, remembered_sources

from ..crops.given import given_net
from ..crops.nodes import chain
from ..graph.dag import Dag, State
from ..graph.project import begun_detectors, open_project
from ..recipes import recipe_path
from ..run_log import read_rows

__all__ = ["Log", "WorkFolder", "data_rows", "detector_of", "open_work", "size_bars"]

LONGEST = 20_000  # characters of a recipe that a report shows
BANDS = (0, 10, 20, 40, 80, 160, 320)  # pixels of a face's longer side, for the histogram


@dataclass(frozen=True)
class Log:
    """A training: its rows by epoch."""

    name: str
    rows: list[dict[str, Any]]

    def names(self) -> list[str]:
        """What was logged as train_<name> or val_<name>, the score of the epoch last."""
        keys = [key.partition("_")[2] for row in self.rows for key in row if key.startswith(("train_", "val_"))]
        return sorted(dict.fromkeys(keys), key=lambda name: name == "score")

    def line(self, part: str, name: str) -> list[tuple[float, float]]:
        """Points (epoch counted from 1, value)."""
        key = f"{part}_{name}"
        known = [row for row in self.rows if isinstance(row.get(key), int | float)]
        return [(row["epoch"] + 1, float(row[key])) for row in known]


@dataclass(frozen=True, eq=False)
class WorkFolder:
    """A work folder as it lies there.

    nets     with a recipe in it.           dag     its graph; None if its photos cannot be read: `fault` says why.
    sources  as they were named.            logs    of trainings, drafts included.
    recipes  name of the file -> its text.
    """

    path: Path
    nets: list[str]
    dag: Dag | None
    fault: str
    sources: list[str]
    logs: list[Log]
    recipes: dict[str, str]

    @property
    def states(self) -> list[State]:
        return self.dag.status() if self.dag else []

    @property
    def records(self) -> list[ImageRecord]:
        return self.dag.records if self.dag else []

    def commands(self) -> list[str]:
        """What makes such a folder: words for a shell."""
        where = [word for spec in self.sources for word in ("--data", spec)] + ["--work", str(self.path)]
        cascade, given = [net for net in SIDES if net in self.nets], any(given_net(self.path, net) for net in SIDES)
        runs = [["mtcnn", "run", *where]] if not given and any(net in SIZES for net in cascade) else []
        before = ["--before", str(self.path)] if given else []
        alone = cascade if given else [net for net in cascade if net == SECOND]
        runs += [["mtcnn", "train", "--net", net, *before, *where] for net in alone]
        runs += [["mtcnn", "run", "--net", net, *where] for net in self.nets if net in DETECTORS]
        return [shlex.join(words) for words in (*runs, ["mtcnn", "report", str(self.path)])]


def open_work(work: Path) -> WorkFolder:
    """Read a work folder, of which nothing is changed. Raises DataError for a folder that is none."""
    if not work.is_dir():
        raise DataError(f"no folder {work}; expected a work folder, as `mtcnn run` makes it")
    trained = [net for net in SIDES if recipe_path(work, net).is_file()]
    ready = {*trained, *(net for net in SIDES if given_net(work, net) is not None)}
    cascade = [net for net in trained if ready.issuperset(chain(net))]
    nets = [*cascade, *(net for net in begun_detectors(work) if recipe_path(work, net).is_file())]
    if not nets:
        raise DataError(
            f"{work} is no work folder: no recipe in it; expected one in which `mtcnn run` or `train` has worked"
        )
    dag, fault = None, ""
    try:
        dag = open_project(work, nets, remember=False, strict=False, quiet=True)
    except MtcnnError as error:  # its photos are gone, say: the rest can still be shown
        fault = str(error)
    sources = list[str]()
    with suppress(DataError):  # of a damaged file, which is a fault of the photos
        sources = remembered_sources(work) if are_noted(work) else []
    recipes = {net: recipe_path(work, net).read_text("utf-8", errors="replace")[:LONGEST] for net in nets}
    return WorkFolder(work, nets, dag, fault, sources, _logs(work, nets), recipes)


def _logs(work: Path, nets: Sequence[str]) -> list[Log]:
    """In the order of training."""
    found = []
    for net in nets:
        own = recipe_path(work, net).parent
        for folder, name in ((work / "draft" / own.name, f"{net}-draft"), (own, net)):
            rows = read_rows(folder / f"metrics-{name}.jsonl")
            found += [Log(name, rows)] if rows else []
    return found


def detector_of(folder: WorkFolder, name: str | None) -> str | None:
    """What detects with the weights of the folder: `name`, else "mtcnn" for a whole cascade, else a detector; None."""
    if name is not None:
        return name
    if all(has_weights(folder.path, net) for net in SIZES):
        return "mtcnn"
    return next((net for net in folder.nets if net in DETECTORS and has_weights(folder.path, net)), None)


def data_rows(records: Sequence[ImageRecord], val: int) -> list[tuple[str, str]]:
    """Name and number of what is labelled. val  photos of the validation part."""
    faces = sum(int((~record.ignore).sum()) for record in records)
    ignored = sum(int(record.ignore.sum()) for record in records)
    points = sum(int((np.isfinite(r.landmarks).all(axis=(1, 2)) & ~r.ignore).sum()) for r in records)
    rows = {
        "photos": len(records),
        "of these for validation": val,
        "without any face": sum(not len(record.boxes) for record in records),
        "labelled in part": sum(not record.complete for record in records),
        "faces": faces,
        "with five landmarks": points,
        "ignored regions": ignored,
    }
    return [(name, f"{number:,}") for name, number in rows.items()]


def size_bars(records: Sequence[ImageRecord]) -> list[tuple[str, float]]:
    """Faces by their longer side, in bands of pixels; nothing without faces."""
    boxes = np.concatenate([record.boxes[~record.ignore] for record in records] or [np.zeros((0, 4))])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    if not np.isfinite(sides).any():
        return []
    counts = np.histogram(sides[np.isfinite(sides)], [*BANDS, np.inf])[0]
    ends = [f"{low}" for low in BANDS[1:]]
    names = [f"<{ends[0]}", *(f"{low}-" for low in ends[:-1]), f"{ends[-1]}+"]
    return [(name, float(count)) for name, count in zip(names, counts, strict=True)]
