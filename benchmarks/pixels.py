"""Time and memory of a detection over image size, from 0.1 to 33 Mpx.

    python benchmarks/pixels.py [--data FOLDER] [--threads 1] [--rounds 5] [--plot FILE]

Each size is a fresh process (peer_worker.py), so that its peak memory is its own. Scenes have nine faces each, so what
grows is the pyramid and what PNet proposes in texture. Prints a markdown table and the exponent of the growth: the
slope of log time over log pixels from 1 Mpx on, 1 when linear. Exits with 1 when it is above 1.15, or when a detection
of 1920x1080 takes more than 600 MB.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from peer_packages import Settings
from peer_process import PeerProcess
from peers import FOLDER, OURS
from scenes import Sources
from tqdm import tqdm

from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table

FACES = 9
SIZES = (
    (426, 240), (640, 360), (960, 540), (1280, 720), (1920, 1080),
    (2560, 1440), (3840, 2160), (5120, 2880), (7680, 4320),
)  # fmt: skip
FULL_HD, MEMORY, EXPONENT = (1920, 1080), 600.0, 1.15


class Row(NamedTuple):
    """Milliseconds (rounds,) of detections after the first, and the process's most memory, MB."""

    width: int
    height: int
    ms: list[float]
    peak_mb: float
    faces: int

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


def measure(sources: Sources, settings: Settings, cores: Sequence[int], rounds: int) -> list[Row]:
    rows = []
    with TemporaryDirectory() as folder:
        for width, height in tqdm(SIZES, "sizes", disable=None):
            file = Path(folder) / "scene.npy"
            np.save(file, sources.compose(width, height, FACES))
            with PeerProcess(OURS, settings, cores) as process:
                seconds, faces = process.detect(file, rounds + 1)
                rows.append(Row(width, height, [1000 * value for value in seconds[1:]], process.peak_mb(), len(faces)))
    return rows


def exponent(rows: Sequence[Row]) -> float:
    """The slope of log time over log pixels, of the sizes from 1 Mpx on: below, fixed costs weigh in."""
    large = [row for row in rows if row.megapixels >= 0.9]
    pixels, times = np.log([row.megapixels for row in large]), np.log([np.median(row.ms) for row in large])
    return float(np.polyfit(pixels, times, 1)[0])


def table(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        low, middle, high = np.percentile(row.ms, [25, 50, 75])
        cells = [f"{row.megapixels:.2f}", f"{middle:.1f} ({low:.1f}–{high:.1f})", f"{middle / row.megapixels:.1f}"]
        body.append([f"{row.width}×{row.height}", *cells, f"{row.peak_mb:.0f}", str(row.faces)])
    return markdown_table(["image", "Mpx", "ms", "ms a Mpx", "peak MB", "faces found"], body)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Time over pixels with a line of slope 1, and memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    pixels = [row.megapixels for row in rows]
    times, memory = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    last = float(np.median(rows[-1].ms))
    times.loglog(pixels, [np.median(row.ms) for row in rows], "o-", label="measured")
    times.loglog(pixels, [last * part / pixels[-1] for part in pixels], "--", label="as the pixels")
    times.legend()
    memory.semilogx(pixels, [row.peak_mb for row in rows], "o-")
    for panel, name in ((times, "ms a detection"), (memory, "peak memory, MB")):
        panel.set(xlabel="Mpx", ylabel=name)
        panel.set_ylim(bottom=0 if panel is memory else None)
        panel.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path, default=FOLDER / "results" / "pixels.png")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[-given.threads :] if hasattr(os, "sched_getaffinity") else []
    sources = Sources(given.data)
    rows = measure(sources, Settings(threads=given.threads), cores, given.rounds)
    print(f"{sources.label}, {given.threads} thread(s), {given.rounds} rounds; {describe()}\n\n{table(rows)}\n")
    print(f"time grows as pixels to the power of {exponent(rows):.3f}")
    given.plot.parent.mkdir(parents=True, exist_ok=True)
    plot(rows, given.plot)
    peak = next(row.peak_mb for row in rows if (row.width, row.height) == FULL_HD)
    if exponent(rows) > EXPONENT or peak > MEMORY:
        raise SystemExit(f"exponent {exponent(rows):.3f}, at most {EXPONENT}; {peak:.0f} MB, at most {MEMORY:g}")


if __name__ == "__main__":
    main()
