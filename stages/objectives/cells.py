"""Decoding of anchor-free nets in torch, for their losses: positions of cells, boxes, scores.

It equals the NumPy code of `mtcnn.detectors.point_decoders`, which detection uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtcnn.detectors.decoders import Decoder
from mtcnn.detectors.point_decoders import LARGEST, YuNetPoints
from mtcnn.errors import RecipeError
from mtcnn.types import ImageSize

from ..scene import Scene

__all__ = ["CellPlaces", "SceneFaces", "boxes_of", "faces_of", "product_logits", "yunet_decoder"]


class SceneFaces(NamedTuple):
    """The labels of one scene; those of a batch are tensors (N, ...), padded with NaN.

    boxes      float32 (G, 4), and landmarks float32 (G, 5, 2), NaN where unknown, of the faces to train on.
    ignored    float32 (I, 4), regions that are neither face nor background.
    complete   bool (): False if unlabelled faces may be visible, so that only landmarks can be trained.
    size       int64 (2,), height and width of the picture.
    scores     float32 (G,): what the scores of the faces are to be: 1, or less where teachers labelled them.
    """

    boxes: Any
    landmarks: Any
    ignored: Any
    complete: Any
    size: Any
    scores: Any


def faces_of(scene: Scene) -> SceneFaces:
    """The labels of a scene, without faces that have no area."""
    sized = (scene.boxes[:, 2:] > scene.boxes[:, :2]).all(axis=1)
    taken, ignored = sized & ~scene.ignore, sized & scene.ignore
    boxes, points = (np.asarray(values, np.float32) for values in (scene.boxes, scene.landmarks))
    size = np.array(scene.image.shape[:2], np.int64)
    scores = scene.scores_of(np.flatnonzero(taken))
    return SceneFaces(boxes[taken], points[taken], boxes[ignored], np.array(scene.complete), size, scores)


class CellPlaces(NamedTuple):
    """Upper left corners of cells (A, 2) and strides of their maps (A, 1), pixels."""

    corners: Tensor
    strides: Tensor

    @property
    def centres(self) -> Tensor:
        """Centres of the cells (A, 2)."""
        return self.corners + self.strides / 2

    @classmethod
    def of(cls, decoder: YuNetPoints, size: ImageSize, device: torch.device | str = "cpu") -> CellPlaces:
        """The cells of an input of this size."""
        return cls(*(torch.from_numpy(values.copy()).to(device) for values in decoder.places(size)))


def boxes_of(codes: Tensor, places: CellPlaces) -> Tensor:
    """Boxes (N, A, 4), pixels, from the outputs "boxes" of a batch, (N, A, 4)."""
    centres = places.corners + codes[..., :2] * places.strides
    half = codes[..., 2:].clamp(max=LARGEST).exp() * places.strides / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def product_logits(outputs: Mapping[str, Tensor]) -> Tensor:
    """Logits (N, A) of the product of both scores, see `point_decoders.product_logits`."""
    a, b = outputs["class_logits"][..., 0], outputs["object_logits"][..., 0]
    return -torch.logaddexp(torch.logaddexp(-a, -b), -a - b)


def yunet_decoder(decoder: Decoder, objective: str) -> YuNetPoints:
    """The decoder. Raises RecipeError if it is not YuNet's."""
    if not isinstance(decoder, YuNetPoints):
        raise RecipeError(f"objective is {objective} for a net with {type(decoder).__name__}; expected YuNet")
    return decoder
