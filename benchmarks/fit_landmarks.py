"""Fits ONet's layer of landmarks again, alone, to the crops of its second pass.

    python benchmarks/fit_landmarks.py --data DATA --to FOLDER [--models FOLDER] [--steps 1500]

DATA is laid out as CONTRIBUTING.md says. The crops are those that the second pass cuts around ONet's own boxes in the
photos of landmarks/faces_train.csv and thumbs_train.csv, boxes shifted and scaled a little, and their mirror images.
All other layers stay, so that boxes and scores do not change. A tenth of the faces and a twentieth of the thumbs,
chosen by name, are left out and measured as the second pass does. Writes FOLDER/models-48/weights-onet.safetensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for prepare, which an installation puts elsewhere

from mtcnn import boxes as box
from mtcnn.cascade import Detector
from mtcnn.checkpoint import load_weights, packaged_weights, read, weights_path, write
from mtcnn.crops import cut
from mtcnn.images import read_image
from mtcnn.nets import module_of, to_input
from mtcnn.progress import progress
from mtcnn.refiner import NetRefiner
from mtcnn.scoring import scoring_of
from mtcnn.second_pass import CLOSER, MIRRORED
from mtcnn.types import Faces
from prepare.readers import read_source
from prepare.records import ImageRecord

Array = NDArray[Any]
SHARES = (MIRRORED, CLOSER)
# file: drawn crops of a face, percent left out, weight
SOURCES = {"faces_train.csv": (24, 10.0, 6.0), "thumbs_train.csv": (6, 5.0, 1.0)}
SHIFT, SCALE = 0.02, 0.05  # standard deviations, of the box's sides
WRONG = 0.5  # errors count up to this, so that wrong labels weigh less
SMALLEST = 4.0  # pixels between the eyes


@dataclass
class Crops:
    """Rows: crops uint8 (N, 48, 48, 3), landmark targets (N, 5, 2), eye distances in units of the crop (N,)."""

    crops: Array
    targets: Array
    eyes: Array

    @classmethod
    def joined(cls, parts: Sequence[Crops]) -> Crops:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("crops", "targets", "eyes")))


def first_pass(detector: Detector, image: NDArray[np.uint8]) -> Faces:
    """The faces before the second pass."""
    faces = detector.proposer(image)
    for stage in detector.refiners:
        assert isinstance(stage, NetRefiner)
        faces = stage.candidates(image, faces).faces()
    return faces


def own_box(detector: Detector, image: NDArray[np.uint8], points: Array) -> Array | None:
    """The box (1, 4) of the first pass around points (5, 2), or None if it found no face there."""
    faces = first_pass(detector, image)
    if not len(faces) or faces.landmarks is None:
        return None
    gaps = np.linalg.norm(faces.landmarks.astype(np.float64).mean(axis=1) - points.mean(axis=0), axis=1)
    best = int(gaps.argmin())
    near = gaps[best] < np.linalg.norm(points[0] - points[1])
    return faces.boxes[best : best + 1].astype(np.float64) if near else None


def crops_of(image: NDArray[np.uint8], points: Array, boxes: Array, shares: Array, context: float) -> Crops:
    """The second pass's crops of boxes (N, 4) around points (5, 2), each of its share (N,) of the context."""
    squares = np.concatenate([box.square(one[None], context * share) for one, share in zip(boxes, shares, strict=True)])
    targets = box.encode_landmarks(squares, np.repeat(points[None], len(squares), axis=0))
    eyes = np.linalg.norm(points[0] - points[1]) / (squares[:, 2] - squares[:, 0])
    return Crops(cut(image, squares, 48), targets, eyes)


def jittered(own: Array, count: int, rng: np.random.Generator) -> Array:
    """The box (1, 4) and `count` of its like: (1 + count, 4)."""
    sides = own[:, 2:] - own[:, :2]
    shifts = np.tile(rng.normal(0, SHIFT, (count, 2)) * sides, 2)
    grown = rng.normal(0, SCALE, (count, 1)) * sides.max() * np.array([-0.5, -0.5, 0.5, 0.5])
    return np.concatenate([own, own + shifts + grown])


