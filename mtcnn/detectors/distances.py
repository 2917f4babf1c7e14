"""The decoder of SCRFD: distances from a point to the sides of a box, and vectors to its landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scoring import logits_of
from ..types import ImageSize
from .anchors import Layout, anchors, map_sizes
from .decoders import Decoder, Outputs

__all__ = ["Distances"]

Array = NDArray[Any]


@lru_cache(maxsize=8)
def _anchors(size: ImageSize, layout: Layout) -> NDArray[np.float32]:
    return anchors(*size, layout, offset=0.0)


@lru_cache(maxsize=8)
def _points(size: ImageSize, layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The centre of each anchor, pixels (A, 2), and the stride of its map (A, 1)."""
    boxes, counts = _anchors(size, layout), _counts(size, layout)
    strides = np.repeat(np.array([level.stride for level in layout], np.float32), counts)
    return (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5), strides[:, None]


def _counts(size: ImageSize, layout: Layout) -> list[int]:
    maps = map_sizes(*size, layout)
    return [rows * columns * len(level.sizes) for (rows, columns), level in zip(maps, layout, strict=True)]


@dataclass(frozen=True)
class Distances(Decoder):
    """SCRFD: boxes and points relative to the upper left corner of a cell, in strides of its map.

    layout  levels of anchors, finest first. All anchors of a cell are centred on its upper left corner; their sizes
            only matter for assignment in training.

    Outputs: "logits" (A,); "distances" (A, 4), to the left, upper, right and lower side; and, if the net has them,
    "landmarks" (A, 10), x1 y1 x2 y2 ... Source: Guo et al. 2021 (SCRFD) for the outputs, InsightFace's code for the
    units and the corner.
    """

    layout: Layout

    @property
    def names(self) -> tuple[str, ...]:
        return ("logits", "distances", "landmarks")

    @property
    def max_face(self) -> float:
        return max(size for level in self.layout for size in level.sizes)

    def logits(self, outputs: Outputs) -> Array:
        return outputs["logits"]

    def boxes(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32]:
        centres, strides = (values[rows] for values in _points(size, self.layout))
        lengths = outputs["distances"][rows] * strides
        return np.concatenate([centres - lengths[:, :2], centres + lengths[:, 2:]], axis=1).astype(np.float32)

    def landmarks(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32] | None:
        """As in `Decoder`; None also if this net has none, although others with this decoder do."""
        if "landmarks" not in outputs:
            return None
        centres, strides = (values[rows, None] for values in _points(size, self.layout))
        codes = outputs["landmarks"][rows].reshape(-1, 5, 2)  # (R, 10) -> (R, 5, 2)
        return (centres + codes * strides).astype(np.float32)

    def from_file(self, outputs: Outputs) -> Outputs:
        """Scores, boxes and points of one level after the other: see `scrfd.SCRFD.deployed`."""

        def joined(kind: str) -> Array:
            return np.concatenate([outputs[f"{kind}_{level.stride}"] for level in self.layout])

        found = {"logits": logits_of(joined("score")[:, 0]).astype(np.float32), "distances": joined("bbox")}
        return {**found, "landmarks": joined("kps")} if self.landmarks_in_file([*outputs]) else found

    def landmarks_in_file(self, outputs: Sequence[str]) -> bool:
        return any(name.startswith("kps_") for name in outputs)

    def describe(self) -> dict[str, Any]:
        return {"anchors": [{"stride": level.stride, "sizes": list(level.sizes)} for level in self.layout]}

    def anchors(self, size: ImageSize) -> NDArray[np.float32]:
        """Anchors float32 (A, 4) of an input of this size. They are cached: do not write to them."""
        return _anchors(size, self.layout)

    def level_counts(self, size: ImageSize) -> list[int]:
        """Number of anchors of each level, for an input of this size."""
        return _counts(size, self.layout)

    def encode(
        self, size: ImageSize, rows: Array, boxes: Array, landmarks: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode boxes (R, 4) and landmarks (R, 5, 2) for the anchors `rows` (R,): distances (R, 4) and landmarks
        (R, 10). The inverse of `boxes` and `landmarks`; NaN stays NaN."""
        centres, strides = (values[rows] for values in _points(size, self.layout))
        distances = np.concatenate([centres - boxes[:, :2], boxes[:, 2:] - centres], axis=1) / strides
        points = (landmarks - centres[:, None]) / strides[:, None]
        return distances.astype(np.float32), points.reshape(len(points), 10).astype(np.float32)  # (R, 5, 2) -> (R, 10)
