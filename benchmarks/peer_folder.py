"""Photos per second over a folder, from the start of the process to its end, decoding included.

This project's command against the loop over files that each peer's README shows. The command runs before and after each
peer and is compared with the mean of the two, since a machine may change its pace in the minutes that a peer takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peer_packages import Settings
from peer_process import PeerProcess
from peers import DROP_IN, OURS, PEERS, RETINAFACE
from tqdm import tqdm

from mtcnn.metrics.tables import markdown_table

ASKED = {"facenet-pytorch": 5.0}
ASKED_FASTEST = 3.0


def measure(
    settings: Mapping[str, Settings], photos: Sequence[Path], folder: Path, cores: Sequence[int]
) -> dict[str, Any]:
    """Plain values for JSON: for each peer its seconds and faces, and the command's seconds before and after it.

    folder  to lay the photos out in, as links.
    """
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder / f"{number:04}{photo.suffix}").symlink_to(photo.resolve())
    own = [_command(folder, settings[OURS], cores)[0] for _ in range(2)][1:]  # the first fills the system's caches
    rows = {}
    for name in tqdm([name for name in settings if name not in (OURS, DROP_IN, RETINAFACE)], "folder", disable=None):
        start = time.perf_counter()
        with PeerProcess(name, settings[name], cores) as process:
            process.ask("folder", photos=[str(path) for path in sorted(folder.iterdir())])
            faces = process.answer()["faces"]
        seconds = time.perf_counter() - start
        again, own_faces = _command(folder, settings[OURS], cores)
        rows[name] = {"seconds": seconds, "faces": faces, "ours": [own[-1], again], "our_faces": own_faces}
        own.append(again)
    return {"photos": len(photos), "cores": len(cores), "rows": rows}


def _command(folder: Path, given: Settings, cores: Sequence[int]) -> tuple[float, int]:
    """Seconds and faces of `mtcnn detect`."""
    words = ["detect", str(folder), "--json", "--min-face", str(given.min_face)]
    words += ["--scale-factor", str(given.scale_factor), "--thresholds", *map(str, given.thresholds)]
    words += ["--models", given.models] if given.models else []
    before = os.sched_getaffinity(0)
    start = time.perf_counter()
    os.sched_setaffinity(0, cores)  # which a child takes over
    try:
        done = subprocess.run([sys.executable, "-m", "mtcnn", *words], stdout=subprocess.PIPE, text=True, check=True)
    finally:
        os.sched_setaffinity(0, before)
    seconds = time.perf_counter() - start
    return seconds, sum(len(json.loads(line)["faces"]) for line in done.stdout.splitlines())


def tables(result: Mapping[str, Any]) -> str:
    count, rows = result["photos"], result["rows"]
    body = []
    kind = {name: row for name, row in rows.items() if PEERS[name].cascade}
    quickest = min(kind, key=lambda name: kind[name]["seconds"], default=None)
    for name, row in rows.items():
        ours = sum(row["ours"]) / 2
        asked = max(ASKED.get(name, 0.0), ASKED_FASTEST if name == quickest else 0.0)
        cells = [f"{count / row['seconds']:.2f}", f"{count / ours:.2f}", f"{row['seconds'] / ours:.2f}×"]
        body.append([name, *cells, f"{asked:g}×" if asked else "", str(row["faces"]), str(row["our_faces"])])
    head = ["folder", "its photos/s", "ours beside it", "ratio", "asked", "its faces", "our faces"]
    title = f"{count} photos on {result['cores']} cores, decoding and start of the process included:"
    return f"{title}\n\n{markdown_table(head, body)}"
