"""The results of a comparison as a table, as JSON, and as a plot of milliseconds against AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtcnn.metrics.plots import figure_panels, save_figure
from mtcnn.metrics.tables import markdown_table
from mtcnn.metrics.wider import WiderResult

__all__ = ["MAIN", "Row", "plot", "tables"]

_TICKS = [digit * 10**power for power in range(-1, 5) for digit in (1, 2, 5)]
MAIN = ("easy", "medium", "hard", "10+")
"""The settings of the first table; those of `metrics.attributes` are in the second."""
NAMED = 10  # detectors whose names fit into a plot; of more, numbers stand there, and the names beside it


@dataclass
class Row:
    """The measurements of one detector; `missing` says why there are none."""

    label: str
    missing: str = ""
    result: WiderResult | None = None
    costs: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        if self.result is None:
            return {"detector": self.label, "missing": self.missing}
        return {"detector": self.label, **self.costs, **self.result.to_dict()}


def _number(value: float | None, form: str) -> str:
    return "" if value is None or value != value else format(value, form)


def tables(rows: Sequence[Row]) -> str:
    """Markdown: costs and AP of each detector, then AP by height of the faces and by attribute."""
    measured = [row for row in rows if row.result is not None]
    settings = list(measured[0].result.curves) if measured and measured[0].result else []
    main = [name for name in settings if name in MAIN]
    more = [name for name in settings if name not in MAIN]
    return "\n\n".join([_main_table(rows, main), *([_detail_table(measured, more)] if more else [])])


def _main_table(rows: Sequence[Row], settings: Sequence[str]) -> str:
    head = ["detector", "parameters", "MFLOPs 320x240", "MFLOPs 640x480", *settings, "ms 640x480", "MiB"]
    lines = []
    for row in rows:
        if row.result is None:
            lines.append([f"{row.label}: {row.missing}", *[""] * (len(head) - 1)])
            continue
        costs, ap = row.costs, row.result.ap
        counts = [_number(costs.get("mflops_320x240"), ".1f"), _number(costs.get("mflops_640x480"), ".1f")]
        cells = [_number(costs.get("parameters"), ",.0f"), *counts, *(_number(ap[name], ".4f") for name in settings)]
        lines.append([row.label, *cells, _number(costs.get("ms"), ".1f"), _number(costs.get("memory_mib"), ".0f")])
    return markdown_table(head, lines)


def _detail_table(rows: Sequence[Row], settings: Sequence[str]) -> str:
    """One line per subset of faces, one column per detector; empty subsets are omitted."""
    lines = []
    for name in settings:
        curves = [row.result.curves[name] for row in rows if row.result]
        if curves[0].faces:
            lines.append([name, f"{curves[0].faces:,}", *(_number(curve.ap, ".3f") for curve in curves)])
    return markdown_table(["AP of the faces", "faces", *(row.label for row in rows)], lines)


def plot(rows: Sequence[Row], path: Path) -> Path:
    """One panel per difficulty: AP over milliseconds, logarithmic; a line joins the detectors on the Pareto front.
    Numbers are those of the rows of the table.

    Raises MtcnnError if matplotlib is missing or the file cannot be written.
    """
    timed = [row for row in rows if row.result is not None and "ms" in row.costs]
    settings = [name for name in timed[0].result.curves if name in MAIN] if timed and timed[0].result else []
    figure, axes = figure_panels(max(1, len(settings)))
    tags = {row.label: row.label for row in timed}
    if len(timed) > NAMED:
        tags = {row.label: str(i) for i, row in enumerate(rows, 1)}
        _list_names(figure, axes[-1], [f"{tags[row.label]}  {row.label}" for row in timed])
    for ax, setting in zip(axes, settings, strict=False):
        points = sorted((row.costs["ms"], row.result.ap[setting], tags[row.label]) for row in timed if row.result)
        front = [point for i, point in enumerate(points) if all(point[1] > other[1] for other in points[:i])]
        ax.plot([x for x, _, _ in front], [y for _, y, _ in front], lw=1, alpha=0.6, label="front")
        ax.scatter([x for x, _, _ in points], [y for _, y, _ in points], s=14, color="C0")
        for x, y, label in points:
            ax.annotate(label, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=7)
        ax.set(title=setting, xlabel="ms of processor time at 640x480", ylabel="AP", xscale="log")
        low, high = points[0][0] * 0.8, points[-1][0] * 1.6  # room for the names
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        ax.set_xlim(low, high)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    return save_figure(figure, axes, path, "best")


def _list_names(figure: Any, ax: Any, names: Sequence[str]) -> None:
    """A legend of text alone, on the right of all panels."""
    nothing = [ax.scatter([], [], s=0) for _ in names]
    figure.set_size_inches(figure.get_figwidth() + 2.6, max(figure.get_figheight(), 0.16 * len(names)))
    figure.legend(nothing, names, loc="outside right upper", fontsize=7, handlelength=0, handletextpad=0, frameon=False)
