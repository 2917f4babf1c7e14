"""Draws faces from `detect_faces` on a copy of an image: the plotting functions of ipazc's mtcnn 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError

__all__ = ["parse_color", "plot", "plot_all", "plot_bbox", "plot_landmarks"]

Array = NDArray[Any]

YELLOW = "#FFFF00"
KEYPOINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # in a row: five x, then five y
POINTS_AT = 6  # column of the points in `detect_faces(..., output_type="numpy")`, after image, box and confidence


def plot(image: Array, detection: Any, input_as_width_height: bool = True) -> Array | None:
    """Draw boxes and landmarks on a copy of image (H, W, 3); None without a face.

    detection              a face or a list of faces, dicts or rows, as `detect_faces` returns them.
    input_as_width_height  boxes are xywh, otherwise xyxy.
    """
    if not len(detection):
        return None
    one = isinstance(detection, dict) or (isinstance(detection, np.ndarray) and detection.ndim == 1)
    return plot_all(image, [detection] if one else detection, input_as_width_height)


def plot_all(image: Array, detections: Iterable[Any], input_as_width_height: bool = True) -> Array:
    """As `plot`, for any number of faces; without a face the image itself."""
    for face in detections:
        image = plot_bbox(image, face, input_as_width_height=input_as_width_height)
        image = plot_landmarks(image, face)
    return image


def plot_bbox(
    image: Array,
    bbox: Any,
    color: Any = YELLOW,
    normalize_color: bool = False,
    input_as_width_height: bool = True,
) -> Array:
    """Draw a box on a copy of the image, with lines one pixel wide. It may extend beyond the image.

    bbox             (4,) numbers, a row, or a dict with "box".
    normalize_color  the image ranges from 0 to 1 and the copy is float32; otherwise 0 to 255 and uint8.
    """
    values = np.asarray(bbox["box"] if isinstance(bbox, dict) else bbox, np.float64)
    x1, y1, x2, y2 = values[1:5] if len(values) > 4 else values
    if input_as_width_height:
        x2, y2 = x1 + x2, y1 + y2
    (left, top), (right, bottom) = (tuple(round(float(value)) for value in corner) for corner in ((x1, y1), (x2, y2)))
    drawn = _canvas(image, normalize_color)
    cv2.rectangle(drawn, (left, top), (right, bottom), _scalar(color, normalize_color))
    return drawn


def plot_landmarks(
    image: Array,
    landmarks: Any,
    color: Any = YELLOW,
    keypoints: str = ",".join(KEYPOINTS),
    brush_size: int = 2,
    normalize_color: bool = False,
) -> Array:
    """Draw landmarks on a copy of the image, as squares of 2 * brush_size + 1 pixels. Without any, the image itself.

    landmarks  a dict of points, a dict with "keypoints", a row, or (10,) numbers, five x and then five y.
    keypoints  names of those to draw, separated by commas.
    """
    points = _points(landmarks)
    if not points:
        return image
    drawn = _canvas(image, normalize_color)
    for name in map(str.strip, keypoints.split(",")):
        if name in points:
            x, y = points[name]
            corners = (x - brush_size, y - brush_size), (x + brush_size, y + brush_size)
            cv2.rectangle(drawn, *corners, _scalar(color, normalize_color), cv2.FILLED)
    return drawn


def parse_color(color: Any) -> Any:
    """RGB from 0 to 1 of "#RRGGBB", "#RGB", "0xRRGGBB" or "0xRGB"; anything but a string is returned unchanged."""
    if not isinstance(color, str):
        return color
    digits = color.removeprefix("#").removeprefix("0x")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise SettingsError(f"color is {color!r}; expected #RRGGBB or #RGB")
    return np.array(list(bytes.fromhex(digits))) / 255


def _points(landmarks: Any) -> dict[str, tuple[int, int]]:
    if isinstance(landmarks, dict):
        given = landmarks.get("keypoints", landmarks if "box" not in landmarks else {})
        return {name: (round(float(point[0])), round(float(point[1]))) for name, point in given.items()}
    values = np.round(np.asarray(landmarks, np.float64)).astype(int)
    values = values if len(values) == 10 else values[POINTS_AT : POINTS_AT + 10]
    return {name: (int(values[i]), int(values[5 + i])) for i, name in enumerate(KEYPOINTS)} if len(values) == 10 else {}


def _canvas(image: Array, normalize_color: bool) -> Array:
    return np.array(image, np.float32 if normalize_color else np.uint8, order="C")


def _scalar(color: Any, normalize_color: bool) -> tuple[float, ...]:
    red, green, blue = np.asarray(parse_color(color), np.float64) * (1 if normalize_color else 255)
    return float(red), float(green), float(blue)
