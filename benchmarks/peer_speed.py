"""Milliseconds of a detection on composed scenes, detectors interleaved image by image and round by round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peer_packages import Settings
from peer_process import PeerProcess
from peers import DROP_IN, OURS, PEERS
from scenes import Sources
from tqdm import tqdm

from mtcnn import Faces
from mtcnn.boxes import iou
from mtcnn.metrics.tables import markdown_table

WARM_UP = 2  # detections of each image before the first that counts: some libraries compile for each new size
OVERLAP = 0.7  # from which on two boxes are the same face; arithmetics differ by a pixel or two


class Scene(NamedTuple):
    width: int
    height: int
    faces: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}, {self.faces}"


# Ninety faces in 320x240 would be smaller than the smallest that the cascades look for.
SCENES = (
    Scene(320, 240, 1), Scene(320, 240, 9), Scene(640, 480, 1), Scene(640, 480, 9), Scene(640, 480, 90),
    Scene(1280, 720, 1), Scene(1280, 720, 9), Scene(1280, 720, 90),
    Scene(1920, 1080, 1), Scene(1920, 1080, 9), Scene(1920, 1080, 90),
)  # fmt: skip
FACENET = "facenet-pytorch"
ASKED = {  # times as fast as facenet-pytorch, and as the fastest peer of MTCNN's kind
    Scene(640, 480, 1): (5.0, 3.3),
    Scene(640, 480, 9): (5.5, 3.2),
    Scene(640, 480, 90): (6.5, 3.1),
    Scene(1920, 1080, 1): (5.0, 3.3),
}


def measure(
    settings: Mapping[str, Settings], sources: Sources, folder: Path, cores: Sequence[int], rounds: int, clock: str
) -> dict[str, Any]:
    """Plain values for JSON: for each scene and detector milliseconds by round, and faces found.

    settings  of each detector by name, this project's two among them.   folder  to keep the scenes in meanwhile.
    cores     that the processes are pinned to; they take turns.   clock  see PeerProcess.
    """
    rows = []
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(PeerProcess(name, given, cores, clock)) for name, given in settings.items()
        }
        for scene in tqdm(SCENES, "scenes", disable=None):
            file = folder / "scene.npy"
            np.save(file, sources.compose(*scene))
            rows.append({"scene": [*scene], "detectors": _scene(processes, file, rounds)})
    return {"rows": rows, "photos": sources.label, "threads": settings[OURS].threads, "clock": clock}


def _scene(processes: Mapping[str, PeerProcess], file: Path, rounds: int) -> dict[str, Any]:
    found = {name: process.detect(file, WARM_UP)[1] for name, process in processes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    names = list(processes)
    for number in range(rounds):
        shift = number % len(names)  # so that nobody always comes after the same one
        for name in [*names[shift:], *names[:shift]]:
            seconds[name] += processes[name].detect(file)[0]
    return {
        name: {
            "ms": [round(1000 * value, 3) for value in values],
            "faces": len(found[name]),
            "agree": {ours: _agreement(found[name], found[ours]) for ours in (OURS, DROP_IN)},
        }
        for name, values in seconds.items()
    }


def _agreement(theirs: Faces, ours: Faces) -> list[int]:
    """How many of theirs we have, and how many of ours they have."""
    if not len(theirs) or not len(ours):
        return [0, 0]
    same = iou(theirs.boxes, ours.boxes) >= OVERLAP
    return [int(same.any(axis=1).sum()), int(same.any(axis=0).sum())]


def ratio(row: Mapping[str, Any], peer: str, ours: str = OURS) -> float:
    """How many times as long the peer takes: the median over rounds, of which each compares neighbours in time."""
    theirs, own = (np.array(row["detectors"][name]["ms"]) for name in (peer, ours))
    return float(np.median(theirs / own))


def fastest(row: Mapping[str, Any]) -> str | None:
    """The MTCNN peer with the smallest median."""
    peers = [name for name in row["detectors"] if name in PEERS and PEERS[name].cascade]
    return min(peers, key=lambda name: statistics.median(row["detectors"][name]["ms"]), default=None)


def tables(result: Mapping[str, Any]) -> str:
    """Three tables: MTCNN's kind, whether they find the same, and the other detectors."""
    names = list(result["rows"][0]["detectors"])
    kind = [name for name in names if name not in PEERS or PEERS[name].cascade]
    others = [name for name in names if name not in kind]
    clock = {"wall": "Milliseconds", "cpu": "Milliseconds of computing"}[result["clock"]]
    parts = [f"{clock} a detection, {result['threads']} thread(s); {result['photos']}. Median (quartiles).", ""]
    parts += [_times(result["rows"], kind, ratios=True), "", _agreements(result["rows"], kind)]
    if others:
        parts += ["", "Others that one might pick:", "", _times(result["rows"], [OURS, *others], ratios=False)]
    return "\n".join(parts)


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    digits = 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _times(rows: Sequence[Mapping[str, Any]], names: Sequence[str], ratios: bool) -> str:
    body = []
    for row in rows:
        scene = Scene(*row["scene"])
        cells = [str(scene), *(_spread(row["detectors"][name]["ms"]) for name in names)]
        if ratios:
            first, second = ASKED.get(scene, (0.0, 0.0))
            quickest = fastest(row)
            cells += [_ratio(row, FACENET if FACENET in names else None, first), _ratio(row, quickest, second)]
            cells[-1] += f" {quickest or ''}"
        body.append(cells)
    more = ["over facenet-pytorch (asked)", "over the fastest peer (asked)"] if ratios else []
    return markdown_table(["image, faces", *names, *more], body)


def _ratio(row: Mapping[str, Any], peer: str | None, asked: float) -> str:
    if peer is None:
        return ""
    return f"{ratio(row, peer):.2f}×" + (f" ({asked:g}×)" if asked else "")


def _agreements(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Shares over all scenes, both ways, of this project's two detectors."""
    body = []
    for peer in (name for name in names if name in PEERS):
        cells = [peer]
        for ours in (OURS, DROP_IN):
            totals = [sum(row["detectors"][name]["faces"] for row in rows) for name in (peer, ours)]
            same = [sum(row["detectors"][peer]["agree"][ours][side] for row in rows) for side in (0, 1)]
            cells += [f"{part / max(whole, 1):.1%} of {whole}" for part, whole in zip(same, totals, strict=True)]
        body.append(cells)
    head = [f"same faces at IoU {OVERLAP}"]
    for ours in (OURS, DROP_IN):
        head += [f"its faces that {ours} has", f"{ours}'s that it has"]
    return markdown_table(head, body)
