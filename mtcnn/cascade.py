"""The cascade at work: PNet over a pyramid proposes, RNet and ONet refine.

Source: Zhang et al. 2016, section II, and `detect_face.m` of the authors' code for the order of the steps. Boxes here
stay real numbers throughout; nothing is truncated to whole pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import boxes as box
from .checkpoint import load_net, packaged_weights, weights_path
from .crops import cut
from .images import as_rgb, read_image
from .nets import SIZES, to_input
from .nms import nms
from .pyramid import CELL, levels
from .types import Faces, Proposer, Refiner

__all__ = ["Detector", "NetRefiner", "PNetProposer"]

Picture = str | PathLike[str] | NDArray[Any]

STRIDE = 2  # of PNet's map, pixels of the level
STRIP = 1 << 16  # pixels of a level that PNet sees at a time
BATCH = {"rnet": 1024, "onet": 256}  # crops a forward pass: beyond these sizes activations leave the cache


def _logit(probability: float) -> float:
    """The logit at which a sigmoid reaches `probability`, so that maps need no sigmoid to be thresholded."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def _sigmoid(logits: NDArray[Any]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.asarray(logits, np.float64)))).astype(np.float32)


@dataclass
class PNetProposer:
    """Stage 1: PNet over every level of the pyramid.

    Within a level, NMS at IoU 0.5; across levels at 0.7; then the boxes are moved by their offsets. `per_level` caps
    what one level may propose, best first, so that a loose threshold cannot make NMS quadratic in the pixels.
    """

    net: nn.Module
    min_face: float = 20.0
    scale_factor: float = 0.709
    threshold: float = 0.6
    device: str = "cpu"
    per_level: int = 4000

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces (not squared, no landmarks) in image (H, W, 3) uint8, by falling score."""
        cells, scores, offsets = [], [], []
        for level in levels(image, self.min_face, self.scale_factor):
            found = self._level(*self._map(level.image))
            step = np.array([level.step_x, level.step_y] * 2)
            cells.append(found[0] * step)
            scores.append(found[1])
            offsets.append(found[2])
        if not cells:
            return Faces.empty()
        all_cells, all_scores = np.concatenate(cells), np.concatenate(scores)
        kept = nms(all_cells, all_scores, 0.7)
        moved = box.decode_offsets(all_cells[kept], np.concatenate(offsets)[kept])
        return Faces(moved, _sigmoid(all_scores[kept]))

    def _map(self, level: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """PNet's logits (h, w) and offsets (4, h, w) over a level (H, W, 3), computed in horizontal strips.

        The values are those of one pass. A strip keeps the activations in the processor's cache, which is two to three
        times faster on a large level, and memory does not grow with the image.
        """
        height, width = level.shape[:2]
        total = -(-(height - 2) // STRIDE) - 4  # rows of the map, see PNet.forward
        rows = max(STRIP // (STRIDE * width), 8)
        logits, offsets = [], []
        for row in range(0, total, rows):
            # The last strip takes all that is left: pooling rounds up only at the true end of the level.
            end = height if row + rows >= total else STRIDE * (row + rows) + CELL - STRIDE
            output = self.net(to_input(level[None, STRIDE * row : end], self.device))
            logits.append(output.face_logits[0].cpu().numpy())
            offsets.append(output.offsets[0].cpu().numpy())
        return np.concatenate(logits), np.concatenate(offsets, axis=1)

    def _level(self, logits: NDArray[Any], offsets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Map (h, w) and offsets (4, h, w) to cells (N, 4) in level pixels, logits (N,) and offsets (N, 4)."""
        rows, columns = np.nonzero(logits >= _logit(self.threshold))
        scores = logits[rows, columns]
        corner = STRIDE * np.stack([columns, rows], axis=1)
        cells = np.concatenate([corner, corner + CELL], axis=1).astype(np.float64)
        kept = nms(cells, scores, 0.5, limit=self.per_level)
        return cells[kept], scores[kept], offsets[:, rows[kept], columns[kept]].T


