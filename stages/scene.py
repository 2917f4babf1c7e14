"""A training picture and its faces: what photos are cut to, and objectives make targets of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scene"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]


class Scene(NamedTuple):
    """A picture and its faces, in its pixels.

    image uint8 RGB (S, S, 3); boxes float32 (G, 4); landmarks float32 (G, 5, 2), NaN where unknown; ignore bool (G,).
    complete is False if unlabelled faces may be visible: then only landmarks are trained. scores float32 (G,): the
    probability that it is a face, where teachers labelled the photo; None: people did.
    """

    image: RGB
    boxes: Array
    landmarks: Array
    ignore: NDArray[np.bool_]
    complete: bool = True
    scores: Array | None = None

    def scores_of(self, faces: Array) -> NDArray[np.float32]:
        """Targets float32 (F,) of the scores of faces, given by their rows (F,): 1 where people labelled them."""
        return np.ones(len(faces), np.float32) if self.scores is None else self.scores[faces].astype(np.float32)
