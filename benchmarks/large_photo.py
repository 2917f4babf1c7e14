"""One photo of 200 megapixels: the peak memory of `mtcnn detect`, and its faces beside those of its parts.

    python benchmarks/large_photo.py [--data FOLDER] [--detector retinaface] [--models FOLDER] [--side 1024]

A scene of nine faces, moved by another distance in each of 16 x 12 squares of 1,024 pixels, is stored as a JPEG and
searched by the command, in a process of its own. Then each square is cut out with MARGIN pixels around it and searched
alone, and the faces whose centres lie in it are those of the part. Two faces are the same at an IoU of 0.9 and scores
within 0.02.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scenes import Sources

from mtcnn import Detector, Faces, read_image
from mtcnn.boxes import iou
from mtcnn.machine import describe

ROWS, COLUMNS = 12, 16
MARGIN = 384  # a multiple of every stride, and more than half the largest face in the scenes
SAME, SCORE = 0.9, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--detector", default="retinaface")
    parser.add_argument("--models", type=Path, help="default: the packaged weights")
    parser.add_argument("--side", type=int, default=1024, help="of a square, pixels; default: 1024")
    given = parser.parse_args()
    sources = Sources(given.data and Path(given.data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        cv2.imwrite(str(path), composed(sources, given.side)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        models = [] if given.models is None else ["--models", str(given.models)]
        words = ["-m", "mtcnn", "detect", str(path), "--json", "--detector", given.detector, *models]
        done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        image = read_image(path)
    records = [face for line in done.stdout.splitlines() for face in json.loads(line)["faces"]]
    whole = Faces(*(np.array([face[key] for face in records], np.float32) for key in ("box", "score")))
    parts = of_parts(Detector(given.models, detector=given.detector), image, given.side)
    height, width = image.shape[:2]
    print(f"{width} x {height}, {width * height / 1e6:.0f} Mpx, {given.detector}; {sources.label}; {describe()}")
    print(f"peak memory {used.ru_maxrss * 1024 / 1e9:.2f} GB, processor time {used.ru_utime + used.ru_stime:.1f} s")
    print(f"{len(whole)} faces, {len(parts)} in the parts; {same(whole, parts)} the same")


def composed(sources: Sources, side: int) -> NDArray[np.uint8]:
    image = np.empty((ROWS * side, COLUMNS * side, 3), np.uint8)
    scene = sources.compose(side, side, 9)
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
            image[place] = np.roll(scene, (37 * row, 53 * column), (0, 1))  # faces lie differently on every grid
    return image


def of_parts(detector: Detector, image: NDArray[np.uint8], side: int) -> Faces:
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for top in range(0, image.shape[0], side):
        for left in range(0, image.shape[1], side):
            y, x = max(top - MARGIN, 0), max(left - MARGIN, 0)
            faces = detector.detect(image[y : top + side + MARGIN, x : left + side + MARGIN])
            moved = faces.boxes + np.array([x, y, x, y], np.float32)
            centre = (moved[:, :2] + moved[:, 2:]) / 2 - (left, top)
            inside = ((centre >= 0) & (centre < side)).all(axis=1)
            boxes.append(moved[inside])
            scores.append(faces.scores[inside])
    return Faces(np.concatenate(boxes), np.concatenate(scores))


def same(a: Faces, b: Faces) -> int:
    """How many faces of `a` are in `b`."""
    overlap = iou(a.boxes, b.boxes)
    nearest = overlap.argmax(axis=1)
    close = np.abs(a.scores - b.scores[nearest]) <= SCORE
    return int(((overlap.max(axis=1) >= SAME) & close).sum())


if __name__ == "__main__":
    main()
