"""Decoders: from a net's outputs to logits, and to boxes and landmarks in pixels. NumPy only.

A decoder is shared by detection in torch, onnxruntime and compiled code, and by training, whose targets come from its
`encode`. A new kind of output needs a new decoder; those of nets without anchors are in `point_decoders`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import ImageSize
from .anchors import (
    VARIANCES,
    Layout,
    anchors,
    decode_box_codes,
    decode_landmark_codes,
    encode_box_codes,
    encode_landmark_codes,
    map_sizes,
)

__all__ = ["Decoded", "Decoder", "Outputs", "SsdCodes", "passing"]

Array = NDArray[Any]
Outputs = Mapping[str, Array]
"""A net's outputs for one image: name -> array, without a batch axis."""

_anchors = lru_cache(maxsize=8)(anchors)  # for the few picture sizes of a recipe or of a folder


class Decoded(NamedTuple):
    """boxes float32 (A, 4) xyxy in pixels; logits (A,); landmarks float32 (A, 5, 2), or None where a net has none."""

    boxes: NDArray[np.float32]
    logits: Array
    landmarks: NDArray[np.float32] | None


def passing(one: Array, other: Array | None, lowest: float) -> tuple[Array, Array, Array]:
    """The predictions whose values in arrays (A,) or (A, 1), `one` and the `other`, are at least `lowest`: rows int64
    (R,), rising, and both values (R,). Outputs of `runtimes.sparse_outputs` may do this themselves."""
    other = one if other is None else other
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one).reshape(-1), np.asarray(other).reshape(-1)
        rows = np.flatnonzero(np.minimum(one, other) >= lowest)
        return rows, one[rows], other[rows]
    found: tuple[Array, Array, Array] = one.passing(lowest, other)
    return found


class Decoder(ABC):
    """Decodes a net's outputs, for images of any size.

    A net makes A predictions: one per anchor, or per cell of a map. A detector selects rows by their `logits`; boxes
    and landmarks are then decoded for these rows only. `size` is that of the net's input, including padding.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of the net and of exported files."""

    @abstractmethod
    def logits(self, outputs: Outputs) -> Array:
        """Logits of face against no face, float32 (A,)."""

    def passing(self, outputs: Outputs, min_logit: float) -> tuple[Array, Array]:
        """The predictions with a logit of at least `min_logit`, in order: rows int64 (R,), and their logits (R,)."""
        rows, logits, _ = passing(self.logits(outputs), None, min_logit)
        return rows, logits

    @abstractmethod
    def boxes(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32]:
        """Boxes float32 (R, 4), xyxy in pixels of the input, of the predictions `rows` int64 (R,)."""

    @property
    def max_face(self) -> float:
        """Side of the largest faces that the net can find, pixels of the input; with anchors, of the largest anchor.
        Images with room for larger faces are also processed at smaller sizes, see `looks.views`."""
        return math.inf

    def landmarks(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32] | None:
        """Landmarks float32 (R, 5, 2) in pixels of the input, the viewer's left first; None where a net has none."""
        return None

    def describe(self) -> dict[str, Any]:
        """Plain values stored in exported files, so that their outputs can be decoded without this project."""
        return {}

    def from_file(self, outputs: Outputs) -> Outputs:
        """The outputs of a net, given those of the file that it was exported to, in order. They are the same, unless
        files have the form that programs of others expect."""
        known = [name for name in self.names if name != "landmarks" or self.landmarks_in_file([*outputs])]
        return dict(zip(known, outputs.values(), strict=True))  # older exports have other names

    def landmarks_in_file(self, outputs: Sequence[str]) -> bool:
        """Whether the file of a net with these outputs gives landmarks: those that nothing has trained are left out."""
        return "landmarks" in self.names and len(outputs) == len(self.names)

    def decode(self, outputs: Outputs, size: ImageSize) -> Decoded:
        """All predictions."""
        logits = self.logits(outputs)
        rows = np.arange(len(logits))
        points = self.landmarks(outputs, size, rows) if "landmarks" in outputs else None
        return Decoded(self.boxes(outputs, size, rows), logits, points)


@dataclass(frozen=True)
class SsdCodes(Decoder):
    """One prediction per anchor, relative to it. Source: Liu et al. 2016 (SSD), section 2.2.

    layout         levels of anchors, finest first, in the order of the outputs.
    variances      of centres and points; of log sides.
    has_landmarks  whether the net predicts five points.

    Outputs: "logits" (A,), "boxes" (A, 4) and "landmarks" (A, 10).
    """

    layout: Layout
    variances: tuple[float, float] = VARIANCES
    has_landmarks: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return ("logits", "boxes", "landmarks") if self.has_landmarks else ("logits", "boxes")

    @property
    def max_face(self) -> float:
        return max(size for level in self.layout for size in level.sizes)

    def logits(self, outputs: Outputs) -> Array:
        return outputs["logits"]

    def boxes(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32]:
        return decode_box_codes(self.anchors(size)[rows], outputs["boxes"][rows], self.variances)

    def landmarks(self, outputs: Outputs, size: ImageSize, rows: Array) -> NDArray[np.float32] | None:
        if "landmarks" not in outputs:  # the net has none, or they were not trained
            return None
        return decode_landmark_codes(self.anchors(size)[rows], outputs["landmarks"][rows], self.variances)

    def describe(self) -> dict[str, Any]:
        levels = [{"stride": level.stride, "sizes": list(level.sizes)} for level in self.layout]
        return {"anchors": levels, "variances": list(self.variances)}

    def anchors(self, size: ImageSize) -> NDArray[np.float32]:
        """Anchors float32 (A, 4) of an input of this size. They are cached: do not write to them."""
        return _anchors(*size, self.layout)

    def level_counts(self, size: ImageSize) -> list[int]:
        """Number of anchors of each level, for an input of this size."""
        maps = map_sizes(*size, self.layout)
        return [rows * columns * len(level.sizes) for (rows, columns), level in zip(maps, self.layout, strict=True)]

    def encode(
        self, size: ImageSize, rows: Array, boxes: Array, landmarks: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode boxes (R, 4) and landmarks (R, 5, 2) for the anchors `rows` (R,): box codes (R, 4) and landmark codes
        (R, 10). The inverse of `boxes` and `landmarks`; NaN stays NaN."""
        places = self.anchors(size)[rows]
        return encode_box_codes(places, boxes, self.variances), encode_landmark_codes(places, landmarks, self.variances)
