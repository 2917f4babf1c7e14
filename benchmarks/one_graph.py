"""Compares an ONNX file of a whole detector with `Detector`: the same faces, AP and milliseconds, on one core.

    mtcnn export mtcnn
    python benchmarks/one_graph.py mtcnn.onnx [--data FOLDER] [--every 1]

The settings are read from the file. Both run on each photo of the dev split in turns; decoding is not timed. AP is that
of `mtcnn eval wider`. Time is CPU time: others may use the machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from peer_options import dev_photos

from mtcnn import Detector, Faces, read_image
from mtcnn.boxes import iou
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows

SCORE, PIXELS = 1e-3, 0.5  # two faces are the same within these


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--every", type=int, default=1, help="take each such photo; default: 1")
    given = parser.parse_args()
    photos = dev_photos(parser, given.data, 10**6)[:: given.every]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(given.file, options, providers=["CPUExecutionProvider"])
    settings = json.loads(session.get_modelmeta().custom_metadata_map["settings"])
    detector = Detector(**settings)
    runs: dict[str, Any] = {
        "Detector": detector.detect,
        "ONNX": lambda image: Faces(*session.run(None, {"image": image})),
    }
    found: dict[str, dict[str, Faces]] = {name: {} for name in runs}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for photo in (photos[0], *photos):  # the first one twice, to warm up
        image = read_image(photo)
        for name, run in runs.items():
            start = time.process_time()
            found[name][f"{photo.parent.name}/{photo.stem}"] = run(image)
            spent[name].append(1000 * (time.process_time() - start))
    truth = GroundTruth.load(Path(given.data) / "wider" / "ground_truth")
    rows = []
    for name, faces in found.items():
        ap = evaluate(truth, {photo: faces_to_rows(some) for photo, some in faces.items()}, list(faces)).ap
        times = spent[name][1:]
        rows.append(
            [name, *(f"{value:.4f}" for value in ap.values()), f"{np.mean(times):.0f}", f"{np.median(times):.0f}"]
        )
    print(f"{len(photos)} photos, {settings}; {describe()}\n")
    print(markdown_table(["", "easy", "medium", "hard", "ms, mean", "ms, median"], rows))
    print(agreement(found["Detector"], found["ONNX"]))


def agreement(a: dict[str, Faces], b: dict[str, Faces]) -> str:
    """How many faces are the same, and the largest differences of those."""
    counts, same, scores, pixels, points = [0, 0], 0, 0.0, 0.0, 0.0
    for name, faces in a.items():
        others = b[name]
        counts[0], counts[1] = counts[0] + len(faces), counts[1] + len(others)
        if not len(faces) or not len(others):
            continue
        pairs = iou(faces.boxes, others.boxes).argmax(axis=1)
        gaps = np.abs(faces.scores - others.scores[pairs]), np.abs(faces.boxes - others.boxes[pairs]).max(axis=1)
        equal = (gaps[0] <= SCORE) & (gaps[1] <= PIXELS)
        same += int(equal.sum())
        scores, pixels = max(scores, gaps[0][equal].max(initial=0)), max(pixels, gaps[1][equal].max(initial=0))
        if faces.landmarks is not None and others.landmarks is not None:
            points = max(points, float(np.abs(faces.landmarks - others.landmarks[pairs])[equal].max(initial=0)))
    return (
        f"\nfaces: {counts[0]:,} and {counts[1]:,}; the same within {SCORE} and {PIXELS} pixels: {same:,}; "
        f"their largest differences: {scores:.1e} in score, {pixels:.2g} pixels of boxes, {points:.2g} of landmarks"
    )


if __name__ == "__main__":
    main()
