"""Accuracy of five landmarks: mean error normalised by eye distance, failure rate, cumulative curve.

A face's error is the mean distance of its points to the labelled ones, divided by the distance between its labelled
eyes (Zhang et al. 2016, section IV-D, after Zhang et al. 2014). A face fails with an error above 10 %. No
protocol defines when a face was found; here ground truth and detections are matched by their boxes, and a face without
a match, or without landmarks, is missed: it counts as a failure, and is excluded from the mean.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn import conversions
from mtcnn.boxes import iou
from mtcnn.errors import DataError
from mtcnn.metrics.matching import best_pairs
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.tables import markdown_table
from mtcnn.metrics.text_files import csv_rows, read_lines
from mtcnn.types import Faces

__all__ = [
    "COLUMNS",
    "LandmarkResult",
    "LandmarkTruth",
    "box_around",
    "evaluate",
    "load_landmarks",
    "match_faces",
    "normalised_errors",
    "table",
]

Array = NDArray[Any]

COLUMNS = ("path", *(name for name in conversions.COLUMNS if name != "score"))
FAILURE = 0.10
LARGEST = 1e6  # pixels, as for training labels: larger than any photo

# Minimum IoU of a detection with a labelled face. It is low because label conventions differ: a hull
# of 68 points ends at the eyebrows, a detector's box at the hair; the best match is taken in any case.
_SAME_FACE = 0.25
# Side of a face box over the larger side of the hull of its five points: about 2.2 for upright faces, since the
# eyes are some 0.45 of a face's height above the mouth.
_BOX_OVER_HULL = 2.2


@dataclass(frozen=True, eq=False)
class LandmarkTruth:
    """Labelled faces of one image: landmarks float64 (G, 5, 2), boxes float64 (G, 4) xyxy; NaN where unknown."""

    landmarks: Array
    boxes: Array


@dataclass(frozen=True, eq=False)
class LandmarkResult:
    """errors  float64 (F,): error of each labelled face as a share of its eye distance; NaN if missed.
    by_point   float64 (5,): mean error of each point over the faces found."""

    errors: Array
    by_point: Array
    images: int

    @property
    def faces(self) -> int:
        return len(self.errors)

    @property
    def found(self) -> int:
        return int(np.isfinite(self.errors).sum())

    @property
    def mean_error(self) -> float:
        """Over the faces found; NaN when there are none."""
        return float(np.nanmean(self.errors)) if self.found else float("nan")

    def failure_rate(self, limit: float = FAILURE) -> float:
        """Share of all labelled faces that were missed or have an error above `limit`."""
        return 1 - float(self.curve(np.array([limit]))[0])

    def curve(self, limits: Array) -> NDArray[np.float64]:
        """Cumulative curve: the share of all labelled faces with an error of at most each limit (L,)."""
        known = np.sort(self.errors[np.isfinite(self.errors)])
        return np.asarray(np.searchsorted(known, limits, side="right") / max(self.faces, 1), np.float64)

    @property
    def label(self) -> str:
        """What was evaluated, for a heading."""
        return f"{self.faces} faces in {self.images} images, mean distance of five landmarks over that of the eyes"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON; errors are shares of the eye distance, None where no face was found."""
        points = {name: round(float(value), 6) for name, value in zip(conversions.POINTS, self.by_point, strict=True)}
        return {
            "protocol": "landmarks",
            "images": self.images,
            "faces": self.faces,
            "found": self.found,
            "mean_error": round(self.mean_error, 6) if self.found else None,
            "failure_rate_at_10_percent": round(self.failure_rate(), 6),
            "mean_error_by_point": points if self.found else None,
        }


