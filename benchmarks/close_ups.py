"""How many close faces a single-stage detector finds: 40, 65 and 90 % of the frame, in photos of 1024 and 640 pixels.

    python benchmarks/close_ups.py --data FOLDER --models published --net scrfd-0.5g [--faces 24]

FOLDER is laid out as CONTRIBUTING.md says. The faces are the largest of the first dev photos with one of more than 150
pixels; a square around it is cut out and resized, so that its longer side has this share. Found means a score of 0.5
and an IoU of 0.5. Prints a markdown row for each share: faces found at 1024 pixels, there with one look alone
(`--no-coarse`), and at 640 pixels.

With `--enlarge`, whole photos are enlarged once, twice and four times. A row has the faces found, and the boxes that
lie inside them: half of the box or more, with an IoU below 0.4.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import areas, iou
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector
from mtcnn.detectors.single_stage import SingleStage
from mtcnn.images import read_image
from mtcnn.resample import resample, resample_many
from prepare.readers import read_source

SHARES, SMALLEST = (0.4, 0.65, 0.9), 150.0
COLUMNS = (("1024", 1024, True), ("1024, one look", 1024, False), ("640", 640, True))

TIMES = (1, 2, 4)

Face = tuple[Path, NDArray[np.float64]]


def faces(data: Path, count: int) -> list[Face]:
    """Photos and the largest face of each."""
    records, _ = read_source(f"wider:{data / 'wider' / 'wider_face_dev_bbx_gt.txt'}")
    found: list[Face] = []
    for record in records:
        sides = record.boxes[:, 2:] - record.boxes[:, :2]
        largest = int(sides.prod(axis=1).argmax()) if len(sides) else -1
        if largest >= 0 and sides[largest].max() > SMALLEST and not record.ignore[largest]:
            found.append((record.path, record.boxes[largest].astype(np.float64)))
    return found[:count]


def is_found(find: SingleStage, face: Face, share: float, size: int) -> bool:
    """Whether a face is found in a picture of `size` pixels, of which it takes this share of a side."""
    path, box = face
    side = (box[2:] - box[:2]).max() / share
    corner = (box[:2] + box[2:] - side) / 2
    window = np.concatenate([corner, corner + side])
    picture = resample_many(read_image(path), window[None], size)[0]
    wanted: NDArray[Any] = (box - np.tile(corner, 2)) * size / side
    boxes = find(np.ascontiguousarray(picture)).boxes
    return bool(len(boxes)) and bool(iou(boxes, wanted[None]).max() >= 0.5)


def inside(boxes: NDArray[Any], face: NDArray[Any]) -> int:
    """How many of boxes (N, 4) are parts of a face (4,)."""
    sides = np.minimum(boxes[:, 2:], face[2:]) - np.maximum(boxes[:, :2], face[:2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    return int(((shared > 0.5 * areas(boxes)) & (iou(boxes, face[None])[:, 0] < 0.4)).sum())


def enlarged_row(find: SingleStage, chosen: list[Face]) -> str:
    """The cells of a table: faces found in photos enlarged TIMES, and boxes inside them."""
    cells = []
    for times in TIMES:
        seen = parts = 0
        for path, box in chosen:
            image = read_image(path)
            boxes = find(resample(image, image.shape[0] * times, image.shape[1] * times)).boxes
            seen += bool(len(boxes)) and bool(iou(boxes, times * box[None]).max() >= 0.5)
            parts += inside(boxes, times * box)
        cells.append(f"{seen}, {parts} inside")
    return " | ".join(cells)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--net", choices=DETECTORS, required=True)
    parser.add_argument("--faces", type=int, default=24)
    parser.add_argument("--enlarge", action="store_true", help="enlarge whole photos")
    given = parser.parse_args()
    chosen = faces(given.data, given.faces)
    if given.enlarge:
        print(f"| {given.net}, {len(chosen)} faces | {' | '.join(f'{times} x' for times in TIMES)} |")
        print(f"| --- |{' --: |' * len(TIMES)}", flush=True)
        for coarse in (False, True):
            find = load_detector(given.net, given.models, threshold=0.5, coarse=coarse)
            print(f"| {'--coarse' if coarse else '--no-coarse'} | {enlarged_row(find, chosen)} |", flush=True)
        return 0
    print(f"| {given.net}, {len(chosen)} faces | {' | '.join(name for name, _, _ in COLUMNS)} |")
    print(f"| --- |{' --: |' * len(COLUMNS)}", flush=True)
    for share in SHARES:
        counts = []
        for _, size, coarse in COLUMNS:
            find = load_detector(given.net, given.models, threshold=0.5, coarse=coarse)
            counts.append(sum(is_found(find, face, share, size) for face in chosen))
        print(f"| {share:.0%} | {' | '.join(map(str, counts))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
