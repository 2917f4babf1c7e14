"""How good the detector of a work folder is on its validation photos, and where it is worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import iou
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth, WiderResult, evaluate
from mtcnn.types import Faces
from prepare.records import ImageRecord

from ..outcome import Observed, look_at

__all__ = ["Accuracy", "Spot", "measured"]

Array = NDArray[Any]

WORST = 12  # spots shown of each sort
SAME = 0.5  # IoU from which a detection is the face
BANDS = {"20 to 40": (20, 40), "40 to 80": (40, 80), "80 to 160": (80, 160), "160 and more": (160, np.inf)}
"""By the longer side of a face, pixels."""


class Spot(NamedTuple):
    """A place in a photo: box (4,) xyxy, and the score of a false alarm."""

    record: ImageRecord
    box: Array
    score: float | None


@dataclass(frozen=True, eq=False)
class Accuracy:
    """AP over all faces and by size; the surest false alarms and the largest missed faces.

    photos, of   evaluated, and in the validation part.
    threshold    the score below which a face counts as missed, though AP ranks all detections.
    """

    result: WiderResult
    photos: int
    of: int
    threshold: float
    false_alarms: list[Spot]
    misses: list[Spot]


def measured(
    val: Sequence[ImageRecord], find: Callable[[NDArray[np.uint8]], Faces], threshold: float
) -> Accuracy | None:
    """None without a readable photo, or a face that counts. find  a detector with a low minimum score."""
    looks = look_at(val, find)
    counted: dict[str, dict[str, Array]] = {"all": {f"val/{i}": look.counted for i, look in enumerate(looks)}}
    if not sum(int(mask.sum()) for mask in counted["all"].values()):
        return None
    for band, (low, high) in BANDS.items():
        sides = [look.boxes[:, 2:].max(axis=1) for look in looks]
        counted[band] = {
            f"val/{i}": look.counted & (side >= low) & (side < high)
            for i, (look, side) in enumerate(zip(looks, sides, strict=True))
        }
    boxes = {f"val/{i}": look.boxes for i, look in enumerate(looks)}
    rows = {f"val/{i}": look.rows for i, look in enumerate(looks)}
    result = evaluate(GroundTruth(boxes, counted, "text"), rows, problems=Problems())
    alarms, misses = [], []
    for look in looks:
        alarms += _false_alarms(look, threshold)
        misses += _misses(look, threshold)
    alarms.sort(key=lambda spot: -(spot.score or 0.0))
    misses.sort(key=lambda spot: -float((spot.box[2:] - spot.box[:2]).max()))
    return Accuracy(result, len(looks), len(val), threshold, alarms[:WORST], misses[:WORST])


def _overlaps(look: Observed) -> tuple[Array, Array, Array]:
    """Boxes of detections (N, 4) and of faces (G, 4), xyxy, and their IoU (N, G)."""
    found, faces = (np.concatenate([b[:, :2], b[:, :2] + b[:, 2:4]], axis=1) for b in (look.rows, look.boxes))
    return found, faces, iou(found, faces)


def _false_alarms(look: Observed, threshold: float) -> list[Spot]:
    """Detections on no labelled face, be it one that does not count."""
    found, _, overlaps = _overlaps(look)
    wrong = (overlaps.max(axis=1, initial=0) < SAME) & (look.rows[:, 4] >= threshold)
    return [Spot(look.record, found[i], float(look.rows[i, 4])) for i in np.flatnonzero(wrong)]


def _misses(look: Observed, threshold: float) -> list[Spot]:
    """Faces that count, without a detection of at least this score."""
    _, faces, overlaps = _overlaps(look)
    seen = overlaps[look.rows[:, 4] >= threshold].max(axis=0, initial=0) >= SAME
    return [Spot(look.record, faces[i], None) for i in np.flatnonzero(look.counted & ~seen)]