def load_landmarks(path: str | Path, problems: Problems | None = None) -> dict[str, LandmarkTruth]:
    """Labels from a CSV file with COLUMNS: image path -> its faces, one a row. Box cells may be empty.

    Raises DataError for a file without those columns or rows. Rows with missing numbers are reported and left out.
    """
    problems = Problems.default(problems)
    reader = csv.reader(read_lines(path))
    header = [column.strip() for column in next(csv_rows(path, reader, problems), [])]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise DataError(f"{path}:1: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
    faces: dict[str, list[list[float]]] = {}
    for row in csv_rows(path, reader, problems):
        values = dict(zip(header, row, strict=False))
        numbers = _numbers(values)
        if numbers is None or "path" not in values:
            problems.add(path, "expected a path, four box cells and ten numbers; row left out", reader.line_num)
        else:
            faces.setdefault(values["path"], []).append(numbers)
    if not faces:
        raise DataError(f"{path}: no labelled face in it; expected rows {','.join(COLUMNS)}")
    return {name: _truth(np.array(rows)) for name, rows in faces.items()}


def _numbers(values: Mapping[str, str]) -> list[float] | None:
    """The 14 numbers of a row, NaN for empty box cells; None if another cell is invalid."""
    try:
        box = [float(values[name]) if values[name].strip() else np.nan for name in COLUMNS[1:5]]
        points = [float(values[name]) for name in COLUMNS[5:]]
    except (KeyError, ValueError):
        return None
    known = [*points, *(value for value in box if not np.isnan(value))]
    return box + points if all(abs(value) <= LARGEST for value in known) else None  # NaN fails too


def _truth(rows: Array) -> LandmarkTruth:
    return LandmarkTruth(rows[:, 4:].reshape(len(rows), 5, 2), rows[:, :4])  # (G, 5, 2), (G, 4)


def box_around(landmarks: Array) -> NDArray[np.float64]:
    """Square face boxes (G, 4) for landmarks (G, 5, 2), for labels that have none."""
    low, high = landmarks.min(axis=1), landmarks.max(axis=1)  # (G, 2)
    half = (high - low).max(axis=1, keepdims=True) * _BOX_OVER_HULL / 2
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def match_faces(truth: LandmarkTruth, faces: Faces) -> NDArray[np.int64]:
    """Index pairs (K, 2) of labelled and detected faces that maximise the total overlap of their boxes."""
    boxes = np.where(np.isnan(truth.boxes).any(axis=1, keepdims=True), box_around(truth.landmarks), truth.boxes)
    overlap = iou(boxes, faces.boxes)
    return best_pairs(np.where(overlap >= _SAME_FACE, overlap, 0))


def normalised_errors(found: Array, truth: Array) -> NDArray[np.float64]:
    """Errors (N, 5) of points (N, 5, 2) as a share of the distance between the labelled eyes."""
    distances = np.linalg.norm(np.asarray(found, np.float64) - truth, axis=2)
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    return np.asarray(distances / eyes[:, None], np.float64)


def evaluate(
    truths: Mapping[str, LandmarkTruth],
    found: Mapping[str, Faces],
    problems: Problems | None = None,
    progress: bool = False,
) -> LandmarkResult:
    """Errors of all labelled faces.

    truths  image -> labels (`load_landmarks`).    found  image -> Faces with landmarks, in pixels of the same image.
    An image missing in `found` is reported and its faces are missed; a label with coincident eyes is skipped.
    """
    problems = Problems.default(problems)
    problems.add_all([name for name in found if name not in truths], "found faces, but no labels; left out")
    problems.add_all([name for name in truths if name not in found], "no found faces; counted as missed")
    errors: list[Array] = []
    for name, truth in tqdm(truths.items(), desc="matching", unit=" images", disable=not progress):
        usable = np.linalg.norm(truth.landmarks[:, 1] - truth.landmarks[:, 0], axis=1) > 0
        if not usable.all():
            problems.add(name, "both eyes of a labelled face lie on one point; face left out")
            truth = LandmarkTruth(truth.landmarks[usable], truth.boxes[usable])
        errors.append(_image_errors(truth, found.get(name, Faces.empty())))
    table = np.concatenate([np.zeros((0, 5)), *errors])  # (F, 5)
    seen = table[np.isfinite(table).all(axis=1)]
    by_point = seen.mean(axis=0) if len(seen) else np.full(5, np.nan)
    return LandmarkResult(table.mean(axis=1), by_point, len(truths))


def _image_errors(truth: LandmarkTruth, faces: Faces) -> NDArray[np.float64]:
    """Errors (G, 5), NaN for missed faces."""
    errors = np.full((len(truth.landmarks), 5), np.nan)
    if len(faces) and faces.landmarks is not None and len(errors):
        labelled, seen = match_faces(truth, faces).T
        errors[labelled] = normalised_errors(faces.landmarks[seen], truth.landmarks[labelled])
    return errors


def table(results: Mapping[str, LandmarkResult]) -> str:
    """Markdown table comparing detectors: errors in percent of the eye distance."""
    rows = [
        [
            label,
            f"{100 * result.mean_error:.2f} %",
            f"{100 * result.failure_rate():.2f} %",
            f"{result.found} of {result.faces}",
        ]
        for label, result in results.items()
    ]
    return markdown_table(["detector", "mean error", "failures at 10 %", "found"], rows)
