"""What the later stages of older projects have in common: crops of their own, scores rounded as theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cascade import BATCH, NetRefiner
from ..nets import SIZES, to_input

__all__ = ["OldRefiner", "face_scores"]

Array = NDArray[Any]


@dataclass
class OldRefiner(NetRefiner):
    """A refiner that cuts its crops otherwise."""

    def crops(self, image: NDArray[np.uint8], squares: Array, size: int) -> Array:
        """float64 (N, size, size, 3) of squares (N, 4), from 0 to 255; `to_input` would scale float32 in place."""
        raise NotImplementedError

    def raw(self, image: NDArray[np.uint8], squares: Array) -> tuple[Any, Any, Any]:
        """Logits (N,), offsets (N, 4) and landmark targets (N, 5, 2) or None for squares (N, 4), in order."""
        logits, offsets, points = [np.zeros(0)], [np.zeros((0, 4))], [np.zeros((0, 5, 2))]
        for start in range(0, len(squares), BATCH[self.name]):
            crops = self.crops(image, squares[start : start + BATCH[self.name]], SIZES[self.name])
            output = self.net(to_input(crops, self.device))
            logits.append(output.face_logits.cpu().numpy())
            offsets.append(output.offsets.cpu().numpy())
            if output.landmarks is not None:
                points.append(output.landmarks.cpu().numpy())
        return np.concatenate(logits), np.concatenate(offsets), np.concatenate(points) if self.name == "onet" else None


def face_scores(logits: Array) -> NDArray[np.float32]:
    """The face's share of a softmax over no face and face, rounded as in float32: what makes scores near 1 equal."""
    other = np.exp(-np.abs(np.asarray(logits, np.float32)))  # the larger of the two is taken off both
    return np.asarray(np.where(logits > 0, np.float32(1), other) / (1 + other), np.float32)
