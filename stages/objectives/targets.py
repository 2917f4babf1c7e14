"""Training targets of each anchor for a scene: the last of match, sample, encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.errors import RecipeError
from mtcnn.types import ImageSize
from prepare.labels import IGNORE

from ..scene import Scene
from .matching import BACKGROUND, Matching, MatchSettings, match

__all__ = ["FACE", "NO_FACE", "AnchorTargets", "anchor_decoder", "encode", "stack", "targets_of"]

Array = NDArray[Any]
T = TypeVar("T")
NO_FACE, FACE = 0, 1


class AnchorTargets(NamedTuple):
    """Targets of one scene; those of a batch have tensors (N, ...).

    labels     int8 (A,): FACE, NO_FACE or IGNORE.
    box_codes  float32 (A, 4), NaN without a box target; landmark_codes  float32 (A, 10), the same.
    levels     int64 (L,): anchors of each level.
    scores     float32 (A,): what the score of the anchor is to be: for a FACE 1, or less where teachers labelled the
               face; else 0.
    """

    labels: Any
    box_codes: Any
    landmark_codes: Any
    levels: Any
    scores: Any


def anchor_decoder(net: str) -> SsdCodes:
    """The decoder of a detector that has anchors. Raises RecipeError for one that has none."""
    decoder = DETECTORS[net].decoder
    if not isinstance(decoder, SsdCodes):
        raise RecipeError(f"net is {net!r}, which has no anchors; expected an anchor-based detector")
    return decoder


def encode(
    scene: Scene, decoder: SsdCodes | Distances, settings: MatchSettings, anchors: Array | None = None
) -> AnchorTargets:
    """Targets of one scene. An incomplete scene gives only landmark targets.

    anchors  (A, 4) with which faces are matched; None: those of the decoder.
    """
    size = ImageSize(*scene.image.shape[:2])
    matching = match(decoder.anchors(size) if anchors is None else anchors, scene.boxes, scene.ignore, settings)
    found = np.flatnonzero(matching >= 0)
    faces = matching[found]
    codes = decoder.encode(size, found, scene.boxes[faces], scene.landmarks[faces])
    return targets_of(matching, found, codes, scene, decoder.level_counts(size))


def targets_of(
    matching: Matching, found: Array, codes: tuple[Array, Array], scene: Scene, levels: Sequence[int]
) -> AnchorTargets:
    """Targets of a matching with the faces of `scene`.

    codes  of boxes (F, 4) and landmarks (F, 10) at the anchors `found` (F,) of faces.
    """
    labels = np.full(len(matching), IGNORE, np.int8)
    box_codes = np.full((len(matching), 4), np.nan, np.float32)
    landmark_codes = np.full((len(matching), 10), np.nan, np.float32)
    scores = np.zeros(len(matching), np.float32)
    landmark_codes[found] = codes[1]
    if scene.complete:
        labels[matching == BACKGROUND], labels[found] = NO_FACE, FACE
        box_codes[found], scores[found] = codes[0], scene.scores_of(matching[found])
    return AnchorTargets(labels, box_codes, landmark_codes, np.array(levels), scores)


def stack(targets: list[T]) -> T:
    """Stack the targets of scenes, named tuples of arrays, to those of a batch, a named tuple of tensors.

    Float arrays of different lengths, such as those of faces, are padded with NaN to the longest.
    """
    columns = (np.stack(_padded(column)) for column in zip(*targets, strict=True))
    return type(targets[0])(*(torch.from_numpy(column) for column in columns))


def _padded(arrays: Sequence[Array]) -> list[Array]:
    lengths = {len(array) for array in arrays if array.ndim}
    if len(lengths) < 2:
        return list(arrays)
    rest = [(0, 0)] * (arrays[0].ndim - 1)
    return [np.pad(array, [(0, max(lengths) - len(array)), *rest], constant_values=np.nan) for array in arrays]