@dataclass
class NetRefiner:
    """Stage 2 or 3: RNet or ONet over square crops of the candidates.

    RNet: NMS at IoU 0.7, then the boxes move by their offsets. ONet: landmarks on the square, the boxes move, then NMS
    at 0.7 over the smaller area, which removes a box inside another.
    """

    net: nn.Module
    name: str
    threshold: float = 0.7
    device: str = "cpu"

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The faces that stay, by falling score; with landmarks if the net has them."""
        squares = box.square(faces.boxes.astype(np.float64))
        inside = _touches(squares, image.shape[0], image.shape[1])
        squares = squares[inside]
        logits, offsets, points = self.raw(image, squares)
        chosen = np.flatnonzero(logits > _logit(self.threshold))
        squares, offsets, scores = squares[chosen], offsets[chosen], logits[chosen]
        landmarks = None if points is None else box.decode_landmarks(squares, points[chosen])
        moved = box.decode_offsets(squares, offsets)
        kept = nms(squares, scores, 0.7) if points is None else nms(moved, scores, 0.7, overlap="ios")
        found = Faces(moved, _sigmoid(scores), landmarks)
        return found[kept]

    @torch.inference_mode()
    def raw(self, image: NDArray[np.uint8], squares: NDArray[Any]) -> tuple[Any, Any, Any]:
        """Logits (N,), offsets (N, 4) and landmark targets (N, 5, 2) or None for squares (N, 4), in order."""
        size = SIZES[self.name]
        logits, offsets, points = [np.zeros(0)], [np.zeros((0, 4))], [np.zeros((0, 5, 2))]
        for start in range(0, len(squares), BATCH[self.name]):
            crops = cut(image, squares[start : start + BATCH[self.name]], size)
            output = self.net(to_input(crops, self.device))
            logits.append(output.face_logits.cpu().numpy())
            offsets.append(output.offsets.cpu().numpy())
            if output.landmarks is not None:
                points.append(output.landmarks.cpu().numpy())
        has_points = self.name == "onet"
        return np.concatenate(logits), np.concatenate(offsets), np.concatenate(points) if has_points else None


def _touches(boxes: NDArray[Any], height: int, width: int) -> NDArray[np.bool_]:
    """Which boxes (N, 4) have a positive size and lie at least partly in the image."""
    cut_off = box.clip(boxes, height, width)
    return np.asarray((cut_off[:, 2] > cut_off[:, 0]) & (cut_off[:, 3] > cut_off[:, 1]))


class Detector:
    """Finds faces: a proposer and refiners behind it.

        faces = Detector().detect("photo.jpg")

    models        folder with models-12, models-24 and models-48; None takes the weights that ship with the project.
    min_face      smallest face to look for, pixels.   scale_factor  ratio of pyramid levels.
    thresholds    least scores of PNet, RNet and ONet.  device       where torch computes, such as "cpu" or "cuda".
    """

    def __init__(
        self,
        models: str | PathLike[str] | None = None,
        min_face: float = 20.0,
        scale_factor: float = 0.709,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        device: str = "cpu",
    ) -> None:
        if len(thresholds) != 3 or not all(0 <= value <= 1 for value in thresholds):
            raise ValueError(f"thresholds are {tuple(thresholds)}; expected three numbers from 0 to 1")
        folder = packaged_weights() if models is None else Path(models)
        nets = {name: load_net(weights_path(folder, name), name, device) for name in SIZES}
        self.proposer: Proposer = PNetProposer(nets["pnet"], min_face, scale_factor, thresholds[0], device)
        self.refiners: list[Refiner] = [
            NetRefiner(nets["rnet"], "rnet", thresholds[1], device),
            NetRefiner(nets["onet"], "onet", thresholds[2], device),
        ]

    @overload
    def detect(self, images: Picture) -> Faces: ...

    @overload
    def detect(self, images: list[Picture] | tuple[Picture, ...]) -> list[Faces]: ...

    def detect(self, images: Picture | list[Picture] | tuple[Picture, ...]) -> Faces | list[Faces]:
        """Faces of an image (a path, or an array as `images.as_rgb` takes it), by falling score, cut to the image.

        A list of images, of any sizes, gives a list of Faces: the same as one by one. A box that its offsets have moved
        out of the image, or turned inside out, is no face. Raises ImageError for an image that cannot be read.
        """
        if isinstance(images, str | PathLike | np.ndarray):
            return self._detect(images)
        return [self._detect(image) for image in images]

    def _detect(self, image: Picture) -> Faces:
        pixels = as_rgb(image) if isinstance(image, np.ndarray) else read_image(image)
        faces = self.proposer(pixels)
        for refine in self.refiners:
            faces = refine(pixels, faces)
        height, width = pixels.shape[:2]
        faces = faces[_touches(faces.boxes, height, width)]
        return Faces(box.clip(faces.boxes, height, width), faces.scores, faces.landmarks).sorted()
