"""Faces cut out of an image: plain with a margin, or turned and scaled onto the five points of a template.

Recognition models are trained on faces whose eyes, nose and mouth lie at fixed places; `align` puts them there.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..images import as_rgb

__all__ = ["TEMPLATE", "align", "check_margin", "crop", "grow", "similarity"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

TEMPLATE_SIDE = 112  # pixels

TEMPLATE: Array = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace models (Deng et al. 2019) expect the five points in a crop of 112 x 112: x y of left eye, right eye,
nose and mouth corners, the viewer's left first. Published as `arcface_src` in face_align.py of deepinsight/insightface,
in OpenCV's pixel numbers, where the centre of the first pixel is 0."""

_MOST_SAMPLES = 64  # a side, for each pixel of a crop: enough to shrink a face of 7000 pixels without gaps


def crop(image: NDArray[Any], boxes: Array, margin: float = 0.2) -> list[RGB]:
    """Pictures of the boxes (N, 4) xyxy pixels, each uint8 RGB (h, w, 3), pixels as they are in the image.

    margin  what is added on each side, as a share of that side of the box: 0.2 makes a box of 100 x 120 pixels
            140 x 168. A negative margin cuts off.

    Edges are rounded to whole pixels, and cut at the border of the image: nothing is invented there, so crops of faces
    at a border are smaller. A box outside of the image still gives the nearest pixel. Raises ImageError as
    `images.as_rgb` does, SettingsError for a margin of -0.5 or less, ValueError for a box that is not finite.
    """
    check_margin(margin)
    pixels = as_rgb(image)
    return [_whole_pixels(pixels, box) for box in grow(boxes, margin)]


def check_margin(margin: float) -> None:
    """Raises SettingsError for a margin that leaves nothing of a box."""
    if not (math.isfinite(margin) and margin > -0.5):
        raise SettingsError(f"margin is {margin}; expected a share of the box's side above -0.5, such as 0.2")


def grow(boxes: Array, margin: float) -> Array:
    """Boxes (N, 4), larger by `margin` times their side on each side. Raises SettingsError where one is not finite."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise SettingsError(f"boxes hold {boxes[~np.isfinite(boxes)][0]}; expected finite x1 y1 x2 y2")
    added = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - added, boxes[:, 2:] + added], axis=1)


def _whole_pixels(image: RGB, box: Array) -> RGB:
    height, width = image.shape[:2]
    x1, y1 = (int(min(max(round(v), 0), limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True))
    x2, y2 = (int(min(max(round(v), 0), limit)) for v, limit in zip(box[2:], (width, height), strict=True))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].copy()


def align(image: NDArray[Any], landmarks: Array, size: int = TEMPLATE_SIDE) -> RGB:
    """Faces turned, scaled and moved so that their points lie as near as can be to TEMPLATE: uint8 (N, size, size, 3).

    image      any array that `images.as_rgb` takes.
    landmarks  (N, 5, 2) x y in pixels of the image, or (5, 2) for one face, in the order of `Faces.landmarks`: the eye
               and the mouth corner that are left as the viewer sees them come first. With the person's left first a
               face comes out wrong, turned and shrunk, for nothing is mirrored. NaN marks an unknown point.
    size       side of the crops; the template is scaled with it.

    What lies outside of the image is black. Large faces are averaged down, not sampled, so that they do not alias.
    Raises ImageError as `as_rgb` does; ValueError for another shape, for a face of fewer than two known points or with
    all of them in one place, and for a size below 1.
    """
    points = np.asarray(landmarks, np.float64)
    points = points[None] if points.ndim == 2 else points
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise SettingsError(
            f"landmarks have shape {np.shape(landmarks)}; expected (N, 5, 2), x y of five points a face"
        )
    if size < 1:
        raise SettingsError(f"size is {size}; expected 1 pixel or more, such as {TEMPLATE_SIDE}")
    pixels = as_rgb(image)
    crops = np.zeros((len(points), size, size, 3), np.uint8)
    target = (TEMPLATE + 0.5) * (size / TEMPLATE_SIDE)  # pixel numbers to our coordinates, docs/conventions.md
    for out, face in zip(crops, points, strict=True):
        out[:] = _warp(pixels, similarity(face, target), size)
    return crops


def similarity(points: Array, target: Array) -> Array:
    """The similarity transform (2, 3) that brings points (K, 2) nearest to target (K, 2), in least squares.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", without
    reflection. In the plane its closed form needs no decomposition: with points as complex numbers about their means,
    scale and turn are the single factor sum(conj(p) t) / sum(|p|^2). Points with NaN in either set are left out. Raises
    ValueError for fewer than two points that differ.
    """
    known = np.isfinite(points).all(axis=1) & np.isfinite(target).all(axis=1)
    source, goal = (np.asarray(values[known], np.float64) @ [1, 1j] for values in (points, target))
    spread = source - source.mean() if len(source) else source
    size = float((np.abs(spread) ** 2).sum())
    if size < 1e-9:
        raise SettingsError(f"{len(source)} known points, in one place; expected two or more that differ")
    factor = complex((np.conj(spread) * (goal - goal.mean())).sum() / size)
    shift = complex(goal.mean() - factor * source.mean())
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _warp(image: RGB, matrix: Array, size: int) -> RGB:
    """The image under `matrix` (2, 3), seen through (size, size).

    Every pixel of the result is the mean of k x k samples, about one for each pixel of the image that it covers:
    OpenCV's warp alone takes four neighbours however much it shrinks.
    """
    shrink = 1 / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-9)
    count = min(max(math.ceil(shrink), 1), _MOST_SAMPLES)
    fine = matrix * count
    # From coordinates with the first centre at 0.5 to OpenCV's, with the first centre at 0, on both sides.
    fine[:, 2] += 0.5 * (fine[:, 0] + fine[:, 1]) - 0.5
    side = size * count
    samples = cv2.warpAffine(image, fine, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if count == 1:
        return np.asarray(samples, np.uint8)
    return np.asarray(cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
