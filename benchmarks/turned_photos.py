"""What sixty photos of another kind change: RetinaFace fine-tuned on photos turned by 90 degrees, docs/retrain.md.

    python benchmarks/turned_photos.py --data FOLDER --work turned [--learn 60] [--test 150]

FOLDER is laid out as CONTRIBUTING.md says. The photos are of WIDER FACE's training part, with one to twelve faces that
are all of at least 20 pixels, drawn with a fixed seed and turned clockwise with their boxes. Prints a markdown row of
AP by height of the face for the packaged and the fine-tuned weights, on the turned test photos and on the same upright.
The training, by the recipe of the page, resumes when it is run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for prepare, which an installation puts elsewhere

import mtcnn
from mtcnn.images import read_image
from prepare.readers import read_source
from prepare.records import ImageRecord

FACES, SMALLEST = range(1, 13), 20.0
PAGE = Path(__file__).resolve().parents[1] / "docs" / "retrain.md"


def usable(record: ImageRecord) -> bool:
    """Whether a photo has few faces, all of them large enough and labelled without doubt."""
    sides = (record.boxes[:, 2:] - record.boxes[:, :2]).max(axis=1, initial=0) if len(record.boxes) else np.zeros(0)
    return len(sides) in FACES and not record.ignore.any() and bool((sides >= SMALLEST).all())


def write(records: Sequence[ImageRecord], folder: Path, *, turned: bool) -> tuple[Path, Path]:
    """Copies of the photos and labels in WIDER FACE's format. Returns the labels and the folder of images."""
    lines = []
    for record in records:
        image, boxes = read_image(record.path), record.boxes.astype(np.float64)
        if turned:
            height = image.shape[0]
            image = np.rot90(image, -1)
            boxes = np.stack([height - boxes[:, 3], boxes[:, 0], height - boxes[:, 1], boxes[:, 2]], axis=1)
        name = f"{record.path.parent.name}/{record.path.stem}.jpg"
        target = folder / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(target, quality=95)
        rows = [f"{x1:.0f} {y1:.0f} {x2 - x1:.0f} {y2 - y1:.0f} 0 0 0 0 0 0" for x1, y1, x2, y2 in boxes]
        lines += [name, str(len(rows)), *rows]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n")
    return folder / "labels.txt", folder / "images"


def recipe() -> str:
    """The recipe that docs/retrain.md shows."""
    return PAGE.read_text().split("```toml\n")[1].split("```")[0]


def row(what: str, labels: Path, images: Path, models: Path | None) -> str:
    """A row of the table: AP by height."""
    found = mtcnn.evaluate(labels, images, detector={"detector": "retinaface", "models": models, "score": 0.02})
    ap = found["retinaface"].ap
    return f"| {what} | " + " | ".join(f"{ap[band]:.3f}" for band in ("10+", "10-50", "50-300", "300+")) + " |"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--learn", type=int, default=60)
    parser.add_argument("--test", type=int, default=150)
    given = parser.parse_args()
    torch.set_num_threads(1)
    wider = given.data / "wider"
    records, _ = read_source(f"wider:{wider / 'wider_face_train_bbx_gt.txt'}:{wider / 'train' / 'images'}")
    fitting = [record for record in records if usable(record)]
    order = np.random.default_rng(0).permutation(len(fitting))[: given.learn + given.test]
    learn, test = [fitting[i] for i in order[: given.learn]], [fitting[i] for i in order[given.learn :]]
    labels, images = write(learn, given.work / "learn", turned=True)
    turned, upright = write(test, given.work / "test", turned=True), write(test, given.work / "upright", turned=False)
    made = given.work / "models-full" / "retinaface"
    made.mkdir(parents=True, exist_ok=True)
    (made / "recipe.toml").write_text(recipe())
    began = time.process_time()
    mtcnn.train("retinaface", f"wider:{labels}:{images}", given.work, start="packaged")
    faces = sum(len(record.boxes) for record in learn)
    print(f"{len(learn)} photos, {faces} faces, {time.process_time() - began:.0f} seconds of processor time\n")
    print("| | 10+ | 10-50 | 50-300 | 300+ |\n|---|---:|---:|---:|---:|")
    for name, (truth, photos) in (("turned", turned), ("upright", upright)):
        for weights, models in (("packaged", None), ("fine-tuned", given.work)):
            print(row(f"{name}, {weights}", truth, photos, models), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
