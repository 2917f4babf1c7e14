"""Processor time of detection in two checkouts of this project, in one run: has a change made anything slower?

    python benchmarks/before_after.py BEFORE AFTER [--rounds 8] [--models FOLDER]

BEFORE and AFTER are checkouts. Fresh processes of the two alternate, and each reports the median of repeated detections
in a photo that ships with scikit-image, enlarged. `first faces` and `--help` are whole processes. Both trees take the
weights that ship with them, or those of --models. Kernels are compiled before, into a cache folder for each tree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

STEADY = """
import json, sys, time
import cv2, numpy as np
from skimage import data
from mtcnn import Detector
models = sys.argv[1] or None
photo = data.astronaut()
for name in ("pnet", "retinaface"):
    detect = Detector(models=models, stage1=name).detect
    for height, width in ((480, 640), (720, 1280), (1080, 1920)):
        image = np.ascontiguousarray(cv2.resize(photo, (width, height)))
        times = []
        for _ in range(20):
            start = time.process_time()
            detect(image)
            times.append(1000 * (time.process_time() - start))
        case = f"{'cascade' if name == 'pnet' else name} {width}x{height}, ms"
        print(json.dumps([case, float(np.median(times[5:]))]))
"""
FIRST = """
import sys
from skimage import data
from mtcnn import Detector
Detector(models=sys.argv[1] or None, stage1=sys.argv[2]).detect(data.astronaut())
"""
WITHOUT = "import sys\nfrom skimage import data\ndata.astronaut()"  # what loading the photo costs, taken off


def process(tree: Path, cache: Path, words: Sequence[str]) -> tuple[float, str]:
    """Processor seconds and output of one process."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measure(tree: Path, cache: Path, models: str) -> dict[str, float]:
    """One round: case -> milliseconds, or seconds for whole processes."""
    _, lines = process(tree, cache, ["-W", "ignore", "-c", STEADY, models])
    found = dict(json.loads(line) for line in lines.splitlines())
    photo, _ = process(tree, cache, ["-c", WITHOUT])
    for name, stage in (("cascade", "pnet"), ("retinaface", "retinaface")):
        found[f"{name}, first faces, s"] = process(tree, cache, ["-W", "ignore", "-c", FIRST, models, stage])[0] - photo
    found["mtcnn --help, s"] = process(tree, cache, ["-m", "mtcnn", "--help"])[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--models", default="", help="folder of weights for both")
    given = parser.parse_args()
    trees = [given.before.resolve(), given.after.resolve()]
    rounds: list[list[dict[str, float]]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        caches = [Path(folder, name) for name in ("before", "after")]
        for number in range(given.rounds + 1):
            for i in (0, 1) if number % 2 else (1, 0):
                found = measure(trees[i], caches[i], given.models)
                if number:  # the first compiles
                    rounds[i].append(found)
    print("| | before | after | ratio | minimum before | minimum after |\n|---|--:|--:|--:|--:|--:|")
    for case in rounds[0][0]:
        old, new = ([found[case] for found in runs] for runs in rounds)
        middle = [statistics.median(values) for values in (old, new)]
        lows = f"{min(old):.3f} | {min(new):.3f}"
        print(f"| {case} | {middle[0]:.3f} | {middle[1]:.3f} | {middle[1] / middle[0]:.3f} | {lows} |", flush=True)


if __name__ == "__main__":
    main()
