"""The objective of CenterFace: a heat map with a peak at the centre of each face, and codes at the cells of centres.

Source: Xu et al. 2020 (CenterFace), section 3.2; Law and Deng 2018 (CornerNet), section 3.2 (focal loss, radius of a
peak); Zhou et al. 2019, "Objects as Points" (peaks of faces that overlap). The authors' training is not published: the
weights of the losses are those of the paper, landmarks are relative to the box, as their net gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.detectors.decoders import Decoder
from mtcnn.detectors.point_decoders import HeatMap, cells
from mtcnn.errors import RecipeError
from mtcnn.settings import Settings, setting
from mtcnn.types import ImageSize

from ..scene import Scene
from ..soft import soft_weights
from .sampling import whole

__all__ = ["HeatMapSettings", "HeatMapTargets", "Peaks", "heat_of", "radius_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class HeatMapSettings(Settings):
    """Section [objective] of a detector's recipe with `name = "heat-map"`.

    overlap                    IoU that a box of the right size keeps if its corners move by the radius of a peak.
    alpha, beta                exponents of the focal loss: of the error, and of the distance from a peak.
    face offset size landmark  weights of the losses.
    soft                       weight in the face loss of the centres of faces that teachers scored, see `mtcnn label`.
    """

    name: str = setting("heat-map", choices=("heat-map",))
    overlap: float = setting(0.7, above=0, below=1)
    alpha: float = setting(2.0, min=0)
    beta: float = setting(4.0, min=0)
    face: float = setting(1.0, min=0)
    offset: float = setting(1.0, min=0)
    size: float = setting(0.1, min=0)
    landmark: float = setting(0.1, min=0)
    soft: float = setting(1.0, min=0, added=True)


class HeatMapTargets(NamedTuple):
    """Targets of one scene; tensors (N, ...) for a batch.

    heat     float32 (A,): 1 at centres, less around them; that of a face that teachers scored times its score.
    scores   float32 (A,): the score of the face at its centre, 1 where people labelled it; 0 elsewhere.
    weights  float32 (A,): 0 in ignored regions.
    offsets (A, 2), sizes (A, 2), landmarks (A, 10)  float32, codes of the decoder; NaN without a target.
    """

    heat: Any
    scores: Any
    weights: Any
    offsets: Any
    sizes: Any
    landmarks: Any


class Peaks:
    """Losses of a detector with a heat map.

    decoder  of the net. Raises RecipeError for another than HeatMap.
    """

    Settings = HeatMapSettings

    def __init__(self, settings: HeatMapSettings, decoder: Decoder, teacher: object = None) -> None:
        if not isinstance(decoder, HeatMap):
            raise RecipeError(f"objective is heat-map for a net with {type(decoder).__name__}; expected CenterFace")
        self.settings, self.decoder = settings, decoder

    def targets(self, scene: Scene) -> HeatMapTargets:
        """Targets of each cell. Of faces with the same cell the smaller has it; any number of faces is fine.

        An incomplete scene gives only landmark targets.
        """
        size, stride = ImageSize(*scene.image.shape[:2]), self.decoder.stride
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        sized = (sides > 0).all(axis=1)
        order = np.argsort(-sides.prod(axis=1), kind="stable")
        faces = order[(sized & ~scene.ignore)[order]]
        boxes, columns = scene.boxes[faces], -(-size.width // stride)
        middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).astype(int)
        limits = np.array([columns, -(-size.height // stride)]) - 1
        middles = np.clip(middles, 0, limits)
        probable = scene.scores_of(faces)
        heat = heat_of(middles, sides[faces] / stride, limits + 1, self.settings.overlap, probable)
        centres = middles[:, 1] * columns + middles[:, 0]
        scores = np.zeros(heat.size, np.float32)
        np.maximum.at(scores, centres, probable)
        codes = self.decoder.encode(size, centres, boxes, scene.landmarks[faces])
        found = [np.full((heat.size, values.shape[1]), np.nan, np.float32) for values in codes]
        for kept, values in zip(found, codes, strict=True):
            kept[centres] = values  # of equal centres the last
        weights = self._weights(scene, size, scene.boxes[sized & scene.ignore])
        weights[centres] = 1
        if not scene.complete:
            weights[:], found[0][:], found[1][:] = 0, np.nan, np.nan
        return HeatMapTargets(heat.ravel(), scores, weights, found[1], found[0], found[2])

    def _weights(self, scene: Scene, size: ImageSize, ignored: Array) -> NDArray[np.float32]:
        """1, or 0 where the middle of a cell lies in an ignored region."""
        centres = (cells(size, self.decoder.stride) + 0.5) * self.decoder.stride
        inside = (centres[:, None] > ignored[None, :, :2]) & (centres[:, None] < ignored[None, :, 2:])
        return np.where(np.any(np.all(inside, axis=2), axis=1), 0, 1).astype(np.float32)

    def loss(self, outputs: Mapping[str, Tensor], targets: HeatMapTargets) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes: the heat map by the number of centres, codes by the number
        of cells that have them."""
        settings = self.settings
        losses = {
            "face": self._focal(outputs["logits"], targets),
            "offset": _regression(outputs["offsets"], targets.offsets, beta=0.0),
            "size": _regression(outputs["sizes"], targets.sizes),
            "landmark": _regression(outputs["landmarks"], targets.landmarks),
        }
        total = sum((getattr(settings, name) * loss for name, loss in losses.items()), losses["face"].new_zeros(()))
        return {"total": total, **losses}

    def _focal(self, logits: Tensor, targets: HeatMapTargets) -> Tensor:
        """Law and Deng 2018, equation 1. At the centre of a face of score s, the sum of the losses of a face and of
        background, with weights s and 1 - s."""
        weights = targets.weights * soft_weights(targets.scores, self.settings.soft)
        centre = (targets.scores > 0) & (weights > 0)
        score = logits.sigmoid()
        positive = (1 - score) ** self.settings.alpha * F.logsigmoid(logits)
        away = torch.where(centre, 1 - targets.scores, (1 - targets.heat) ** self.settings.beta)
        negative = away * score**self.settings.alpha * F.logsigmoid(-logits)
        each: Tensor = (positive * targets.scores * centre + negative) * weights
        return -each.sum() / whole(centre.sum())