def cut_source(
    detector: Detector, records: Sequence[ImageRecord], drawn: int, percent: float, context: float
) -> tuple[Crops, Crops]:
    """To learn from, at either share of the context; and left out, two rows a face, mirrored and closer."""
    rng, learnt, left_out = np.random.default_rng(0), [], []
    for record in progress(records, name="photos"):
        points = record.landmarks[0].astype(np.float64)
        if not np.isfinite(points).all() or np.linalg.norm(points[0] - points[1]) < SMALLEST:
            continue
        image = read_image(record.path)
        own = own_box(detector, image, points)
        if own is None:
            continue
        if record.is_val(percent):
            left_out.append(crops_of(image, points, np.repeat(own, 2, axis=0), np.array(SHARES), context))
        else:
            boxes = jittered(own, drawn, rng)
            learnt.append(crops_of(image, points, boxes, rng.choice(SHARES, len(boxes)), context))
    return Crops.joined(learnt), Crops.joined(left_out)


@torch.no_grad()
def features(net: nn.Module, crops: Array) -> Tensor:
    """What the layer of landmarks sees: (N, 256)."""
    found: list[Tensor] = []
    layer: Any = net.get_submodule("landmarks")
    hook = layer.register_forward_hook(lambda _, inputs, __: found.append(inputs[0].flatten(1)))
    for start in range(0, len(crops), 512):
        net(to_input(np.ascontiguousarray(crops[start : start + 512])))
    hook.remove()
    return torch.cat(found)


def distance(layer: nn.Linear, seen: Tensor, targets: Tensor, eyes: Tensor) -> Tensor:
    """Mean distance of five landmarks over that of the eyes, (N,)."""
    gaps: Tensor = (layer(seen).view(-1, 5, 2) - targets).norm(dim=2).mean(dim=1)
    return gaps / eyes


@torch.no_grad()
def error(layer: nn.Linear, mirrored: Tensor, plain: Tensor, left_out: Crops) -> float:
    """Percent, of the mean of both crops of each face that was left out."""
    turned = box.mirror_landmarks(layer(mirrored[::2]).view(-1, 5, 2).numpy())
    closer = 0.5 + (layer(plain[1::2]).view(-1, 5, 2).numpy() - 0.5) * (CLOSER / MIRRORED)
    gaps = np.linalg.norm((turned + closer) / 2 - left_out.targets[::2], axis=2).mean(axis=1)
    return 100 * float((gaps / left_out.eyes[::2]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--most", type=int, help="photos of each file")
    given = parser.parse_args()
    path = weights_path(given.models or packaged_weights(), "onet")
    weights = load_weights(path, "onet")
    net, context = module_of(weights).eval(), scoring_of(weights).context
    detector = Detector(given.models, thresholds=(0.5, 0.5, 0.3))
    layer = nn.Linear(256, 10)
    layer.load_state_dict(
        {k: v.flatten(1) if v.ndim > 2 else v for k, v in net.get_submodule("landmarks").state_dict().items()}
    )
    rows: list[tuple[Tensor, ...]] = []
    held: dict[str, tuple[Tensor, Tensor, Crops]] = {}
    for file, (drawn, percent, weight) in SOURCES.items():
        records, _ = read_source(f"points:{given.data / 'landmarks' / file}")
        learnt, left_out = cut_source(detector, records[: given.most], drawn, percent, context)
        turned = box.mirror_landmarks(learnt.targets)
        for crops, points in ((learnt.crops, learnt.targets), (learnt.crops[:, :, ::-1], turned)):
            values = (torch.from_numpy(points).float(), torch.from_numpy(learnt.eyes).float())
            rows.append((features(net, crops), *values, torch.full((len(crops),), weight)))
        held[file] = features(net, left_out.crops[:, :, ::-1]), features(net, left_out.crops), left_out
    seen, targets, eyes, weighs = (torch.cat(columns) for columns in zip(*rows, strict=True))

    def report(name: str) -> None:
        errors = ", ".join(f"{error(layer, *held[file]):.2f} % of {len(held[file][2].eyes) // 2}" for file in held)
        print(f"{name}: {errors}", flush=True)

    report("before")
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-4, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / given.steps)
    for _ in range(given.steps):
        chosen = torch.randint(len(seen), (2048,))
        gaps = distance(layer, seen[chosen], targets[chosen], eyes[chosen]).clamp(max=WRONG)
        loss = (gaps * weighs[chosen]).sum() / weighs[chosen].sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    report("after")
    found = read(path)
    state = found.tensors()
    state["landmarks.weight"] = layer.weight.detach().reshape(state["landmarks.weight"].shape)
    state["landmarks.bias"] = layer.bias.detach()
    target = weights_path(given.to, "onet")
    write(target, replace(found, state=state))
    print(target)


if __name__ == "__main__":
    main()
