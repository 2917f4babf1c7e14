"""Rendering of synthetic scenes: heads with faces, distractors, and camera effects.

`prepare.synthetic` places the heads; this module renders them. All sizes of a head are in its half axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Head", "paint"]

Array = NDArray[Any]

OVERSAMPLING = 2  # painted larger and shrunk: smooth edges where an eye is but one pixel wide
SHIFT = 4  # fractional bits of the coordinates given to OpenCV

# x, y of eyes, nose tip, mouth corners in half widths and half heights from the centre, the viewer's left first.
FEATURES = np.array([[-0.42, -0.12], [0.42, -0.12], [0.0, 0.27], [-0.32, 0.55], [0.32, 0.55]])
# Shift of each, in half widths, when the head turns: largest for the nose, which protrudes most.
TURN = np.array([0.16, 0.16, 0.34, 0.2, 0.2])

# About the eye, in half axes: the arch of its brow, and the rim of a pair of glasses.
BROW = np.array([[-0.24, -0.17], [0.0, -0.22], [0.24, -0.17]])
RIM = np.array([[0.3 * np.cos(angle), 0.2 * np.sin(angle)] for angle in np.linspace(0, 2 * np.pi, 13)])

# RGB from light to dark; a head gets a colour between two neighbours.
SKIN = np.array([[255, 224, 196], [241, 194, 160], [224, 172, 125], [198, 134, 92], [141, 92, 62], [92, 60, 42]])
HAIR = np.array([[25, 20, 18], [60, 40, 28], [110, 75, 45], [200, 165, 100], [150, 70, 35], [185, 185, 185]])


class Head(NamedTuple):
    """Centre and half axes in pixels, tilt in degrees (clockwise on the screen), turn in -1..1 (the viewer's right)."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float
    turn: float

    def at(self, points: Any) -> Array:
        """Pixels (N, 2) of points (N, 2) given in half axes from the centre."""
        angle = np.deg2rad(self.tilt)
        local = np.asarray(points, np.float64).reshape(-1, 2) * (self.half_width, self.half_height)
        turned = local @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return np.asarray(turned + np.array([self.x, self.y]))

    def features(self) -> Array:
        """FEATURES of the turned head, in half axes (5, 2)."""
        return np.asarray(FEATURES + np.stack([TURN * self.turn, np.zeros(5)], axis=1))

    def box(self) -> Array:
        """Bounding rectangle x1 y1 x2 y2 of the tilted ellipse (formula: `prepare.readers.fddb`)."""
        cos, sin = np.cos(np.deg2rad(self.tilt)), np.sin(np.deg2rad(self.tilt))
        reach_x = np.hypot(self.half_width * cos, self.half_height * sin)
        reach_y = np.hypot(self.half_width * sin, self.half_height * cos)
        return np.array([self.x - reach_x, self.y - reach_y, self.x + reach_x, self.y + reach_y])


def paint(heads: Sequence[Head], rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A scene with these heads, uint8 RGB (height, width, 3); everything else comes from `rng`."""
    canvas = _background(rng, height * OVERSAMPLING, width * OVERSAMPLING)
    for _ in range(int(rng.integers(3, 12))):
        _draw_thing(canvas, rng)
    for head in heads:  # bodies first: none may cover a face
        _Brush(canvas, head).ellipse((0, 2.5), (2.0, 1.7), rng.uniform(0, 255, 3))
    for head in heads:
        _draw_head(_Brush(canvas, head), rng)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return _through_a_camera(small, rng)


def _background(rng: np.random.Generator, height: int, width: int) -> Array:
    """A slope between two colours with soft clouds, uint8 (height, width, 3), made small and enlarged."""
    first, second = rng.uniform(0, 255, (2, 1)) + rng.normal(0, 25, (2, 3))  # photos are seldom gaudy
    across, down = rng.uniform(-1, 1, 2)
    rows, columns = np.mgrid[0:1:12j, 0:1:16j]
    mix = np.clip(0.5 + across * (columns - 0.5) + down * (rows - 0.5), 0, 1)[..., None]
    clouds = rng.normal(0, rng.uniform(0, 25), (12, 16, 3))
    coarse = np.clip(first * (1 - mix) + second * mix + clouds, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _draw_thing(canvas: Array, rng: np.random.Generator) -> None:
    """A distractor: a box, a disc, a blob (sometimes skin-coloured), a polygon, lines or letters."""
    height, width = canvas.shape[:2]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    a, b = (int(v) for v in np.exp(rng.uniform(np.log(5), np.log(height / 4), 2)))
    colour: list[float] = (SKIN[rng.integers(len(SKIN))] if rng.random() < 0.25 else rng.uniform(0, 255, 3)).tolist()
    thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 8))
    kind = int(rng.integers(6))
    if kind == 0:
        cv2.rectangle(canvas, (x - a, y - b), (x + a, y + b), colour, thickness, cv2.LINE_AA)
    elif kind == 1:
        cv2.circle(canvas, (x, y), a, colour, thickness, cv2.LINE_AA)
    elif kind == 2:
        cv2.ellipse(canvas, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, colour, thickness, cv2.LINE_AA)
    elif kind == 3:
        corners = (rng.uniform(-1, 1, (5, 2)) * (a, b) + (x, y)).astype(np.int32)
        cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA)
    elif kind == 4:
        for step in range(0, 2 * a, max(6, a // 4)):
            cv2.line(canvas, (x + step, y - b), (x + step, y + b), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    else:
        letters = "".join(chr(c) for c in rng.integers(65, 91, 4))
        cv2.putText(canvas, letters, (x, y), cv2.FONT_HERSHEY_SIMPLEX, a / 30, colour, 1 + a // 15, cv2.LINE_AA)


class _Brush:
    """Paints on an oversampled canvas in the half axes of one head."""

    def __init__(self, canvas: Array, head: Head) -> None:
        self.canvas = canvas
        self.head = head

    def _pixels(self, points: Any) -> list[tuple[int, int]]:
        fixed = np.round((self.head.at(points) * OVERSAMPLING - 0.5) * (1 << SHIFT)).astype(int)
        return [(int(x), int(y)) for x, y in fixed]

    def ellipse(self, centre: Any, axes: tuple[float, float], colour: Any) -> None:
        """A filled ellipse around `centre`, tilted as the head."""
        scale = OVERSAMPLING * (1 << SHIFT)
        size = (round(axes[0] * self.head.half_width * scale), round(axes[1] * self.head.half_height * scale))
        (at,) = self._pixels(centre)
        cv2.ellipse(self.canvas, at, size, self.head.tilt, 0, 360, _plain(colour), -1, cv2.LINE_AA, SHIFT)

    def line(self, points: Any, width: float, colour: Any) -> None:
        """A line through the points, `width` half axes wide but at least one pixel of the canvas."""
        pixels = np.array(self._pixels(points), np.int32)
        thickness = max(1, round(width * self.head.half_width * OVERSAMPLING))
        cv2.polylines(self.canvas, [pixels], False, _plain(colour), thickness, cv2.LINE_AA, SHIFT)


def _draw_head(brush: _Brush, rng: np.random.Generator) -> None:
    skin = _between(SKIN, rng)
    hair = _between(HAIR, rng)
    light = float(rng.uniform(-1, 1))
    brush.ellipse((0, 1.05), (0.5, 0.5), skin * 0.75)  # neck
    long_hair = rng.random() < 0.4
    brush.ellipse((0, 0.15 if long_hair else -0.25), (1.25, 1.3 if long_hair else 0.98), hair)
    for side in (-1, 1):
        brush.ellipse((side, 0.05), (0.12, 0.18), skin * 0.85)  # ears
    for ring in range(5):  # brighter towards the light
        inner = 1 - 0.15 * ring
        brush.ellipse((0.08 * light * ring, 0.02 * ring), (inner, inner), np.minimum(skin * (0.82 + 0.06 * ring), 255))
    _draw_features(brush, skin, hair, rng)


def _draw_features(brush: _Brush, skin: Array, hair: Array, rng: np.random.Generator) -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = brush.head.features()
    for eye in (left_eye, right_eye):
        brush.ellipse(eye, (0.26, 0.13), skin * 0.7)  # the socket's shadow
        brush.ellipse(eye, (0.19, 0.075), (235, 235, 235))
        brush.ellipse(eye, (0.1, 0.075), _between(HAIR[:4], rng) * 0.6)
        brush.ellipse(eye, (0.045, 0.035), (10, 10, 10))
        brush.line(eye + BROW, 0.08, hair * 0.7)
    if rng.random() < 0.15:  # glasses
        brush.line([left_eye, right_eye], 0.04, (30, 30, 30))
        for eye in (left_eye, right_eye):
            brush.line(eye + RIM, 0.05, (30, 30, 30))
    bridge = (left_eye + right_eye) / 2
    brush.line([bridge, nose + np.array([0.1, -0.05])], 0.06, skin * 0.78)
    brush.ellipse(nose, (0.17, 0.09), skin * 0.72)
    brush.ellipse(nose - np.array([0, 0.03]), (0.11, 0.07), np.minimum(skin * 1.1, 255))
    middle, reach = (left_mouth + right_mouth) / 2, (right_mouth - left_mouth)[0] / 2
    brush.ellipse(middle, (reach, rng.uniform(0.07, 0.15)), skin * (0.8, 0.5, 0.5))
    brush.ellipse(
        middle, (reach * 0.9, rng.uniform(0.015, 0.08)), (90, 30, 35) if rng.random() < 0.6 else (230, 225, 220)
    )


def _plain(colour: Any) -> list[float]:
    return [float(value) for value in colour]


def _between(colours: Array, rng: np.random.Generator) -> Array:
    """A colour somewhere between two neighbours of the list, float (3,)."""
    at = rng.uniform(0, len(colours) - 1.001)
    low, part = int(at), at % 1
    return np.asarray(colours[low] * (1 - part) + colours[low + 1] * part)


def _through_a_camera(image: Array, rng: np.random.Generator) -> Array:
    """Exposure, contrast, sometimes greyscale, blur, and grain."""
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.2)))
    gain, offset = rng.uniform(0.6, 1.15), rng.uniform(-15, 30)
    grain = rng.integers(-128, 128, image.shape, np.int8) * np.float32(rng.uniform(0, 0.12))
    return np.asarray(np.clip(image * np.float32(gain) + np.float32(offset) + grain, 0, 255).astype(np.uint8))
