"""What a teacher knows that looks closer: AP of its first look, of its second one, and of both merged.

    python benchmarks/closer_teacher.py WEIGHTS.safetensors --data FOLDER [--sides 320 640 0] [--val 3] [--most N]

WEIGHTS are those of a detector with anchors, or of a YuNet. FOLDER is laid out as CONTRIBUTING.md says, with the
official ground truth. The photos are the validation part of WIDER FACE's training list, shrunk to each longer side; 0
leaves them. Prints a Markdown row for each side and look. The second look sees the photo enlarged, as detection with
`--enlarge 2` does; both merged are the targets of a training with `closer = true`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for prepare, which an installation puts elsewhere

from mtcnn.checkpoint import read
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.single_stage import SingleStage, pad, select
from mtcnn.images import read_image
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from mtcnn.metrics.wider_truth import image_key
from mtcnn.resample import resample
from mtcnn.types import Faces, ImageSize
from prepare.readers import read_source
from stages.objectives.teacher import load_teacher

Image = NDArray[np.uint8]
Find = Callable[[Image], Faces]

SCORE = 0.02  # lowest score of a detection, as for the AP of detectors in docs/results.md


def shrunk(image: Image, side: int) -> Image:
    """The image with a longer side of at most `side`; 0 leaves it."""
    scale = side / max(image.shape[:2]) if side else 1.0
    return image if scale >= 1 else resample(image, *(max(round(length * scale), 1) for length in image.shape[:2]))


def merged(net: str, teacher: Callable[[Image], Mapping[str, Any]]) -> Find:
    """Detection with the teacher's merged outputs."""
    spec = DETECTORS[net]
    settings = SingleStage(teacher, spec, SCORE)  # type: ignore[arg-type]  # for its limits alone

    def find(image: Image) -> Faces:
        room = pad(image, spec.multiple, spec.padding)
        size = ImageSize(*room.shape[:2])
        limits = settings.pre_nms, settings.max_faces
        return select(spec.decoder, teacher(room), size, SCORE, spec.nms_iou, *limits).faces()

    return find


def rows_of(find: Find, image: Image, side: int) -> NDArray[np.float64]:
    """Detections x y w h score in pixels of the whole image."""
    small = shrunk(image, side)
    rows: NDArray[np.float64] = faces_to_rows(find(small)).reshape(-1, 5)
    rows[:, :4] *= max(image.shape[:2]) / max(small.shape[:2])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[320, 640, 0])
    parser.add_argument("--val", type=float, default=3.0, help="percent of the list")
    parser.add_argument("--most", type=int, help="photos")
    given = parser.parse_args()
    net = read(given.weights).net
    teacher = load_teacher(given.weights, net, closer=True)
    looks: dict[str, Find] = {
        "first look": SingleStage(teacher.runtime, DETECTORS[net], SCORE, coarse=False),
        "second look": SingleStage(teacher.runtime, DETECTORS[net], SCORE, coarse=False, enlarge=2.0),
        "both": merged(net, teacher),
    }
    truth = GroundTruth.load(given.data / "wider" / "ground_truth")
    records, _ = read_source(f"wider:{given.data / 'wider' / 'wider_face_train_bbx_gt.txt'}")
    paths = [each.path for each in records if each.is_val(given.val) and image_key(str(each.path)) in truth.boxes]
    images = {image_key(str(path)): read_image(path) for path in paths[: given.most]}
    print(f"{len(images)} photos\n\n| side | | easy | medium | hard |\n|---|---|--:|--:|--:|")
    for side in given.sides:
        for what, find in looks.items():
            rows = {name: rows_of(find, image, side) for name, image in images.items()}
            cells = " | ".join(f"{value:.3f}" for value in evaluate(truth, rows, list(rows)).ap.values())
            print(f"| {side or 'own'} | {what} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
