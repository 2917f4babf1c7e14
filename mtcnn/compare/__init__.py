"""Compares detectors on the same photos: accuracy by difficulty and attribute, cost, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import write_whole
from mtcnn.images import read_image
from mtcnn.metrics import wider
from mtcnn.metrics.attributes import with_attributes
from mtcnn.metrics.detections import event_photos
from mtcnn.metrics.problems import Problems
from mtcnn.pictures.draw import save_image
from mtcnn.progress import progress
from mtcnn.workers import Workers

from . import costs
from .cache import cache_file, detections
from .choice import choose
from .entries import Entry
from .outputs import MAIN, Row, plot, tables
from .sheet import contact_sheet

__all__ = ["Entry", "Row", "choose", "compare"]

TIMED = 5  # photos
ROUNDS = 7


def compare(
    entries: Sequence[Entry],
    photos: Path,
    ground_truth: Path,
    out: Path,
    workers: Workers,
    images: Path | None = None,
    timing: bool = True,
    problems: Problems | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Measure every detector and write table.md, table.json, table.png and photos.jpg to the folder `out`.

    entries       of `choose`.              photos  folder of <event>/<image>.jpg.
    ground_truth  see `wider.GroundTruth`.  images  the images to evaluate; default: all in `photos`.
    timing        measure time and memory too, in this process and fresh ones: nothing else should run.

    Detections are cached in <out>/detections by a hash of weights and settings, so an interrupted run resumes, and a
    row added later only costs its own time. Raises DataError if no photo is in the ground truth.
    """
    problems = Problems.default(problems)
    truth = with_attributes(wider.GroundTruth.load(ground_truth, problems), ground_truth)
    paths = event_photos(photos, None if images is None else wider.load_image_list(images))
    paths = {name: path for name, path in paths.items() if name in truth.boxes}
    if not paths:
        raise DataError(f"{photos}: no photo of the ground truth {ground_truth}; expected <event>/<image>.jpg of it")
    rows, found = {entry.label: Row(entry.label, entry.missing()) for entry in entries}, {}
    ready = [entry for entry in entries if not rows[entry.label].missing]
    for entry in ready:
        with progress(name=entry.label, total=len(paths)) as bar:
            file = cache_file(out / "detections", entry.label, entry.key())
            found[entry.label] = detections(file, paths, entry, workers, problems, bar)
        rows[entry.label].result = wider.evaluate(truth, found[entry.label], list(paths), problems)
        rows[entry.label].costs |= costs.arithmetic(entry)
        say(_line(rows[entry.label]))
    readable = [path for name, path in paths.items() if any(name in rows for rows in found.values())]
    if timing and readable:
        _time(ready, rows, readable)
    _write(list(rows.values()), out)
    if found:
        save_image(out / "photos.jpg", contact_sheet(truth, found, paths))
    return list(rows.values())


def _line(row: Row) -> str:
    assert row.result is not None
    main = {name: value for name, value in row.result.ap.items() if name in MAIN}
    return f"{row.label}: AP {', '.join(f'{name} {value:.4f}' for name, value in main.items())}"


def _time(entries: Sequence[Entry], rows: dict[str, Row], paths: Sequence[Path]) -> None:
    """Measure time and memory once per detector: they do not depend on the scale at which AP is measured."""
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, TIMED).round().astype(int))]
    images = costs.frames([read_image(path) for path in chosen])
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.title, entry)
    detectors = {name: entry.detector(measured=False) for name, entry in first.items()}
    with progress(name="timing", total=len(images) * ROUNDS * len(detectors), unit="img") as bar:
        milliseconds = costs.speed(detectors, images, ROUNDS, bar)
    peaks = {name: costs.memory(entry) for name, entry in first.items()}
    for entry in entries:
        values: dict[str, Any] = {"ms": milliseconds[entry.title], "memory_mib": peaks[entry.title]}
        rows[entry.label].costs |= {name: value for name, value in values.items() if value is not None}


def _write(rows: Sequence[Row], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "table.md", (tables(rows) + "\n").encode())
    write_whole(out / "table.json", json.dumps([row.to_dict() for row in rows], indent=1).encode())
    if any("ms" in row.costs for row in rows):
        plot(rows, out / "table.png")
