"""A trace as pictures, one per stage: boxes over the image, with a caption of counts above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..candidates import Candidates
from ..pictures.draw import draw_faces
from ..resample import resample
from ..types import Faces, ImageSize
from .recording import StageTrace, Trace
from .verdict import Verdict

__all__ = ["pictures"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]
Colour = tuple[int, int, int]

LEAST_SIDE = 640  # pixels: smaller images are enlarged to make room for boxes and captions
CROWD = 50  # boxes; with more, lines are thin
WORTH_A_NUMBER = 0.1  # scores of dropped boxes are written above this
DROPPED: Colour = (255, 120, 20)  # beside draw_faces' yellow and sky blue
TRUTH: Colour = (0, 220, 130)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

_FONT, _SCALE, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 20
_SHIFT = 4  # OpenCV draws at 1/16 pixel

Words = Sequence[tuple[str, Colour]]


def pictures(image: RGB, trace: Trace, verdicts: Sequence[Verdict] = ()) -> dict[str, RGB]:
    """Pictures of a trace of image (H, W, 3), by name: "1-proposals", "2-pnet", "3-rnet", "4-onet".

    Proposals are the cells of PNet at or above its threshold, coloured by size. Then, for each stage, the boxes that
    passed, with scores, and, thinner and in orange, those that a refiner dropped. Ground truth faces (`verdicts`) are
    drawn in green. Small images are enlarged. Each picture is uint8 RGB, with a caption above the image.
    """
    zoom = max(1, math.ceil(LEAST_SIDE / max(trace.size)))
    large = resample(image, trace.size.height * zoom, trace.size.width * zoom) if zoom > 1 else image
    drawn: list[tuple[str, RGB]] = []
    for stage in trace.stages:
        if stage.candidates is not None and stage.candidates.pyramid:
            drawn.append(("proposals", _proposals(large, zoom, stage.candidates, verdicts)))
        drawn.append((stage.name, _stage(large, zoom, stage, verdicts)))
    return {f"{number}-{name}": picture for number, (name, picture) in enumerate(drawn, 1)}


def _proposals(image: RGB, zoom: int, seen: Candidates, verdicts: Sequence[Verdict]) -> RGB:
    picture = image.copy()
    above = seen.steps[0]
    colours = _ramp(len(seen.pyramid))
    order = np.flatnonzero(above.kept)
    for i in order[np.argsort(seen.scores[order])]:  # the best last, on top
        _rectangle(picture, seen.boxes[i] * zoom, colours[seen.level[i]], 1)
    counts = np.bincount(seen.level[order], minlength=len(colours))
    legend = [
        (f"{level.cell:.0f} px: {count}", colour)
        for level, count, colour in zip(seen.pyramid, counts, colours, strict=True)
    ]
    title = f"proposals: {len(order)} of {len(seen.boxes)} cells at or above {above.limit:g}; by size of cell:"
    return _finished(picture, zoom, [(title, WHITE), *legend], verdicts)


def _stage(image: RGB, zoom: int, stage: StageTrace, verdicts: Sequence[Verdict]) -> RGB:
    picture = image.copy()
    words = [(f"{stage.name}: {len(stage.found)} kept", WHITE)]
    if stage.candidates is not None and not stage.candidates.pyramid:
        seen = stage.candidates
        # Of a single-stage detector, only predictions at or above its threshold.
        drawn = True if len(stage.given) else seen.steps[0].kept
        lost = np.flatnonzero(~seen.steps[-1].kept & drawn)
        for i in lost:
            _rectangle(picture, seen.boxes[i] * zoom, DROPPED, 1)
            if seen.scores[i] >= WORTH_A_NUMBER:
                _number(picture, seen.boxes[i] * zoom, seen.scores[i])
        dropped = [f"{text}: {count}" for text, count in _sieved(seen)]
        words.append((f"dropped by {', '.join(dropped)}" if len(lost) else "none dropped", DROPPED))
    points = stage.found.landmarks
    scaled = Faces(stage.found.boxes * zoom, stage.found.scores, None if points is None else points * zoom)
    thin = 1 if len(scaled) > CROWD else None
    return _finished(draw_faces(picture, scaled, line_width=thin), zoom, words, verdicts)


def _sieved(seen: Candidates) -> list[tuple[str, int]]:
    """The number of candidates dropped by each step."""
    left = [len(seen.scores), *(int(step.kept.sum()) for step in seen.steps)]
    names = [f"{step.name} {step.limit:g}" if step.limit else step.name for step in seen.steps]
    lost = -np.diff(left)
    return [(name, int(count)) for name, count in zip(names, lost, strict=True) if count]


def _finished(picture: RGB, zoom: int, words: Words, verdicts: Sequence[Verdict]) -> RGB:
    """Draw the ground truth faces, and the caption on top."""
    thick = max(1, round(math.hypot(*picture.shape[:2]) / 800))
    for verdict in verdicts:
        _rectangle(picture, np.array(verdict.box) * zoom, TRUTH, thick)
    lost = sum(not verdict.found for verdict in verdicts)
    summary = [(f"to be found: {len(verdicts)}, lost: {lost}", TRUTH)] if verdicts else []
    return np.concatenate([_caption([*words, *summary], picture.shape[1]), picture])


def _caption(words: Words, width: int) -> RGB:
    """Words (text, colour) on black, wrapped."""
    places, x, line = [], 6, 0
    for text, colour in words:
        wide = cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0]
        if x > 6 and x + wide > width:
            x, line = 6, line + 1
        places.append((text, (x, line * _LINE + 15), colour))
        x += wide + 14
    strip = np.zeros(((line + 1) * _LINE + 2, width, 3), np.uint8)
    for text, place, colour in places:
        cv2.putText(strip, text, place, _FONT, _SCALE, colour, 1, cv2.LINE_AA)
    return strip


def _ramp(count: int) -> list[Colour]:
    """Colours from blue over green to red, one per pyramid level."""
    steps = np.linspace(30, 225, max(count, 1)).astype(np.uint8)[:, None]
    bgr = cv2.applyColorMap(steps, cv2.COLORMAP_TURBO)[:, 0]
    return [(int(red), int(green), int(blue)) for blue, green, red in bgr[:count]]


def _rectangle(picture: RGB, box: Array, colour: Colour, thick: int) -> None:
    size = ImageSize(*picture.shape[:2])
    near = np.clip(box.reshape(2, 2), -max(size), 2 * max(size))  # (2, 2): corner, x y; fixed-point numbers must fit
    (x1, y1), (x2, y2) = np.round((near - 0.5) * 2**_SHIFT).astype(int).tolist()  # OpenCV's first centre is 0
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA, _SHIFT)


def _number(picture: RGB, box: Array, score: float) -> None:
    """The score in the lower left corner of a box, if it is wide enough."""
    text = f"{score:.2f}"
    (wide, _), _ = cv2.getTextSize(text, _FONT, 0.4, 1)
    if box[2] - box[0] > wide:
        place = int(np.clip(box[0] + 2, 0, picture.shape[1] - 1)), int(np.clip(box[3] - 3, 0, picture.shape[0] - 1))
        for colour, thick in ((BLACK, 3), (DROPPED, 1)):
            cv2.putText(picture, text, place, _FONT, 0.4, colour, thick, cv2.LINE_AA)
