"""What readers return and what crops are cut from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageRecord", "Problem"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One labelled image.

    path       the image file; its size is known only once it is read.
    boxes      float32 (G, 4) xyxy pixels, as labelled (docs/conventions.md). NaN in a row whose box is unknown.
    landmarks  float32 (G, 5, 2), NaN where unknown.
    ignore     bool (G,): faces that are neither to be learned nor to be used as background (invalid, unlabelled crowd).
    complete   False where faces may be visible that are not labelled: such an image gives no background crops.
    """

    path: Path
    boxes: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    landmarks: Array | None = None
    ignore: Array | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        count = len(self.boxes)
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float32).reshape(count, 4))
        points = np.full((count, 5, 2), np.nan, np.float32) if self.landmarks is None else self.landmarks
        object.__setattr__(self, "landmarks", np.asarray(points, np.float32).reshape(count, 5, 2))
        ignore = np.zeros(count, bool) if self.ignore is None else self.ignore
        object.__setattr__(self, "ignore", np.asarray(ignore, bool).reshape(count))


@dataclass(frozen=True)
class Problem:
    """A label or image that was passed over: where, and why, in one line."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"
