"""Measures the nets of a work folder in a minute: average precision on photos of the validation part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn.api.training import MIN_FACE, Outcome
from mtcnn.boxes import areas, iou
from mtcnn.errors import ImageError
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from mtcnn.types import Faces
from prepare.build import image_of
from prepare.records import ImageRecord

__all__ = ["Observed", "look_at", "measure", "rows_of", "truth_of"]

Array = NDArray[Any]

PHOTOS = 200  # at most, taken evenly
SECONDS = 40.0  # no further photo is processed after this time
HIDDEN, SAME = 0.5, 0.5  # share of a detection inside a region; IoU with a labelled face


class Observed(NamedTuple):
    """A validation photo with its faces and what was found.

    boxes  float64 (G, 4) x y w h; without faces one of zeros.      counted  bool (G,): whether a face counts.
    rows   float64 (N, 5) x y w h score, of the detections.
    """

    record: ImageRecord
    boxes: Array
    counted: Array
    rows: Array


def look_at(
    val: Sequence[ImageRecord],
    find: Callable[[NDArray[np.uint8]], Faces],
    now: Callable[[], float] = time.monotonic,
) -> list[Observed]:
    """Run `find` on at most PHOTOS validation photos, for at most SECONDS. Unreadable photos are left out.

    Faces that are ignored or smaller than MIN_FACE do not count.
    """
    until, looks = now() + SECONDS, list[Observed]()
    for record in val[:: -(-len(val) // PHOTOS) or 1]:
        if now() > until:
            break
        try:
            image = image_of(record)
        except ImageError:
            continue
        boxes, valid = truth_of(record)
        counted = valid & (boxes[:, 2:].max(axis=1) >= MIN_FACE)
        looks.append(Observed(record, boxes, counted, rows_of(record, find(image))))
    return looks


def measure(
    val: Sequence[ImageRecord],
    find: Callable[[NDArray[np.uint8]], Faces],
    now: Callable[[], float] = time.monotonic,
) -> Outcome | None:
    """Average precision of `find` on validation photos. None without a readable photo, or a face that counts.

    Faces that are ignored or smaller than MIN_FACE count neither for nor against, as in WIDER FACE.
    """
    looks = look_at(val, find, now)
    faces = int(sum(look.counted.sum() for look in looks))
    if not faces:
        return None
    names = [f"val/{i}" for i in range(len(looks))]
    records, boxes, counted, rows = zip(*looks, strict=True)
    truth = GroundTruth(dict(zip(names, boxes, strict=True)), {"all": dict(zip(names, counted, strict=True))}, "text")
    result = evaluate(truth, dict(zip(names, rows, strict=True)), problems=Problems())
    return Outcome(result.ap["all"], faces, len(records), len(val))


def rows_of(record: ImageRecord, faces: Faces) -> Array:
    """Detections as float64 (N, 5), x y w h score, without those inside ignored regions, of which nobody knows whether
    they are faces: with HIDDEN of their area in one, and on no labelled face.

    WIDER FACE's own rule compares with ignored boxes by IoU, since each is one face. Here some are whole areas, as
    COCO's crowds, for which its evaluation (Lin et al. 2014) has this rule.
    """
    known = np.isfinite(record.boxes).all(axis=1)
    regions, labelled = record.boxes[known & record.ignore], record.boxes[known & ~record.ignore]
    shared, own = iou(faces.boxes, regions), areas(faces.boxes)[:, None]
    inside = shared / (1 + shared) * (own + areas(regions)) / own  # intersection over the detection's area
    hidden = inside.max(axis=1, initial=0) >= HIDDEN
    on_face = iou(faces.boxes, labelled).max(axis=1, initial=0) >= SAME
    rows: Array = faces_to_rows(faces)[~hidden | on_face]
    return rows


def truth_of(record: ImageRecord) -> tuple[Array, NDArray[np.bool_]]:
    """Boxes, float64 (G, 4) x y w h, and bool (G,): not ignored.

    Without faces one box of zeros that is ignored, so that detections are false positives.
    """
    known = np.isfinite(record.boxes).all(axis=1)
    boxes = record.boxes[known].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return (boxes, ~record.ignore[known]) if len(boxes) else (np.zeros((1, 4)), np.zeros(1, bool))
