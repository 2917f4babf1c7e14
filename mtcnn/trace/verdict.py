"""Which stage lost a ground truth face, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..candidates import Candidates, Step
from ..errors import SettingsError
from ..settings import shown
from ..types import Faces
from .recording import StageTrace, Trace

__all__ = ["COVERED", "FOUND", "Verdict", "judge"]

Array = NDArray[Any]

FOUND = 0.5  # minimum IoU of a detection with the face, as in the protocols of WIDER FACE and FDDB
COVERED = 0.4  # minimum IoU of a PART crop in training (docs/conventions.md): a later stage may still find the face


@dataclass(frozen=True)
class Verdict:
    """The outcome for one ground truth face.

    box      x1 y1 x2 y2, pixels: the ground truth face.
    found    whether a detection has an IoU of FOUND or more with it.
    lost_by  the stage that lost it, such as "rnet"; None when it was found.
    why      one line.
    iou, score  the best overlap, and the best score of a box that covers it, in the stage that lost it, or of the
             detection that found it; the score is None if no box covers it.
    stages   for each stage: its name, and the best overlap of its output.
    """

    box: tuple[float, float, float, float]
    found: bool
    lost_by: str | None
    why: str
    iou: float
    score: float | None
    stages: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, overlaps and scores with three decimals."""
        return {
            "box": [round(value, 2) for value in self.box],
            "found": self.found,
            "lost_by": self.lost_by,
            "why": self.why,
            "iou": round(self.iou, 3),
            "score": None if self.score is None else round(self.score, 3),
            "iou_after": {name: round(value, 3) for name, value in self.stages},
        }


def judge(trace: Trace, truth: Sequence[float] | Array) -> Verdict:
    """The outcome for the face `truth`, x1 y1 x2 y2 pixels. Raises SettingsError if that is not a box.

    A stage lost the face if no output of it or of a later stage covers the face with an IoU of COVERED or more. Faces
    are evaluated independently: one detection may match two overlapping faces.
    """
    try:
        face = np.asarray(truth, np.float64)
    except (TypeError, ValueError):
        face = np.zeros(0)  # no numbers
    if face.shape != (4,) or not np.isfinite(face).all() or (face[2:] <= face[:2]).any():
        raise SettingsError(f"face {shown(truth)}; expected finite x1 y1 x2 y2 in pixels, x1 < x2 and y1 < y2")
    x1, y1, x2, y2 = face.tolist()
    after = tuple((stage.name, float(_overlaps(stage.found.boxes, face).max(initial=0))) for stage in trace.stages)
    overlaps = _overlaps(trace.faces.boxes, face)
    if overlaps.max(initial=0) >= FOUND:
        best = int(overlaps.argmax())
        why, overlap = f"found as face {best + 1}", float(overlaps[best])
        return Verdict((x1, y1, x2, y2), True, None, why, overlap, float(trace.faces.scores[best]), after)
    covering = [number for number, (_, covered) in enumerate(after) if covered >= COVERED]
    if covering and covering[-1] == len(after) - 1:
        lost, (why, iou, score) = trace.stages[-1], _off_the_mark(trace.stages[-1].found, face)
    else:
        lost = trace.stages[covering[-1] + 1 if covering else 0]
        why, iou, score = _explain(lost, face)
    return Verdict((x1, y1, x2, y2), False, lost.name, why, iou, score, after)


def _overlaps(boxes: Array, face: Array) -> Array:
    """IoU (N,) of boxes (N, 4) with one face (4,)."""
    return box.iou(boxes, face[None])[:, 0]


def _off_the_mark(found: Faces, face: Array) -> tuple[str, float, float | None]:
    overlaps = _overlaps(found.boxes, face)
    best = int(overlaps.argmax())
    iou, score = float(overlaps[best]), float(found.scores[best])
    return f"its box is off the mark: IoU {iou:.2f}, expected {FOUND:.2f}", iou, score


def _explain(stage: StageTrace, face: Array) -> tuple[str, float, float | None]:
    """Why no output of a stage covers a face: the reason, the best IoU, and the best score at the face."""
    seen = stage.candidates
    if seen is None:
        return "none of its outputs covers the face", float(_overlaps(stage.found.boxes, face).max(initial=0)), None
    overlaps = _overlaps(seen.given, face)
    near = overlaps >= COVERED
    iou = float(overlaps.max(initial=0))
    if not near.any():
        return _not_seen(seen, face, iou), iou, None
    score = float(seen.scores[near].max())
    for step in seen.steps:
        if not (near & step.kept).any():
            best = int(np.flatnonzero(near)[seen.scores[near].argmax()])
            return _dropped(seen, step, best), iou, score
        near &= step.kept
    best = int(np.flatnonzero(near)[seen.scores[near].argmax()])
    moved = float(_overlaps(seen.moved[best : best + 1], face)[0])
    if moved >= COVERED:  # the candidates are those of the first pass
        return f"left out after the second pass: score {seen.scores[best]:.2f} before it", iou, score
    return f"its box moved away: IoU {overlaps[best]:.2f} before, {moved:.2f} after", iou, score


def _not_seen(seen: Candidates, face: Array, iou: float) -> str:
    width, height = face[2:] - face[:2]
    side = float(np.sqrt(width * height))
    cells = [level.cell for level in seen.pyramid]
    shape = f"no cell covers it (best IoU {iou:.2f}): {width:.0f} x {height:.0f} pixels"
    if not seen.pyramid and len(seen.boxes):
        return f"no box that it predicts covers it (best IoU {iou:.2f})"
    if not len(seen.boxes):
        return "the image is smaller than the smallest face to find; lower min_face"
    if side < min(cells):
        return f"{shape} is smaller than min_face {min(cells):.0f}; lower it"
    if side > max(cells):
        return f"{shape} is larger than the largest cell, {max(cells):.0f}; raise scale_factor"
    return f"{shape} is too long, lies at the border, or falls between the cells"


_REASONS = {
    "tile": "left to the neighbouring tile, which does not have it",
    "size for its look": "a look answered that others are for: its size in pixels is not one of that look",
    "coarser look": "a coarser look, which sees faces of its size too, does not have it",
    "parts of faces": "taken for a part of a larger face of a coarser look",
}


def _dropped(seen: Candidates, step: Step, best: int) -> str:
    if step.rivals is None:
        if step.name == "threshold":
            return f"below the threshold {step.limit:g}: best score {seen.scores[best]:.2f}"
        if step.name == "image border":
            return "outside of the image"
        if step.name in _REASONS:
            return f"{_REASONS[step.name]}: score {seen.scores[best]:.2f}"
        return f"not among the {step.limit:.0f} best boxes: score {seen.scores[best]:.2f}"
    boxes = seen.rivals(step)
    rivals = step.kept & (seen.scores >= seen.scores[best])
    if step.group is not None:
        rivals &= step.group == step.group[best]
    index = np.flatnonzero(rivals)
    overlap = (box.ios if step.smaller else box.iou)(boxes[index], boxes[best : best + 1])[:, 0]
    if overlap.max(initial=0) <= step.limit:
        where = "" if step.group is None else " of its level"
        return f"beyond the {len(index)} best boxes{where}, more are not taken: score {seen.scores[best]:.2f}"
    winner = index[int(overlap.argmax())]
    x1, y1, x2, y2 = seen.boxes[winner]
    kind = "overlap over the smaller" if step.smaller else "IoU"
    return (
        f"suppressed in {step.name} by [{x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}]: score {seen.scores[best]:.2f} "
        f"against {seen.scores[winner]:.2f}, {kind} {overlap.max():.2f}"
    )
