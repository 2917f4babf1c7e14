"""Measures the nets of a work folder in a minute: average precision on photos of the validation part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.api.training import MIN_FACE, Outcome
from mtcnn.errors import ImageError
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from mtcnn.types import Faces
from prepare.build import image_of
from prepare.records import ImageRecord

__all__ = ["measure", "truth_of"]

Array = NDArray[Any]

PHOTOS = 200  # at most, taken evenly
SECONDS = 40.0  # no further photo is processed after this time


def measure(
    val: Sequence[ImageRecord],
    find: Callable[[NDArray[np.uint8]], Faces],
    now: Callable[[], float] = time.monotonic,
) -> Outcome | None:
    """Average precision of `find` on validation photos. None without a readable photo, or a face that counts.

    Faces that are ignored or smaller than MIN_FACE count neither for nor against, as in WIDER FACE.
    """
    until, boxes, counted, found = now() + SECONDS, dict[str, Array](), dict[str, Array](), dict[str, Array]()
    for record in val[:: -(-len(val) // PHOTOS) or 1]:
        if now() > until:
            break
        try:
            image = image_of(record)
        except ImageError:
            continue
        name = f"val/{len(found)}"
        boxes[name], valid = truth_of(record)
        counted[name] = valid & (boxes[name][:, 2:].max(axis=1) >= MIN_FACE)
        found[name] = faces_to_rows(find(image))
    faces = int(sum(mask.sum() for mask in counted.values()))
    if not faces:
        return None
    result = evaluate(GroundTruth(boxes, {"all": counted}, "text"), found, problems=Problems())
    return Outcome(result.ap["all"], faces, len(found), len(val))


def truth_of(record: ImageRecord) -> tuple[Array, NDArray[np.bool_]]:
    """Boxes, float64 (G, 4) x y w h, and bool (G,): not ignored.

    Without faces one box of zeros that is ignored, so that detections are false positives.
    """
    known = np.isfinite(record.boxes).all(axis=1)
    boxes = record.boxes[known].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return (boxes, ~record.ignore[known]) if len(boxes) else (np.zeros((1, 4)), np.zeros(1, bool))
