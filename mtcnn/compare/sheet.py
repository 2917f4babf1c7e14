"""A contact sheet of the photos on which the detectors of a comparison differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import iou
from mtcnn.images import read_image
from mtcnn.metrics.wider_truth import GroundTruth
from mtcnn.resample import resample

__all__ = ["contact_sheet"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

PHOTOS = 6
TILE = 640  # pixels of a tile's longer side
GAP, CAPTION = 8, 24
OVERLAP = 0.5
FOUND, MISSED, FALSE = (0, 220, 130), (255, 210, 0), (255, 60, 60)


@dataclass(frozen=True)
class _PhotoOutcome:
    """What a detector made of one photo at its operating point.

    hit     bool (G,): counted faces with a detection on them.      boxes  (N, 4) x1 y1 x2 y2.
    false   bool (N,): boxes on no labelled face, counted or not.
    """

    hit: Array
    boxes: Array
    false: Array

    @property
    def f1(self) -> float:
        good = int(self.hit.sum())
        return 2 * good / max(2 * good + int((~self.hit).sum()) + int(self.false.sum()), 1)


def _corners(rows: Array) -> NDArray[np.float32]:
    boxes = np.array(rows[:, :4], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _outcome(rows: Array, faces: Array, counted: Array, threshold: float) -> _PhotoOutcome:
    boxes = _corners(rows[rows[:, 4] >= threshold])
    match: Array = iou(boxes, _corners(faces)) >= OVERLAP  # (N, G)
    hit, known = np.any(match, axis=0), np.any(match, axis=1)
    return _PhotoOutcome(np.asarray(hit)[counted], boxes, np.logical_not(known))


def _operating_point(truth: GroundTruth, counted: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The score at which F1 over all photos is best: scores of different detectors mean different things."""
    scores, good, total = [], [], 0
    for name, rows in found.items():
        match = iou(_corners(rows), _corners(truth.boxes[name])) >= OVERLAP
        known = match & counted[name]
        scores.append(rows[:, 4])
        good.append(np.where(known.any(axis=1), 1.0, np.where(match.any(axis=1), np.nan, 0.0)))
        total += int(counted[name].sum())
    score, hit = np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0), *good])
    score, hit = score[~np.isnan(hit)], hit[~np.isnan(hit)]
    if not len(score):
        return 0.0
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(hit[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + total)
    return float(score[order[int(f1.argmax())]])


def contact_sheet(
    truth: GroundTruth, found: Mapping[str, Mapping[str, Array]], photos: Mapping[str, Path], count: int = PHOTOS
) -> RGB:
    """One row a photo: the detector that did best there and the one that did worst, each at the score of its best F1.

    truth  whose faces of the widest setting count.     found  detector -> photo -> float64 (N, 5) x y w h score.

    Green: found; yellow: missed; red: on no labelled face. uint8 RGB.
    """
    counted = truth.counted["hard" if "hard" in truth.counted else "10+"]
    points = {label: _operating_point(truth, counted, rows) for label, rows in found.items()}
    names = [name for name in photos if all(name in rows for rows in found.values()) and name in truth.boxes]
    outcomes = {
        name: {
            label: _outcome(rows[name], truth.boxes[name], counted[name], points[label])
            for label, rows in found.items()
        }
        for name in names
    }

    def spread(name: str) -> float:
        values = [each.f1 for each in outcomes[name].values()]
        return max(values) - min(values)

    worth = [name for name in names if int(counted[name].sum()) >= 2] or names
    chosen = sorted(worth, key=spread, reverse=True)[:count]
    rows = []
    for name in chosen:
        order = sorted(outcomes[name], key=lambda label: outcomes[name][label].f1)
        image = read_image(photos[name])
        faces = _corners(truth.boxes[name])[counted[name]]
        rows.append([_tile(image, faces, outcomes[name][label], label) for label in (order[-1], order[0])])
    return _stacked(rows)


def _tile(image: RGB, faces: Array, outcome: _PhotoOutcome, label: str) -> RGB:
    zoom = TILE / max(image.shape[:2])
    picture = resample(image, *(max(1, round(side * zoom)) for side in image.shape[:2]))
    marks = [(face, FOUND if hit else MISSED) for face, hit in zip(faces, outcome.hit, strict=True)]
    marks += [(box, FALSE) for box in outcome.boxes[outcome.false]]
    for box, colour in marks:
        x1, y1, x2, y2 = (int(value) for value in np.clip(np.round(box * zoom), -1e6, 1e6))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 1 if len(marks) > 30 else 2)
    words = f"{label}: {int(outcome.hit.sum())} of {len(outcome.hit)} found, {int(outcome.false.sum())} false"
    strip = np.zeros((CAPTION, picture.shape[1], 3), np.uint8)
    cv2.putText(strip, words, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


def _stacked(rows: Sequence[Sequence[RGB]]) -> RGB:
    height = sum(max(tile.shape[0] for tile in row) + GAP for row in rows) + GAP
    width = max((len(row) for row in rows), default=0) * (TILE + GAP) + GAP
    sheet = np.full((height, width, 3), 32, np.uint8)
    top = GAP
    for row in rows:
        for i, tile in enumerate(row):
            left = GAP + i * (TILE + GAP)
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        top += max(tile.shape[0] for tile in row) + GAP
    return sheet
