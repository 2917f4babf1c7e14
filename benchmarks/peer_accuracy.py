"""Average precision on the photos of the dev split, and the time of the same detections, interleaved photo by photo."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_packages import Settings
from peer_process import PeerProcess
from tqdm import tqdm

from mtcnn import read_image
from mtcnn.metrics.tables import markdown_table
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows, load_image_list

# Minimum score of detectors other than cascades: AP needs low scores too. Cascades keep their thresholds. In
# deface plain Python suppresses what is found, which at lower scores takes half a minute for a crowd.
MIN_SCORE, DEFACE = 0.02, {"deface": 0.15}


def measure(
    settings: Mapping[str, Settings], data: Path, photos: Sequence[Path], folder: Path, cores: Sequence[int]
) -> dict[str, Any]:
    """Plain values for JSON: for each detector AP by difficulty, and milliseconds of each photo.

    settings  of each detector by the name that the table gives it: "mtcnn" or "mtcnn: packaged weights".
    photos    of the dev split; when not all of them, AP is that of these.
    """
    found: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in settings}
    times: dict[str, list[float]] = {name: [] for name in settings}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                PeerProcess(name.partition(":")[0], given._replace(min_score=DEFACE.get(name, MIN_SCORE)), cores)
            )
            for name, given in settings.items()
        }
        for photo in tqdm(photos, "accuracy", unit=" photos", disable=None):
            file = folder / "photo.npy"
            np.save(file, read_image(photo))
            for name, process in processes.items():
                (_, seconds), faces = process.detect(file, 2)  # twice: a new size is compiled for, or looked up
                times[name].append(round(1000 * seconds, 3))
                found[name][f"{photo.parent.name}/{photo.stem}"] = faces_to_rows(faces)
    truth = GroundTruth.load(data / "wider" / "ground_truth")
    listed = set(load_image_list(data / "wider" / "wider_face_dev_bbx_gt.txt"))
    chosen = [name for name in found[next(iter(found))] if name in listed]
    rows = {name: {"ap": evaluate(truth, of, chosen).ap, "ms": times[name]} for name, of in found.items()}
    return {"photos": len(chosen), "rows": rows}


def tables(result: Mapping[str, Any]) -> str:
    body = []
    for name, row in result["rows"].items():
        cells = [f"{row['ap'][difficulty]:.3f}" for difficulty in ("easy", "medium", "hard")]
        middle, most = (float(np.percentile(row["ms"], part)) for part in (50, 95))
        body.append([name, *cells, f"{middle:.0f}", f"{most:.0f}"])
    title = f"AP on {result['photos']} photos of the dev split, and milliseconds of the same detections, one core:"
    return f"{title}\n\n{markdown_table(['detector', 'easy', 'medium', 'hard', 'median ms', '95 % below ms'], body)}"


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Time against AP, a panel for each difficulty and a point for each detector, to a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import TABLEAU_COLORS
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    FigureCanvasAgg(figure)
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    for number, difficulty in enumerate(("easy", "medium", "hard"), 1):
        panel = figure.add_subplot(1, 3, number)
        panel.set_prop_cycle(color=[*TABLEAU_COLORS, "black", "gold"])  # as many as markers
        for marker, (name, row) in zip(cycle("oDv^<>sPX*hp"), result["rows"].items(), strict=False):
            panel.scatter(statistics.median(row["ms"]), row["ap"][difficulty], marker=marker, s=70, label=name)
        panel.set(xscale="log", xlabel="ms a photo, one core", ylabel="AP", title=difficulty)
        low, high = panel.get_xlim()
        panel.set_xticks([tick for tick in ticks if low <= tick <= high], minor=False)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=110)
