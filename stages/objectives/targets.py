"""What each anchor has to say about a scene: the last of match, sample, encode."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtcnn.detectors.anchors import Layout, anchors, encode_box_codes, encode_landmark_codes, map_sizes
from prepare.labels import IGNORE

from ..photos.crops import Scene
from .matching import BACKGROUND, MatchSettings, match

__all__ = ["FACE", "NO_FACE", "AnchorTargets", "encode", "stack"]

Array = NDArray[Any]
NO_FACE, FACE = 0, 1


class AnchorTargets(NamedTuple):
    """Targets of one scene; those of a batch have tensors (N, ...).

    labels     int8 (A,): FACE, NO_FACE or IGNORE.
    box_codes  float32 (A, 4), NaN where a box is not to be learned; landmark_codes  float32 (A, 10), the same.
    levels     int64 (L,): anchors of each level.
    """

    labels: Any
    box_codes: Any
    landmark_codes: Any
    levels: Any


@lru_cache(maxsize=8)  # the sizes of a recipe
def _anchors(size: int, layout: tuple[Any, ...]) -> NDArray[np.float32]:
    return anchors(size, size, layout)


def _levels(size: int, layout: Layout) -> NDArray[np.int64]:
    maps = map_sizes(size, size, layout)
    return np.array([rows * columns * len(level.sizes) for (rows, columns), level in zip(maps, layout, strict=True)])


def encode(scene: Scene, layout: Layout, settings: MatchSettings) -> AnchorTargets:
    """Targets of one scene. A scene that is not complete teaches landmarks alone."""
    places = _anchors(scene.image.shape[0], tuple(layout))
    matching = match(places, scene.boxes, scene.ignore, settings)
    found = np.flatnonzero(matching >= 0)
    faces = matching[found]
    labels = np.full(len(places), IGNORE, np.int8)
    box_codes = np.full((len(places), 4), np.nan, np.float32)
    landmark_codes = np.full((len(places), 10), np.nan, np.float32)
    landmark_codes[found] = encode_landmark_codes(places[found], scene.landmarks[faces])
    if scene.complete:
        labels[matching == BACKGROUND], labels[found] = NO_FACE, FACE
        box_codes[found] = encode_box_codes(places[found], scene.boxes[faces])
    return AnchorTargets(labels, box_codes, landmark_codes, _levels(scene.image.shape[0], layout))


def stack(targets: list[AnchorTargets]) -> AnchorTargets:
    """Targets of a batch, as tensors."""
    columns = (np.stack(column) for column in zip(*targets, strict=True))
    return AnchorTargets(*(torch.from_numpy(column) for column in columns))
