"""Pictures of a report: crops by kind, the hardest negatives, and places in photos, each as a data URI."""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mtcnn.checkpoint import load_weights, weights_path
from mtcnn.nets import module_of, to_input
from mtcnn.types import NetOutput
from prepare.build import image_of
from prepare.labels import Kind
from prepare.preview import crop_tile
from prepare.store import CropStore

from .accuracy import Spot

__all__ = ["Tile", "crop_tiles", "data_uri", "hard_negatives", "spot_tile"]

RGB = NDArray[np.uint8]

SHOWN = 16  # crops of a kind
HARD = 24  # hardest negatives
SCORED = 8000  # negatives at most that a net scores to find those
SIDE = 220  # longer side of a place in a photo, pixels
CONTEXT = 1.2  # sides of the box shown around it
QUALITY = 82  # of JPEG


class Tile(NamedTuple):
    """A picture and what is said of it."""

    picture: RGB
    words: str = ""


def data_uri(picture: RGB) -> str:
    """A picture, uint8 RGB (H, W, 3), as a JPEG within a URI."""
    _, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def crop_tiles(path: Path) -> dict[str, tuple[int, list[Tile]]]:
    """Of a crop store: kind -> how many there are, and some, chosen at random, with their targets drawn in."""
    found, rng = dict[str, tuple[int, list[Tile]]](), np.random.default_rng(0)
    with closing(CropStore(path)) as store:
        for kind in Kind:
            every = np.flatnonzero(store.kinds == kind)
            if len(every):
                batch = store.read(np.sort(rng.choice(every, min(SHOWN, len(every)), replace=False)))
                rows = zip(batch.crops, batch.kinds, batch.offsets, batch.landmarks, strict=True)
                found[kind.name] = len(every), [Tile(crop_tile(crop, int(of), *more)) for crop, of, *more in rows]
    return found


def hard_negatives(path: Path, net: str, work: Path) -> list[Tile]:
    """The negatives of a store that the net, trained on them, takes most for faces, with its scores."""
    module, rng = module_of(load_weights(weights_path(work, net), net)).eval(), np.random.default_rng(0)
    with closing(CropStore(path)) as store:
        every = np.flatnonzero(store.kinds == Kind.NEG)
        chosen = np.sort(rng.choice(every, min(SCORED, len(every)), replace=False))
        scores = np.concatenate(
            [_scores(module, store.read(chosen[i : i + 500]).crops) for i in range(0, len(chosen), 500)]
            or [np.zeros(0)]
        )
        best = np.argsort(-scores, kind="stable")[:HARD]
        batch = store.read(chosen[best])
    rows = zip(batch.crops, batch.kinds, batch.offsets, batch.landmarks, scores[best], strict=True)
    return [Tile(crop_tile(crop, int(kind), *more), f"{score:.2f}") for crop, kind, *more, score in rows]


@torch.inference_mode()
def _scores(module: Any, crops: RGB) -> NDArray[np.float64]:
    output: NetOutput = module(to_input(crops, "cpu"))
    return torch.sigmoid(output.face_logits.flatten()).double().numpy()


def spot_tile(spot: Spot) -> Tile:
    """A place in a photo with its surroundings and its box. Raises ImageError for an unreadable photo."""
    image = image_of(spot.record)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in spot.box)
    around = CONTEXT * max(x2 - x1, y2 - y1)
    left, top = max(int(x1 - around), 0), max(int(y1 - around), 0)
    right, bottom = min(int(np.ceil(x2 + around)), width), min(int(np.ceil(y2 + around)), height)
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = SIDE / max(part.shape[:2])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = np.ascontiguousarray(cv2.resize(part, size, interpolation=kind), np.uint8)
    corners = [round((v - o) * scale) for v, o in ((x1, left), (y1, top), (x2, left), (y2, top))]
    cv2.rectangle(picture, corners[:2], corners[2:], (255, 60, 60) if spot.score is not None else (60, 220, 90), 2)
    name, side = spot.record.path.name, f"{x2 - x1:.0f} x {y2 - y1:.0f}"
    return Tile(picture, f"{name}, {side}" if spot.score is None else f"{spot.score:.2f}, {name}, {side}")
