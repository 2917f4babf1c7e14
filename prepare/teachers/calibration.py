"""Calibration: scores of teachers as probabilities, fitted on labelled photos.

Scores of two detectors mean different things, and a mean of them follows whichever is more generous. Logistic
calibration, sigmoid(slope * logit + offset), has two numbers for each teacher and keeps the order of its scores,
without ties. Source: Platt 1999, "Probabilistic outputs for support vector machines", with his smoothed targets,
applied to logits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import ios, iou
from mtcnn.errors import DataError, SettingsError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.files.text import read_text
from mtcnn.scoring import logits_of, sigmoid
from mtcnn.types import Faces

from ..records import ImageRecord
from .fusion import fuse

__all__ = ["Calibration", "Logistic", "fit_calibration", "fit_logistic", "hits"]

Array = NDArray[Any]

FORMAT = 1
MATCH = 0.5  # IoU of a detection with the face that it finds
FEWEST = 20  # detections of either kind that a fit needs
_STEPS = 100
_RIDGE = 1e-6


@dataclass(frozen=True)
class Logistic:
    """sigmoid(slope * logit of the score + offset). The default changes nothing, to the rounding of a logit."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, scores: Array) -> NDArray[np.float32]:
        """Probabilities (N,) of scores (N,)."""
        if self == Logistic():
            return np.asarray(scores, np.float32)
        return sigmoid(self.slope * logits_of(scores) + self.offset).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """teachers  name -> of its scores.    fused  of the means of these."""

    teachers: Mapping[str, Logistic] = field(default_factory=dict)
    fused: Logistic = field(default_factory=Logistic)

    def __call__(self, found: Mapping[str, Faces]) -> Faces:
        """What the teachers found in one image, by name, as one: scores are probabilities that it is a face."""
        joined = fuse([_rescored(faces, self.teachers.get(name, Logistic())) for name, faces in found.items()])
        return _rescored(joined, self.fused)

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        with atomic_write(path) as draft:
            draft.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """What `write` wrote. Raises DataError, with the reason, for anything else."""
        body = _body(path)
        if body.get("format", FORMAT) != FORMAT:
            raise _unusable(path, f"has format {str(body['format'])[:40]}, and {FORMAT} is known here")
        try:
            teachers = {str(name): _logistic(each) for name, each in body["teachers"].items()}
            return cls(teachers, _logistic(body["fused"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise _unusable(path, "holds no calibration") from error

    def check_teachers(self, names: Sequence[str]) -> None:
        """Raises SettingsError where it is not one of these teachers: scores of others would stay as they are."""
        if sorted(names) != sorted(self.teachers):
            raise SettingsError(
                f"`teachers` are {','.join(names)}; expected those of the calibration, "
                f"{','.join(self.teachers) or 'which has none'}; calibrate anew on labelled photos for others"
            )


def _body(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _unusable(path, "no such file")
    try:
        body = json.loads(read_text(path, longest=None))
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"is cut off or damaged ({str(error)[:80]})") from None
    if not isinstance(body, dict):
        raise _unusable(path, "holds no calibration")
    return body


def _unusable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: {why}; expected a calibration.json of `mtcnn label`; calibrate anew on labelled photos")


def _logistic(values: Any) -> Logistic:
    found = Logistic(float(values["slope"]), float(values["offset"]))
    if not (math.isfinite(found.slope) and math.isfinite(found.offset) and found.slope > 0):
        raise ValueError("no such curve")
    return found


def _rescored(faces: Faces, curve: Logistic) -> Faces:
    return Faces(faces.boxes, curve(faces.scores), faces.landmarks)


def hits(faces: Faces, record: ImageRecord) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which faces (N,), by falling score, are labelled ones, each of which is found once; and which count at all.

    What lies on an ignored region counts neither way.
    """
    known = np.isfinite(record.boxes).all(axis=1)
    truth, ignored = record.boxes[known & ~record.ignore], record.boxes[known & record.ignore]
    overlaps, taken = iou(faces.boxes, truth), np.zeros(len(truth), bool)
    right = np.zeros(len(faces), bool)
    for row in range(len(faces) if len(truth) else 0):
        free = np.where(taken, -1.0, overlaps[row])
        face = int(free.argmax())
        if free[face] >= MATCH:
            right[row] = taken[face] = True
    hidden = ios(faces.boxes, ignored).max(axis=1, initial=0) >= MATCH
    return right, right | ~hidden


def fit_logistic(scores: Array, right: NDArray[np.bool_], name: str) -> Logistic:
    """The curve of the largest likelihood for scores (N,) and which of them are right (N,), by Newton's method.

    name  of what is fitted, in messages. Raises DataError for too few of either, or scores that say nothing.
    """
    positive, negative = int(right.sum()), int((~right).sum())
    if min(positive, negative) < FEWEST:
        raise DataError(
            f"{name}: {positive} right and {negative} wrong detections in the labelled photos; expected {FEWEST} or "
            "more of each to calibrate on; name more labelled photos"
        )
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    features = np.stack([logits_of(scores), np.ones(len(scores))], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        probability = sigmoid(features @ weights)
        curvature = features.T @ (features * (probability * (1 - probability))[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, features.T @ (target - probability))
        while (
            _loss(features @ (weights + step), target) > _loss(features @ weights, target) and np.abs(step).max() > 1e-9
        ):
            step = step / 2  # a full step may overshoot where the curve is flat
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    if not np.isfinite(weights).all() or weights[0] <= 0:
        raise DataError(
            f"{name}: higher scores are no likelier to be faces; expected labels of all faces of the photos"
        )
    return Logistic(float(weights[0]), float(weights[1]))


def _loss(logits: Array, target: Array) -> float:
    """Cross-entropy of probabilities with these logits."""
    return float((np.logaddexp(0, logits) - target * logits).sum())


def fit_calibration(found: Sequence[tuple[Mapping[str, Faces], ImageRecord]]) -> Calibration:
    """A calibration from what each teacher found in labelled photos. Raises DataError as `fit_logistic` does."""
    names = list(found[0][0]) if found else []
    curves = {name: _fitted([(fuse([faces[name]]), record) for faces, record in found], name) for name in names}
    first = Calibration(curves)
    return Calibration(curves, _fitted([(first(faces), record) for faces, record in found], "all teachers together"))


def _fitted(found: Sequence[tuple[Faces, ImageRecord]], name: str) -> Logistic:
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for faces, record in found:
        good, counts = hits(faces, record)
        scores.append(faces.scores[counts].astype(np.float64))
        right.append(good[counts])
    return fit_logistic(np.concatenate(scores), np.concatenate(right), name)
