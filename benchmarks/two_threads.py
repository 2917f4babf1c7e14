"""What two threads save: one photo of 1920x1080, and a folder of photos with decoding.

    python benchmarks/two_threads.py [DETECTOR ...] [--data FOLDER] [--models FOLDER] [--photos 300] [--rounds 11]

Gives the ratio of wall times of one and two threads, which only means something on an idle machine, and beside it a
bound that other work does not disturb: the processor time of one thread over the larger part of two, that of the
calling thread or of the other.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peer_options import dev_photos
from scenes import Sources

from mtcnn import Detector
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table


class Spent(NamedTuple):
    """Seconds: on the clock, of all threads, and of the calling thread."""

    wall: float
    every: float
    caller: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", help="default: mtcnn and retinaface")
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--models", type=Path, help="default: the packaged weights")
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    files = dev_photos(parser, given.data, given.photos)
    image = Sources(Path(given.data)).compose(1920, 1080, 9)
    rows = []
    for name in given.detectors or ("mtcnn", "retinaface"):
        detector = Detector(given.models, detector=name)
        rows.append(row(f"{name}, 1920x1080", lambda detector=detector: detector.detect(image), given.rounds))  # type: ignore[misc]
        rows.append(row(f"{name}, {len(files)} photos", lambda detector=detector: detector.detect(files), 1))  # type: ignore[misc]
    print(f"{describe()}\n")
    titles = ["one thread, s", "two threads, s", "of these the caller", "bound", "ratio of wall times"]
    print(markdown_table(["processor time", *titles], rows))


def row(name: str, work: Callable[[], Any], rounds: int) -> list[str]:
    spent: dict[int, list[Spent]] = {1: [], 2: []}
    for number in range(rounds + (rounds > 1)):
        for threads in spent:
            torch.set_num_threads(threads)
            if rounds > 1:
                work()  # tables and maps are made anew for another number of threads
            found = measured(work)
            if number or rounds == 1:
                spent[threads].append(found)
    one, two = (Spent(*np.median(spent[threads], axis=0)) for threads in (1, 2))
    bound = one.every / max(two.caller, two.every - two.caller)
    return [
        name,
        *(f"{value:.3f}" for value in (one.every, two.every, two.caller)),
        f"{bound:.2f}",
        f"{one.wall / two.wall:.2f}",
    ]


def measured(work: Callable[[], Any]) -> Spent:
    before = time.perf_counter(), time.process_time(), time.thread_time()
    work()
    after = time.perf_counter(), time.process_time(), time.thread_time()
    return Spent(*(end - start for end, start in zip(after, before, strict=True)))


if __name__ == "__main__":
    main()
