"""Compares first stages followed by RNet and ONet: milliseconds and proposals per photo, on one core.

    python benchmarks/stage_one.py [--data FOLDER] [--every 3]

The packaged weights on photos of the dev split, all settings in turns on each; docs/detectors.md has the table.
Decoding is not timed. Proposals are those of the first stage alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from peer_options import dev_photos

from mtcnn import Detector, read_image
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table

RETINAFACE: dict[str, Any] = {"stage1": "retinaface", "thresholds": (0.02, 0.02, 0.02)}
SETTINGS: dict[str, dict[str, Any]] = {
    "pnet, rnet, onet": {"min_face": 10, "scale_factor": 0.79, "thresholds": (0.5, 0.5, 0.3)},
    "retinaface": RETINAFACE,
    "retinaface by onnx": {**RETINAFACE, "engine": "onnx"},
    "retinaface by torch": {**RETINAFACE, "engine": "torch"},
    "retinaface, rnet": {**RETINAFACE, "refine": "rnet"},
    "retinaface, rnet, onet": {**RETINAFACE, "refine": "rnet,onet"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--every", type=int, default=3, help="take each such photo; default: 3")
    given = parser.parse_args()
    photos = dev_photos(parser, given.data, 10**6)[:: given.every]
    detectors = {name: Detector(**settings) for name, settings in SETTINGS.items()}
    spent: dict[str, list[float]] = {name: [] for name in detectors}
    proposed: dict[str, list[int]] = {name: [] for name in detectors}
    for photo in (photos[0], *photos):  # the first one twice, to warm up
        image = read_image(photo)
        for name, detector in detectors.items():
            start = time.perf_counter()
            detector.detect(image)
            spent[name].append(1000 * (time.perf_counter() - start))
            proposed[name].append(len(detector.proposer(image)))
    rows = [[name, f"{np.mean(spent[name][1:]):.0f}", f"{np.mean(proposed[name][1:]):.0f}"] for name in detectors]
    print(f"{len(photos)} photos; {describe()}\n")
    print(markdown_table(["detector", "ms", "proposals"], rows))


if __name__ == "__main__":
    main()
