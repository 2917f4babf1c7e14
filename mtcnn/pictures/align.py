"""Face crops: plain with a margin, or aligned to the five points of a template.

Recognition models are trained on faces whose eyes, nose and mouth are at fixed positions; `align` moves them there.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..boxes import as_boxes
from ..errors import SettingsError
from ..images import Source, read_image
from ..settings import Range, check, require

__all__ = ["TEMPLATE", "align", "check_margin", "check_side", "crop", "grow", "similarity"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

TEMPLATE_SIDE = 112  # pixels

TEMPLATE: Array = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Positions of the five points in a crop of 112 x 112 for ArcFace models (Deng et al. 2019): x y of left eye, right
eye, nose and mouth corners, the viewer's left first. Published as `arcface_src` in face_align.py of
deepinsight/insightface, in OpenCV's coordinates, where the centre of the first pixel is 0."""

_MOST_SAMPLES = 64  # maximum samples per side of a crop's pixel: enough to shrink a face of 7000 pixels without gaps
_SIDE = Range(min=1, max=8192, whole=True)  # of a crop; OpenCV warps to at most 32,767 pixels a side
_MARGIN = Range(above=-0.5, max=1e6)
_FAR = 1e12  # pixels, beyond any picture


def crop(image: Source, boxes: Array, margin: float = 0.2) -> list[RGB]:
    """Crop boxes (N, 4) xyxy pixels: N arrays uint8 RGB (h, w, 3) of unchanged pixels.

    margin  added on each side, as a share of the box's side: 0.2 enlarges a box of 100 x 120 pixels to 140 x 168. A
            negative margin shrinks it.

    Edges are rounded to whole pixels and clipped to the image without padding, so crops at a border are smaller. A box
    outside the image gives the nearest pixel. Raises ImageError as `read_image` does, SettingsError for a margin of
    -0.5 or less, for boxes of another shape, and for a box that is inside out or not finite.
    """
    check_margin(margin)
    pixels = read_image(image)
    return [_whole_pixels(pixels, box) for box in grow(boxes, margin)]


def check_margin(margin: float, name: str = "margin") -> None:
    """Raise SettingsError, which calls the margin `name`, for one that leaves nothing of a box."""
    require(_MARGIN.holds(margin), name, margin, "a share of the box's side above -0.5, such as 0.2")


def check_side(size: Any) -> int:
    """The side of aligned crops, pixels. Raises SettingsError for what is no whole number from 1 to 8192."""
    check("size", size, _SIDE)
    return int(size)


def grow(boxes: Array, margin: float) -> Array:
    """Enlarge boxes (N, 4) by `margin` times their side on each side. Raises SettingsError as `as_boxes` does, and if
    one is not finite or inside out: with x y width height, another place would be hidden."""
    boxes = as_boxes(boxes)
    if not np.isfinite(boxes).all():
        raise SettingsError(f"boxes hold {boxes[~np.isfinite(boxes)][0]}; expected finite x1 y1 x2 y2")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0]
        raise SettingsError(f"boxes hold {wrong.tolist()}; expected x1 y1 x2 y2, not x y width height")
    boxes = boxes.clip(-_FAR, _FAR)
    added = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - added, boxes[:, 2:] + added], axis=1)


def _whole_pixels(image: RGB, box: Array) -> RGB:
    height, width = image.shape[:2]
    x1, y1 = (int(min(max(round(v), 0), limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True))
    x2, y2 = (int(min(max(round(v), 0), limit)) for v, limit in zip(box[2:], (width, height), strict=True))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].copy()


def align(image: Source, landmarks: Array, size: int = TEMPLATE_SIDE) -> RGB:
    """Align faces to TEMPLATE by a similarity transform, least squares: uint8 RGB (N, size, size, 3).

    image      anything that `read_image` takes.
    landmarks  (N, 5, 2) x y in pixels of the image, or (5, 2) for one face, in the order of `Faces.landmarks`: the
               viewer's left eye and left mouth corner come first. With the person's left first, faces come out rotated
               and shrunk, since the transform never mirrors. NaN marks an unknown point.
    size       side of the crops; the template is scaled with it.

    The outside of the image is black. Large faces are averaged down, so that they do not alias. Raises ImageError as
    `read_image` does; SettingsError for another shape, for a face with fewer than two distinct known points, and for a
    size that `check_side` rejects.
    """
    side = check_side(size)
    try:
        points = np.asarray(landmarks, np.float64)
    except (TypeError, ValueError):
        kind = type(landmarks).__name__
        raise SettingsError(f"landmarks are of type {kind}; expected an array (N, 5, 2), x y of five points") from None
    points = points[None] if points.ndim == 2 else points
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise SettingsError(
            f"landmarks have shape {np.shape(landmarks)}; expected (N, 5, 2), x y of five points a face"
        )
    pixels = read_image(image)
    crops = np.zeros((len(points), side, side, 3), np.uint8)
    target = (TEMPLATE + 0.5) * (side / TEMPLATE_SIDE)  # pixel numbers to our coordinates, docs/conventions.md
    for out, face in zip(crops, points, strict=True):
        out[:] = _warp(pixels, similarity(face, target), side)
    return crops


def similarity(points: Array, target: Array) -> Array:
    """The similarity transform (2, 3) that maps points (K, 2) to target (K, 2) with the least squared error.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", without
    reflection. In the plane its closed form needs no decomposition: with points as complex numbers relative to their
    means, scale and rotation are the single factor sum(conj(p) t) / sum(|p|^2). Points with NaN in either set are
    ignored. Raises SettingsError for fewer than two distinct points.
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
    """Warp the image by `matrix` (2, 3) to (size, size).

    Every output pixel is the mean of k x k samples, about one for each image pixel that it covers: OpenCV's warp alone
    interpolates four neighbours at any scale.
    """
    shrink = 1 / max(math.hypot(matrix[0, 0], matrix[1, 0]), 1e-9)
    count = min(max(math.ceil(shrink), 1), _MOST_SAMPLES)
    fine = matrix * count
    # Convert both sides from our coordinates, with the first centre at 0.5, to OpenCV's, with the first centre at 0.
    fine[:, 2] += 0.5 * (fine[:, 0] + fine[:, 1]) - 0.5
    side = size * count
    samples = cv2.warpAffine(image, fine, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if count == 1:
        return np.asarray(samples, np.uint8)
    return np.asarray(cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
