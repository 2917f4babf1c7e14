"""Compares SCRFD's exported files with what an unmodified public reader of such files makes of them.

    python -m venv READER; READER/bin/pip install scrfd
    python benchmarks/scrfd_reader.py --models FOLDER --python READER/bin/python PHOTO...

FOLDER holds weights of SCRFD nets with landmarks, such as `mtcnn weights import` makes of scrfd_500m_bnkps.onnx;
the reader, the package `scrfd`, takes files with landmarks for images of 640 x 640 alone. Each net is exported with
free and with fixed sizes. The photos are put into a black square of 640 pixels first, so that both see the same pixels.
Prints a markdown row for each file: boxes of either side, and the largest differences between them, pixels and score.
Exits with 1 where the boxes are not the same: another number of them, or 0.01 pixels or more apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtcnn.checkpoint import has_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_runtime
from mtcnn.detectors.single_stage import SingleStage, pad
from mtcnn.images import read_image
from mtcnn.onnx_export import export_onnx
from mtcnn.resample import resample

SIDE, THRESHOLD, APART = 640, 0.4, 0.01
READER = """
import json, sys
from PIL import Image
from scrfd import SCRFD, Threshold
find = SCRFD.from_path(sys.argv[1], providers=["CPUExecutionProvider"])
for path in sys.argv[4:]:
    faces = find.detect(Image.open(path), Threshold(probability=float(sys.argv[2]), nms=float(sys.argv[3])))
    print(json.dumps([json.loads(face.model_dump_json()) for face in faces]))
"""

Array = NDArray[Any]


def squares(paths: list[Path], folder: Path) -> list[Path]:
    """The photos in black squares, as PNG: the reader has nothing to scale."""
    found = []
    for i, path in enumerate(paths):
        image = read_image(path)
        factor = SIDE / max(image.shape[:2])
        small = resample(image, *(max(1, round(side * factor)) for side in image.shape[:2]))
        found.append(folder / f"{i}.png")
        Image.fromarray(pad(small, SIDE, (0, 0, 0))).save(found[-1])
    return found


def theirs(python: str, file: Path, nms: float, photos: list[Path]) -> list[Array]:
    """Rows (N, 15) of each photo: box, score and points, as the reader gives them."""
    command = [python, "-c", READER, str(file), str(THRESHOLD), str(nms), *map(str, photos)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [np.array([row_of(face) for face in json.loads(line)]).reshape(-1, 15) for line in lines]


def row_of(face: dict[str, Any]) -> list[float]:
    corners = [face["bbox"][corner][axis] for corner in ("upper_left", "lower_right") for axis in "xy"]
    names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    return [*corners, face["probability"], *(face["keypoints"][name][axis] for name in names for axis in "xy")]


def ours(models: Path, name: str, photos: list[Path]) -> list[Array]:
    """The same by this project, in torch."""
    find = SingleStage(load_runtime(weights_path(models, name), name), DETECTORS[name], THRESHOLD, coarse=False)
    rows = []
    for photo in photos:
        faces = find(np.array(Image.open(photo)))
        assert faces.landmarks is not None, f"{name} has no landmarks, which the reader needs"
        points = faces.landmarks.reshape(-1, 10)  # (N, 5, 2) -> (N, 10)
        rows.append(np.concatenate([faces.boxes, faces.scores[:, None], points], axis=1))
    return rows


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--python", required=True)
    given = parser.parse_args()
    same = True
    print("| net | file | photos | boxes | its boxes | pixels apart | scores apart |")
    print("| --- | --- | --: | --: | --: | --: | --: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        photos = squares(given.photos, Path(folder))
        for name in [name for name in DETECTORS if name.startswith("scrfd") and has_weights(given.models, name)]:
            wanted = ours(given.models, name, photos)
            for shape in (None, (SIDE, SIDE)):
                file = export_onnx(name, Path(folder, "net.onnx"), given.models, shape).path
                found = theirs(given.python, file, DETECTORS[name].nms_iou, photos)
                same &= report(name, shape is not None, wanted, found)
    return 0 if same else 1


def report(name: str, fixed: bool, wanted: list[Array], found: list[Array]) -> bool:
    """Print a row. Returns whether the boxes are the same."""
    counts = sum(map(len, wanted)), sum(map(len, found))
    pairs = [(a, b) for a, b in zip(wanted, found, strict=True) if len(a) == len(b)]
    apart = np.concatenate([np.abs(a - b[[nearest(row, b) for row in a]]) for a, b in pairs])
    pixels, scores = np.delete(apart, 4, axis=1).max(), apart[:, 4].max()
    kind = "fixed" if fixed else "free"
    print(f"| {name} | {kind} | {len(wanted)} | {counts[0]} | {counts[1]} | {pixels:.5f} | {scores:.1e} |", flush=True)
    return len(pairs) == len(wanted) and pixels < APART


def nearest(row: Array, rows: Array) -> int:
    return int(np.abs(rows[:, :4] - row[:4]).sum(axis=1).argmin())


if __name__ == "__main__":
    sys.exit(main())
