"""Logs of a training run: metrics.jsonl, a plot of the curves, and TensorBoard if installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtcnn.files.atomic_write import atomic_write, naming

__all__ = ["RunLog", "read_rows"]


class RunLog:
    """One JSON object per epoch in metrics-<name>.jsonl, and curves-<name>.png drawn from it.

    Opened at `epoch`, it drops later rows of an interrupted run, so that no epoch appears twice.
    """

    def __init__(self, folder: Path, name: str, epoch: int) -> None:
        self.path, self.picture = folder / f"metrics-{name}.jsonl", folder / f"curves-{name}.png"
        self.rows = [row for row in read_rows(self.path) if row["epoch"] < epoch]
        with atomic_write(self.path) as draft:  # being killed in between must not lose rows
            draft.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self.board = _board(folder / "tensorboard" / name, epoch)

    def add(self, row: dict[str, Any]) -> None:
        """Note one epoch."""
        self.rows.append(row)
        with naming(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self.board is not None:
            with naming(self.path.parent / "tensorboard"):
                for name, value in row.items():
                    self.board.add_scalar(name, value, row["epoch"])
                self.board.flush()  # it otherwise buffers two minutes, and loses them at exit

    def _columns(self) -> list[str]:
        """Losses by name, in the order of the log, without the total; then recall."""
        names = [key.removeprefix("val_") for key in self.rows[-1] if key.startswith("val_")] if self.rows else []
        return [name for name in names if name not in ("total", "score")]

    def draw(self) -> None:
        """Draw the curves; nothing without the `plot` extra."""
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError:
            return
        panels = [name for name in self._columns() if any(row.get(f"val_{name}") for row in self.rows)]
        if not panels:
            return
        figure = Figure(figsize=(3.5 * len(panels), 3), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for part in ("train", "val"):
                key = f"{part}_{name}"
                points = [(row["epoch"] + 1, row[key]) for row in self.rows if row.get(key) is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), marker=".", label=part)
            axes.set_title("recall at 1 % false alarms" if name == "recall" else f"{name} loss")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend()
        with atomic_write(self.picture, self.picture.suffix) as draft:
            figure.savefig(draft, dpi=100)


def _board(folder: Path, epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=epoch)  # hides rows of an interrupted run from `epoch` on


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The epochs in a log, without broken lines and what is no number; none without a file."""
    rows = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a partial line of a killed run, or a damaged one
        if isinstance(row, dict) and type(row.get("epoch")) is int and _is_number(row["epoch"]):
            rows.append({name: value for name, value in row.items() if _is_number(value)})
    return rows


def _is_number(value: object) -> bool:
    """Whether a value of a row is one that `add` writes; an integer beyond the floats is none."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 53)
