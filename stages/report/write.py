"""Writes the report of a work folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from html import escape
from pathlib import Path

from mtcnn.api.training import LOWEST_SCORE
from mtcnn.cascade import Detector
from mtcnn.checkpoint import has_weights
from mtcnn.errors import DataError, ImageError, MtcnnError, WriteError
from mtcnn.files.atomic_write import write_whole
from mtcnn.machine import machine
from mtcnn.weights import SIDES

from .accuracy import Accuracy, Spot, measured
from .charts import bar_chart, line_chart
from .facts import Log, WorkFolder, data_rows, detector_of, open_work, size_bars
from .page import details, page, section, table, tiles
from .pictures import Tile, crop_tiles, hard_negatives, spot_tile

__all__ = ["write_report"]

Say = Callable[[str], object]


def write_report(
    work: Path, out: Path | None = None, detector: str | None = None, say: Say = lambda line: None
) -> Path:
    """Write a work folder's report as one HTML file, which loads nothing. Returns its path.

    out       the file; None: report.html in the folder.
    detector  what to measure, see `Detector`; None: the cascade if all its nets are there, else another with weights.
    say       gets a line before each part that takes time.

    Raises DataError for a folder that is no work folder, WriteError if the file cannot be written, SettingsError and
    CheckpointError for a detector without weights.
    """
    folder, target = open_work(work), out or work / "report.html"
    if not target.parent.is_dir() or target.is_dir():
        raise WriteError(f"{target}: cannot be written; expected a file in a folder that is there; check the path")
    found, why = _accuracy(folder, detector, say)
    say("drawing crops")
    body = [
        _data(folder),
        section("Accuracy on validation photos", why or _figures(found)),
        section("Worst false alarms", *_spots(found.false_alarms, "Boxes on no labelled face.") if found else ()),
        section("Largest missed faces", *_spots(found.misses, "Without a box on them.") if found else ()),
        section("Training", *map(_curves, folder.logs)),
        section("Crops by kind", *_crops(folder)),
        section("Negatives that look hardest", *_hard(folder)),
        section("Stages", table([tuple(state) for state in folder.states], ("stage", "state", "where, or why"))),
        section("Settings", details({f"recipe of {net}": text for net, text in folder.recipes.items()})),
        section("How to reproduce", _reproduce(folder)),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    text = page(f"{work.resolve().name}: training report", f"mtcnn, {now}", _numbers(folder, found), body)
    try:
        write_whole(target, text.encode())
    except OSError as error:
        raise WriteError(
            f"{target}: cannot be written ({error.strerror or error}); expected a file in a folder; check the path"
        ) from None
    return target


def _accuracy(folder: WorkFolder, name: str | None, say: Say) -> tuple[Accuracy | None, str]:
    """The accuracy, or a paragraph that says why there is none."""
    chosen = detector_of(folder, name)
    if chosen is None:
        return None, _paragraph("No detector is complete yet: PNet, RNet and ONet, or a single-stage detector.")
    usual = Detector(folder.path, detector=chosen)  # its threshold is that of the weights
    if folder.dag is None:
        return None, _paragraph(f"The photos cannot be read: {folder.fault}")
    say("detecting in validation photos")
    threshold = float(usual.settings.thresholds[-1])  # type: ignore[index]
    find = Detector(folder.path, detector=chosen, score=min(LOWEST_SCORE, threshold)).detect
    found = measured(folder.dag.val, find, threshold)
    return found, "" if found else _paragraph("No validation photo has a face that counts.")


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _numbers(folder: WorkFolder, found: Accuracy | None) -> list[tuple[str, str]]:
    faces = sum(int((~record.ignore).sum()) for record in folder.records)
    trained = [net for net in folder.nets if has_weights(folder.path, net)]
    rows = [("average precision", _share(found.result.ap["all"]))] if found else []
    return [*rows, ("photos", f"{len(folder.records):,}"), ("faces", f"{faces:,}"), ("nets trained", f"{len(trained)}")]


def _share(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"


def _data(folder: WorkFolder) -> str:
    sources = table([(spec,) for spec in folder.sources])
    if folder.dag is None:
        return section("Photos", sources, _paragraph(f"The photos cannot be read: {folder.fault}"))
    rows = table(data_rows(folder.records, len(folder.dag.val)))
    sizes = bar_chart("faces by longer side", size_bars(folder.records), "pixels")
    return section("Photos", sources, rows, f'<div class="charts">{sizes}</div>')


def _figures(found: Accuracy | None) -> str:
    assert found is not None
    curves = found.result.curves
    rows = [(name, f"{curve.faces:,}", _share(curve.ap)) for name, curve in curves.items()]
    lines = {
        name: list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True))
        for name, curve in curves.items()
        if curve.faces
    }
    words = (
        f"{found.photos} of {found.of} validation photos; faces of 20 pixels or more, an IoU of 0.5 or more. "
        "Sizes are the longer sides of faces, in pixels."
    )
    chart = line_chart("precision over recall", lines, "recall", (0, 1), (0, 1))
    head = ("faces", "number", "average precision")
    return _paragraph(words) + table(rows, head) + f'<div class="charts">{chart}</div>'


def _spots(spots: list[Spot], words: str) -> Iterator[str]:
    shown: list[Tile] = []
    for spot in spots:
        try:
            shown.append(spot_tile(spot))
        except ImageError:  # the photo has vanished since
            continue
    yield _paragraph(words) if shown else _paragraph("None.")
    yield tiles(shown)


def _curves(log: Log) -> str:
    charts = []
    for name in log.names():
        lines = {part: line for part in ("train", "val") if (line := log.line(part, name))}
        if any(value for line in lines.values() for _, value in line):
            charts.append(line_chart(name, lines, "epoch"))
    seconds = sum(float(row.get("seconds", 0)) for row in log.rows)
    words = f"{len(log.rows)} epochs, {seconds / 60:.1f} minutes"
    return f'<h3>{escape(log.name)}</h3>{_paragraph(words)}<div class="charts">{"".join(charts)}</div>'


def _stores(folder: WorkFolder) -> Iterator[tuple[str, str]]:
    """Name and net of the crop stores."""
    for net, size in SIDES.items():
        for name in (f"crops-{size}", f"crops-{size}-hard"):
            if (folder.path / f"{name}.lmdb").is_dir():
                yield name, net


def _crops(folder: WorkFolder) -> Iterator[str]:
    for name, _ in _stores(folder):
        try:
            kinds = crop_tiles(folder.path / f"{name}.lmdb")
        except DataError as error:
            yield f"<h3>{name}</h3>{_paragraph(str(error))}"
            continue
        yield f"<h3>{name}</h3>{table([(kind, f'{count:,}') for kind, (count, _) in kinds.items()])}"
        for kind, (_, shown) in kinds.items():
            yield f'<p class="soft">{kind}</p>{tiles(shown, small=True)}'


def _hard(folder: WorkFolder) -> Iterator[str]:
    """Of the last store of each net: mined ones, where there are any."""
    last = {net: name for name, net in _stores(folder)}
    for net, name in last.items():
        if has_weights(folder.path, net):
            try:
                shown = hard_negatives(folder.path / f"{name}.lmdb", net, folder.path)
            except MtcnnError as error:
                yield f"<h3>{net}</h3>{_paragraph(str(error))}"
                continue
            if shown:
                words = f"Of {name}, with the scores that {net} gives them now. Faces among them are labels that miss."
                yield f"<h3>{net}</h3>{_paragraph(words)}{tiles(shown, small=True)}"


def _reproduce(folder: WorkFolder) -> str:
    facts = machine()
    rows = [("processor", f"{facts['processor']}, {facts['cores']} cores"), ("system", facts["system"])]
    rows += list(facts["versions"].items())
    rows += [("commit", facts["commit"])] if facts["commit"] else []
    words = "With the recipes above in the folder, the same commands end with the same weights on the same machine."
    return f"<pre>{escape(chr(10).join(folder.commands()))}</pre>{_paragraph(words)}{table(rows)}"