def _regression(codes: Tensor, wanted: Tensor, beta: float = 1.0) -> Tensor:
    """Smooth L1, or L1 for beta 0, summed over the values of a cell: the mean of the cells with targets."""
    known = wanted.isfinite()
    each = F.smooth_l1_loss(codes, wanted.nan_to_num(0.0), reduction="none", beta=beta) * known
    return each.sum() / whole(known.any(dim=-1).sum())


def radius_of(width: float, height: float, overlap: float) -> float:
    """How far the corners of a box may move on both axes, so that it keeps the IoU `overlap` with what it was: shifted,
    shrunk or grown. Source: Law and Deng 2018, section 3.2; the roots are those of the authors' corrected code."""
    total, area = width + height, width * height
    shifted = (total - math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    shrunk = (total - math.sqrt(total**2 - 4 * area * (1 - overlap))) / 4
    grown = (math.sqrt(total**2 + 4 * area * (1 - overlap) / overlap) - total) / 4
    return min(shifted, shrunk, grown)


def heat_of(
    middles: Array, sides: Array, shape: Array, overlap: float, scores: Array | None = None
) -> NDArray[np.float32]:
    """The heat map (rows, columns) of faces: middles (G, 2), column and row of cells, and sides (G, 2) in cells.

    Each face is a Gaussian of its radius r with sigma (2 r + 1) / 6, cut off at r; where faces meet the larger counts.
    shape  columns and rows.    scores  (G,), the heights of the peaks; None: 1.
    """
    heat = np.zeros((shape[1], shape[0]), np.float32)
    heights = np.ones(len(middles)) if scores is None else scores.astype(np.float64)
    for (column, row), (width, height), peak in zip(middles.tolist(), sides.tolist(), heights, strict=True):
        radius = int(radius_of(width, height, overlap))
        top, left = max(row - radius, 0), max(column - radius, 0)
        part = heat[top : row + radius + 1, left : column + radius + 1]
        y, x = np.ogrid[: part.shape[0], : part.shape[1]]
        far = (x + left - column) ** 2 + (y + top - row) ** 2
        gauss = peak * np.exp(-far / (2 * ((2 * radius + 1) / 6) ** 2))
        np.maximum(part, gauss, out=part, casting="same_kind")
    return heat
