"""Landmark crops: faces with five known points, turned, mirrored and jittered.

Source: Zhang et al. 2016, section III-A (the landmark task). The kinds of change are those usual for the MTCNN family.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.crops import cut

from .labels import Kind
from .records import CropBatch, ImageRecord
from .sample import CropSettings

__all__ = ["landmark_crops", "pointed_faces", "spread_points", "square_of_points", "wild_faces"]

Array = NDArray[Any]

# The square that a detector trained on WIDER FACE draws around a face, from its five points; see docs/decisions.md for
# how the two numbers were measured.
SIDE = 2.7
DOWN = 0.32
WIDEST = 4.0  # maximum side of that square over the longer side of the image, for plausible points


def square_of_points(landmarks: Array) -> Array:
    """Squares (N, 4) around faces of which only the landmarks (N, 5, 2) are known.

    The unit is the larger of the eye distance and the eye-mouth distance, so that yaw and pitch do not shrink a face.
    The centre lies below the eyes, towards the mouth.
    """
    eyes = landmarks[:, :2].mean(axis=1)
    mouth = landmarks[:, 3:].mean(axis=1)
    down = mouth - eyes
    height = np.linalg.norm(down, axis=1, keepdims=True)
    unit = np.maximum(np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1, keepdims=True), height)
    centre = eyes + DOWN * unit * down / np.maximum(height, 1e-6)
    return np.concatenate([centre - SIDE / 2 * unit, centre + SIDE / 2 * unit], axis=1)


def _known(record: ImageRecord) -> NDArray[np.int64]:
    """Indices of the faces whose five points are all known."""
    return np.flatnonzero(np.isfinite(record.landmarks).all(axis=(1, 2)) & ~record.ignore)


def wild_faces(record: ImageRecord, height: int, width: int) -> NDArray[np.int64]:
    """Indices of faces with implausible points: coincident, too far apart, or centred outside the image.

    A rotated canvas around such points could exhaust memory.
    """
    known = _known(record)
    squares = square_of_points(record.landmarks[known].astype(np.float64))
    side, centre = squares[:, 2] - squares[:, 0], (squares[:, :2] + squares[:, 2:]) / 2
    inside = ((centre >= 0) & (centre <= (width, height))).all(axis=1)
    return known[~(inside & (side > 0) & (side <= WIDEST * max(height, width)))]


def spread_points(record: ImageRecord) -> NDArray[np.int64]:
    """Indices of the faces whose five points are all known, and not all in one place."""
    known = _known(record)
    apart: NDArray[np.bool_] = np.ptp(record.landmarks[known], axis=1).max(axis=1, initial=0) > 0
    return known[apart]


def pointed_faces(record: ImageRecord, height: int, width: int) -> NDArray[np.int64]:
    """Indices of the faces whose five points are all known and plausible."""
    return np.setdiff1d(_known(record), wild_faces(record, height, width))


def _turned(
    image: NDArray[np.uint8], points: Array, degrees: float, mirror: bool, context: float = 1.0
) -> tuple[NDArray[np.uint8], Array]:
    """Image and points (5, 2), rotated about the face and mirrored, on a canvas of two and a half times the face, and
    `context` times that.

    The border is reflected: black corners would reveal landmark crops to the net.
    """
    square = square_of_points(points[None])[0]
    side = max(float(square[2] - square[0]), 1.0)
    extent = max(int(np.ceil(2.5 * context * side)), 4)
    matrix = cv2.getRotationMatrix2D(tuple(((square[:2] + square[2:]) / 2).tolist()), degrees, 1.0)
    matrix[:, 2] += extent / 2 - (square[:2] + square[2:]) / 2
    # OpenCV has pixel centres at integers, this project at halves.
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    canvas = (extent, extent)
    warped = cv2.warpAffine(image, shifted, canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    turned = np.asarray(warped, np.uint8)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    if not mirror:
        return turned, moved
    moved[:, 0] = extent - moved[:, 0]
    return np.ascontiguousarray(turned[:, ::-1]), moved[list(box.FLIP_ORDER)]


def landmark_crops(
    image: NDArray[np.uint8], record: ImageRecord, size: int, settings: CropSettings, rng: np.random.Generator
) -> CropBatch:
    """Landmark crops of the `pointed_faces` of `record`; empty where there are none.

    Crops that would not contain all points are skipped.
    """
    parts = [CropBatch.empty(size)]
    for points in record.landmarks[pointed_faces(record, *image.shape[:2])].astype(np.float64):
        for _ in range(settings.landmarks):
            degrees = rng.uniform(-settings.rotation, settings.rotation)
            turned, moved = _turned(image, points, degrees, bool(rng.integers(2)), settings.context)
            parts.append(_jittered(turned, moved, size, rng, settings.context))
    return CropBatch.concat(parts)


def _jittered(
    image: NDArray[np.uint8], points: Array, size: int, rng: np.random.Generator, context: float = 1.0
) -> CropBatch:
    """One crop, or none, around points (5, 2): side times 0.8 to 1.25 and times `context`, shifted by up to 0.12 of
    the side."""
    square = square_of_points(points[None])
    side = square[:, 2:3] - square[:, :1]
    centre = (square[:, :2] + square[:, 2:]) / 2 + rng.uniform(-0.12, 0.12, (1, 2)) * side
    half = side / 2 * np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
    window = np.concatenate([centre - half * context, centre + half * context], axis=1)
    target = box.encode_landmarks(window, points[None])
    if (target <= 0).any() or (target >= 1).any():
        return CropBatch.empty(size)
    return CropBatch(
        cut(image, window, size),
        np.array([Kind.LANDMARK], np.uint8),
        np.zeros((1, 4), np.float32),
        target.astype(np.float32),
    )
