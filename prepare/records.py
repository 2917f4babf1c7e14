"""Records, which readers return, and the crops cut from them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.metrics.problems import Problem
from mtcnn.types import ImageSize

__all__ = ["CropBatch", "ImageRecord", "Note", "Problem"]

Array = NDArray[Any]


class Note(Problem):
    """A reader's note about a source, of which nothing was skipped."""


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One labelled image.

    path       the image file; its size is known only once it is read.
    boxes      float32 (G, 4) xyxy pixels, as labelled (docs/conventions.md). NaN for an unknown box.
    landmarks  float32 (G, 5, 2), NaN where unknown.
    ignore     bool (G,): ignore regions, neither face nor background in training (invalid faces, unlabelled crowds).
    complete   False if unlabelled faces may be visible: such an image gives no background crops.
    size       of the photo that the labels were made for, if given.
    scores     float32 (G,): the probability that it is a face, where teachers labelled the image; None: people did.
    """

    path: Path
    boxes: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    landmarks: Array = field(default=None)  # type: ignore[arg-type]  # None becomes all NaN
    ignore: Array = field(default=None)  # type: ignore[arg-type]  # None becomes all False
    complete: bool = True
    size: ImageSize | None = None
    scores: Array | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        points = np.full((count, 5, 2), np.nan) if self.landmarks is None else self.landmarks
        ignore = np.zeros(count, bool) if self.ignore is None else self.ignore
        if self.scores is not None:
            object.__setattr__(self, "scores", np.asarray(self.scores, np.float32).reshape(count))
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float32).reshape(count, 4))
        object.__setattr__(self, "landmarks", np.asarray(points, np.float32).reshape(count, 5, 2))
        object.__setattr__(self, "ignore", np.asarray(ignore, bool).reshape(count))

    @property
    def is_scored(self) -> bool:
        """Whether teachers scored any of its faces; a score of 1 is a label like any other."""
        return self.scores is not None and not bool((self.scores == 1).all())

    def is_val(self, percent: float) -> bool:
        """Whether the image belongs to the validation part of `percent`: by a hash of its name, so that adding images
        does not move others."""
        return zlib.crc32(os.fsencode(self.path.name)) % 10_000 < percent * 100


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops with their targets, the rows of a crop store.

    crops      uint8 (N, S, S, 3) RGB.
    kinds      uint8 (N,), see labels.Kind.
    offsets    float32 (N, 4) to the ground truth box in units of the crop; 0 for kinds without.
    landmarks  float32 (N, 5, 2) in units of the crop; NaN for kinds without.
    scores     float32 (N,): the target of the face score of a POS crop, of which a PART crop may get a share: 1, or
               less where a teacher labelled the face; 1 for other kinds, which do not use it. None becomes all 1.
    """

    crops: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    offsets: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]  # None becomes all 1

    def __post_init__(self) -> None:
        if self.scores is None:
            object.__setattr__(self, "scores", np.ones(len(self.kinds), np.float32))

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def empty(cls, size: int) -> CropBatch:
        """No crop, in the right shapes."""
        return cls(
            np.zeros((0, size, size, 3), np.uint8),
            np.zeros(0, np.uint8),
            np.zeros((0, 4), np.float32),
            np.zeros((0, 5, 2), np.float32),
        )

    @classmethod
    def concat(cls, parts: Sequence[CropBatch]) -> CropBatch:
        """All crops of one or more batches, in order."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))
