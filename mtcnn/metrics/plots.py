"""Plots of curves: precision-recall on WIDER FACE, ROC on FDDB, cumulative landmark error."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn.errors import MtcnnError
from mtcnn.files.atomic_write import write_whole
from mtcnn.files.outputs import note_output

if TYPE_CHECKING:
    from mtcnn.metrics.fddb import FddbResult
    from mtcnn.metrics.landmarks import LandmarkResult
    from mtcnn.metrics.wider import WiderResult

__all__ = ["check_plot", "figure_panels", "plot_landmarks", "plot_pr", "plot_roc", "save_figure"]

_NO_MATPLOTLIB = "plots need matplotlib, which is not installed: pip install 'mtcnn-cascade[plot]'"


def figure_panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with `count` axes side by side, drawn without a display and without pyplot's global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MtcnnError(_NO_MATPLOTLIB) from None
    figure = Figure(figsize=(5.0 * count, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def save_figure(figure: Any, axes: list[Any], path: str | Path, corner: str) -> Path:
    """Write a figure with a grid, and a legend in the corner named, to `path`, which is returned."""
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small", loc=corner)
    target, stream = Path(path), BytesIO()
    try:
        figure.savefig(stream, dpi=120, format=target.suffix.lower().lstrip(".") or None)
        note_output(target, own_folder=False)
        write_whole(target, stream.getvalue())
    except ValueError as error:
        raise MtcnnError(f"{path}: plot cannot be written ({error}); expected a path ending in .png or .pdf") from None
    except OSError as error:
        why = error.strerror or error
        raise MtcnnError(f"{path}: plot cannot be written ({why}); expected a folder with free space") from None
    return target


def check_plot(path: Path) -> None:
    """Raises MtcnnError if a plot could not be written to `path`; call it before the work, not after."""
    if find_spec("matplotlib") is None:
        raise MtcnnError(_NO_MATPLOTLIB)
    if not path.parent.is_dir() or path.is_dir():
        raise MtcnnError(f"{path}: plot cannot be written; expected a file in a folder that is there; check the path")


def plot_pr(results: Mapping[str, WiderResult], path: str | Path) -> Path:
    """One panel for each setting, one curve for each named result, AP in the legend. Returns the path written.

    Raises MtcnnError if matplotlib is missing or the file cannot be written; so do the other functions here.
    """
    settings = list(dict.fromkeys(name for result in results.values() for name in result.curves))
    figure, axes = figure_panels(len(settings))
    for ax, setting in zip(axes, settings, strict=True):
        for label, result in results.items():
            if setting in result.curves:
                curve = result.curves[setting]
                ax.plot(curve.recall, curve.precision, label=f"{curve.ap:.4f}  {label}")
        restricted = any(result.restricted for result in results.values())
        ax.set(title=f"{setting}, list of images" if restricted else setting, xlabel="recall", ylabel="precision")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
    return save_figure(figure, axes, path, "lower left")


def plot_roc(results: Mapping[str, FddbResult], path: str | Path, most: int = 2000) -> Path:
    """Discrete and continuous ROC side by side up to `most` false positives, the rate at 1000 in the legend."""
    figure, axes = figure_panels(2)
    for ax, kind in zip(axes, ("discrete", "continuous"), strict=True):
        for label, result in results.items():
            rate = result.rates((1000,))[1000][kind == "continuous"]
            ax.plot(result.false, getattr(result, kind), label=f"{rate:.4f}  {label}")
        ax.set(title=f"{kind} score", xlabel="false positives", ylabel="true positive rate")
        ax.set(xlim=(0, most), ylim=(0, 1.02))
    return save_figure(figure, axes, path, "lower right")


def plot_landmarks(results: Mapping[str, LandmarkResult], path: str | Path, most: float = 0.2) -> Path:
    """The share of faces with an error of at most x, up to `most` eye distances."""
    figure, axes = figure_panels(1)
    limits = np.linspace(0, most, 401)
    for label, result in results.items():
        axes[0].plot(100 * limits, 100 * result.curve(limits), label=f"{100 * result.mean_error:.2f} %  {label}")
    axes[0].set(xlabel="mean error, % of eye distance", ylabel="faces, %", xlim=(0, 100 * most), ylim=(0, 101))
    return save_figure(figure, axes, path, "lower right")
