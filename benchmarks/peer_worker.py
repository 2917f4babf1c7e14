"""A detector in a process of its own, which answers requests: JSON lines in and out, images as .npy files.

Started by peer_process.py, in the environment of the detector. The one argument is JSON: its name, the cores to run
on, its settings. The first answer tells what loading took; then come {"do": "detect" | "folder" | "memory", ...}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peer_packages import LOAD, Package, Settings

# The second is what the process computes, whoever else uses the core meanwhile.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def _plain(values: Any) -> list[Any]:
    return np.asarray(values, np.float64).tolist()  # type: ignore[no-any-return]


def detect(package: Package, image: str, times: int = 1, clock: str = "wall") -> dict[str, Any]:
    """Seconds of each of `times` detections, decoding not counted, and what was found."""
    now = CLOCKS[clock]
    picture = package.form(np.load(image))
    seconds = []
    for _ in range(times):
        start = now()
        found = package.find(picture)
        seconds.append(now() - start)
    return {"seconds": seconds, **dict(zip(("boxes", "scores", "points"), map(_plain, found), strict=True))}


def folder(package: Package, photos: list[str]) -> dict[str, Any]:
    """How many faces there are in photos that are read and looked at one after the other."""
    return {"faces": sum(len(package.find(package.read(photo))[1]) for photo in photos)}


def memory(package: Package) -> dict[str, Any]:
    """Peak memory of this process, MB. Linux only; None elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")]
    return {"peak_mb": peaks[0] if peaks else None}


DO: dict[str, Callable[..., dict[str, Any]]] = {"detect": detect, "folder": folder, "memory": memory}


def main() -> None:
    given = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity") and given["cores"]:
        os.sched_setaffinity(0, given["cores"])
    # Packages print what they like; the parent reads nothing but answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = time.perf_counter()
    package = LOAD[given["name"]](Settings(**given["settings"]))
    _say(answers, {"seconds": time.perf_counter() - start, "files": package.files})
    for line in sys.stdin:
        request = json.loads(line)
        _say(answers, DO[request.pop("do")](package, **request))


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
