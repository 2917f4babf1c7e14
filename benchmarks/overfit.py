"""Overfits a single-stage detector to eight photos, and reports its average precision on them.

    python benchmarks/overfit.py --data FOLDER [--net retinaface --net yunet-n] [--steps 600] [--width 0.125] [--seed 1]

FOLDER is laid out as CONTRIBUTING.md says. The photos are the first eight of WIDER FACE's training list with one to
eight faces of at least 16 pixels, shrunk to 256 pixels; pictures are random crops of them, mirrored half of the time.
SSH, S3FD, CenterFace and the nets of timm are trained at a part of their width, from random weights. Matching, sampling
and losses are those of the packaged recipes. Prints a markdown row for each net; exits with 1 when one stays below an
AP of 0.95.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mtcnn.checkpoint import packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector
from mtcnn.images import image_size
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from prepare.readers import read_source
from prepare.records import ImageRecord
from stages.photos.crops import PictureSettings
from stages.photos.recipe import DetectorRecipe
from stages.photos.store import PhotoStore, build_photos
from stages.photos.task import new_net, train_detector
from stages.recipes import load_recipe

NETS = ("retinaface", "ssh", "s3fd", "slim", "rfb", "yunet-n", "yunet-s", "scrfd-0.5g", "centerface", "lightface-1",
        "lightface-2", "lightface-3", "vgg-light", "vgg-advanced", "efficientnet-b3", "efficientnet-b4",
        "efficientnet-b3-fpn", "efficientnet-b4-fpn", "efficientdet-d0")  # fmt: skip
NARROW = (
    "ssh",
    "s3fd",
    "centerface",
    *(net for net, spec in DETECTORS.items() if spec.package),
)  # at a part of their width
LR = {"yunet-n": 6e-3, "yunet-s": 6e-3, "centerface": 6e-3, "efficientdet-d0": 5e-3}  # small nets take larger steps
COUNT, LONGEST, SMALLEST, WANTED = 8, 256, 16.0, 0.95


def easy(record: ImageRecord) -> bool:
    """One to eight faces, all labelled and none too small once the photo is shrunk."""
    if not 1 <= len(record.boxes) <= 8 or record.ignore.any():
        return False
    scale = min(LONGEST / max(image_size(record.path)), 1.0)
    sides = (record.boxes[:, 2:] - record.boxes[:, :2]) * scale
    return bool((np.sqrt(sides.prod(axis=1)) >= SMALLEST).all())


def recipe_of(net: str, width: float, steps: int, seed: int = 0) -> DetectorRecipe:
    """The packaged recipe with pictures and a schedule for eight photos."""
    found = load_recipe(DetectorRecipe, packaged_weights(), net)
    pictures = PictureSettings((192.0,), crop=(0.95, 1.15), min_face=4.0, brightness=0, contrast=0, saturation=0, hue=0)
    settings = replace(
        found.train, epochs=1, steps=steps, batch=COUNT, lr=LR.get(net, 2e-3), warmup=40, ema=0.98, val=0.0, seed=seed
    )
    model: dict[str, float] = {"width": width} if net in NARROW else {}
    if net == "centerface":
        model["neck"] = 24  # as published: fewer do not hold the precision of boxes, see docs/detectors.md
    return replace(found, model=model, pictures=pictures, train=settings)


def average_precision(photos: PhotoStore, models: Path, net: str) -> float:
    """AP of the weights below `models` on the photos, as `mtcnn eval wider` counts it."""
    detector = load_detector(net, models, threshold=0.02)
    boxes = {f"e/{i}": record.boxes.astype(np.float64) for i, record in enumerate(photos.records)}
    truth = {name: np.concatenate([rows[:, :2], rows[:, 2:] - rows[:, :2]], axis=1) for name, rows in boxes.items()}
    counted = {"all": {name: np.ones(len(rows), bool) for name, rows in truth.items()}}
    found = {f"e/{i}": faces_to_rows(detector(np.array(photos[i]))) for i in range(len(photos))}
    return evaluate(GroundTruth(truth, counted, "text"), found).ap["all"]


def overfit(net: str, photos: PhotoStore, width: float, steps: int, seed: int = 0) -> float:
    """Train and print a row. Returns the AP."""
    recipe, began = recipe_of(net, width, steps, seed), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_detector(recipe, new_net(recipe), photos, weights_path(folder, net), "k")
        seconds = time.process_time() - began
        ap = average_precision(photos, folder, net)
    faces = sum(len(record.boxes) for record in photos.records)
    used = recipe.model.get("width", 1.0)
    print(f"| {net} | {used:g} | {len(photos)} | {faces} | {steps} | {seconds:.0f} | {ap:.3f} |", flush=True)
    return ap


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    installed = [net for net in NETS if not DETECTORS[net].missing_package]
    records, _ = read_source(f"wider:{given.data / 'wider' / 'wider_face_train_bbx_gt.txt'}")
    chosen = [record for record in records if record.complete and easy(record)][:COUNT]
    with tempfile.TemporaryDirectory() as name:
        build_photos(chosen, Path(name, "photos.raw"), "k", LONGEST, quiet=True)
        photos = PhotoStore(Path(name, "photos.raw"), chosen)
        print("| net | width | photos | faces | steps | CPU seconds | AP |")
        print("| --- | --: | --: | --: | --: | --: | --: |", flush=True)
        reached = [overfit(net, photos, given.width, given.steps, given.seed) for net in given.net or installed]
    return 0 if min(reached) >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
