"""The figure by which candidates are ranked: average precision of a trained net on validation photos."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_runtime
from mtcnn.detectors.single_stage import SingleStage
from mtcnn.errors import DataError
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth, evaluate

from ..outcome import rows_of, truth_of
from ..photos.store import PhotoStore

__all__ = ["HARD_HEIGHT", "HardAp", "hard_ap"]

HARD_HEIGHT = 10.0  # pixels: the hard setting of WIDER FACE counts all valid faces from this height on
LOWEST_SCORE = 0.02  # of detections, as in SCRFD's test program


class HardAp(NamedTuple):
    """ap  average precision at an IoU of 0.5.    faces, photos  evaluated."""

    ap: float
    faces: int
    photos: int


def hard_ap(weights: Path, net: str, photos: PhotoStore, percent: float, max_side: float, device: str) -> HardAp:
    """Average precision of the hard setting of WIDER FACE on the validation part of the photos, as they are stored.

    Official lists exist for WIDER's own validation photos only; here faces of HARD_HEIGHT or more that are not ignored
    count. Photos are shrunk to the longer side `max_side`.

    Raises DataError for a validation part without such a face.
    """
    detector = SingleStage(
        load_runtime(weights, net, device), DETECTORS[net], LOWEST_SCORE, max_side=max_side, coarse=False
    )
    boxes, counted, found = {}, {}, {}
    for i, record in enumerate(photos.records):
        if record.complete and record.is_val(percent):
            name = f"val/{i}"
            boxes[name], valid = truth_of(record)
            counted[name] = valid & (boxes[name][:, 3] >= HARD_HEIGHT)
            found[name] = rows_of(record, detector(photos[i]))
    faces = int(sum(mask.sum() for mask in counted.values()))
    if not faces:
        raise DataError(
            f"no face of {HARD_HEIGHT:g} pixels or more among the {len(found)} photos of the validation part; expected "
            "some: name more photos, or a larger `val`"
        )
    result = evaluate(GroundTruth(boxes, {"hard": counted}, "text"), found, problems=Problems())
    return HardAp(round(result.ap["hard"], 6), faces, len(found))
