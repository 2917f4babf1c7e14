"""Fresh process of each detector: time until the first detection, time of the second, and memory."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peer_packages import Settings
from peer_process import PeerProcess
from peer_speed import Scene
from peers import OURS
from scenes import Sources
from tqdm import tqdm

from mtcnn.metrics.tables import markdown_table

SMALL, LARGE = Scene(640, 480, 1), Scene(1920, 1080, 9)
LATER, MEMORY = 1.0, 600  # asked for: seconds that the first detection may take more, MB at 1920x1080


def measure(
    settings: Mapping[str, Settings], sources: Sources, folder: Path, cores: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Plain values for JSON: for each detector lists over `rounds` processes. The first process of each is not counted.

    It fills caches: of compiled code, and the system's of files.
    """
    files = {}
    for scene in (SMALL, LARGE):
        files[scene] = folder / f"{scene.width}.npy"
        np.save(files[scene], sources.compose(*scene))
    found: dict[str, list[list[float]]] = {name: [] for name in settings}
    for number in tqdm(range(rounds + 1), "fresh processes", disable=None):
        for name, given in settings.items():
            with PeerProcess(name, given, cores) as process:
                (first, second), _ = process.detect(files[SMALL], 2)
                small = process.peak_mb()
                process.detect(files[LARGE])
                row = [process.started, first, second, small, process.peak_mb()]
            if number:
                found[name].append(row)
    keys = ("ready_s", "first_s", "second_s", "small_mb", "large_mb")
    return {name: dict(zip(keys, map(list, zip(*rows, strict=True)), strict=True)) for name, rows in found.items()}


def tables(result: Mapping[str, Mapping[str, list[float]]]) -> str:
    body = []
    for name, row in result.items():
        middle = {key: statistics.median(values) for key, values in row.items()}
        cells = [f"{middle[key]:.2f}" for key in ("ready_s", "first_s", "second_s")]
        cells += [f"{middle['ready_s'] + middle['first_s']:.2f}", f"{middle['first_s'] - middle['second_s']:.2f}"]
        body.append([name, *cells, f"{middle['small_mb']:.0f}", f"{middle['large_mb']:.0f}"])
    head = ["fresh process", "ready s", "first detection s", "second s", "until the first s", "first − second"]
    asked = f"Asked of {OURS}: first − second at most {LATER:g} s, at most {MEMORY} MB at {LARGE.width}×{LARGE.height}."
    memory = [f"peak MB, {scene}" for scene in (SMALL, LARGE)]
    return f"{asked}\n\n{markdown_table([*head, *memory], body)}"
