"""Fills in the boxes of faces that a detector misses for a few frames of a video."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import as_boxes
from ..settings import Range, check

__all__ = ["GapFiller", "centres_of", "default_gap", "sides_of"]

Box = NDArray[np.float64]

_GAP_SECONDS = 0.5
_REACH = 1.0  # maximum distance between boxes of the same face, in sides of its box; plus, for each missed frame
_REACH_A_FRAME = 0.25
_MOST_REACH = 3.0
_MOST_GROWTH = 2.0  # maximum ratio of their sides


def default_gap(fps: float) -> int:
    """Frames in half a second, at least one."""
    return max(1, round(_GAP_SECONDS * fps))


@dataclass(eq=False)
class _LastSeen:
    box: Box  # (4,) xyxy, where the face was seen last
    seen: int  # the frame when it was


@dataclass(eq=False)
class _PendingFrame:
    boxes: Box  # (N, 4) xyxy, the faces that were found
    added: list[Box] = field(default_factory=list)  # and where missed ones have been


class GapFiller:
    """Adds to each frame the boxes of faces that are detected up to `gap` frames before or after.

        filler = GapFiller(15)
        for frame in frames:
            for boxes in filler.add(frame.boxes): ...    # of frames before: they come 15 frames late
        for boxes in filler.finish(): ...

    gap  maximum number of consecutive frames in which a face may be missed.

    Between two detections of a face, boxes are interpolated. Before the first and after the last one, the box is
    repeated for `gap` frames, in which the face may be turned away or blurred by motion. Faces are matched by distance
    and size, greedily, the closest first; a wrong match adds boxes, and removes none. Raises SettingsError for a gap
    that is no whole number of 0 or more.
    """

    def __init__(self, gap: int) -> None:
        check("gap", gap, Range(min=0, whole=True))
        self.gap = int(gap)
        self._tracks: list[_LastSeen] = []
        self._frames: deque[_PendingFrame] = deque()
        self._number = -1  # of the last frame

    def add(self, boxes: NDArray[Any]) -> list[Box]:
        """Add the boxes (N, 4) xyxy of the next frame. Returns the boxes of the frame that this completes, if any."""
        self._number += 1
        found = as_boxes(boxes)
        self._frames.append(_PendingFrame(found))
        for track, box in self._matched(found):
            if track is None:
                self._keep(box, self._number - self.gap, self._number)
                self._tracks.append(_LastSeen(box, self._number))
            else:
                self._interpolate(track, box)
                track.box, track.seen = box, self._number
        self._give_up()
        return self._settled(self.gap)

    def finish(self) -> list[Box]:
        """Call it after the last frame: returns the boxes of the remaining frames, (N, 4) each."""
        for track in self._tracks:
            self._keep(track.box, track.seen + 1, self._number + 1)
        self._tracks = []
        return self._settled(0)

    def _settled(self, left: int) -> list[Box]:
        """All frames but the last `left`."""
        return [_all(self._frames.popleft()) for _ in range(len(self._frames) - left)]

    def _matched(self, boxes: Box) -> list[tuple[_LastSeen | None, Box]]:
        """Each box with the track that it continues, or None; each track once."""
        found: dict[int, _LastSeen] = {}
        used: set[int] = set()
        if self._tracks and len(boxes):
            distances = self._distances(boxes)
            places = np.flatnonzero(distances <= 1)
            for place in places[np.argsort(distances.flat[places], kind="stable")]:
                i, j = divmod(int(place), len(self._tracks))
                if i not in found and j not in used:
                    found[i] = self._tracks[j]
                    used.add(j)
        return [(found.get(i), box) for i, box in enumerate(boxes)]

    def _distances(self, boxes: Box) -> Box:
        """Distances of boxes (N, 4) from the tracks, (N, tracks).

        1 is the maximum at which a face is considered the same; inf if the sizes differ too much.
        """
        last = np.stack([track.box for track in self._tracks])
        missed = self._number - 1 - np.array([track.seen for track in self._tracks])
        one, other = sides_of(boxes)[:, None], sides_of(last)
        moved = np.linalg.norm(centres_of(boxes)[:, None] - centres_of(last), axis=2)
        reach = (one + other) / 2 * np.minimum(_REACH + _REACH_A_FRAME * missed, _MOST_REACH)
        alike = np.maximum(one, other) <= _MOST_GROWTH * np.minimum(one, other)
        return np.where(alike, moved / np.maximum(reach, 1e-9), np.inf)

    def _interpolate(self, track: _LastSeen, box: Box) -> None:
        steps = self._number - track.seen
        for step in range(1, steps):
            share = step / steps
            self._frames[len(self._frames) - 1 - steps + step].added.append(track.box + share * (box - track.box))

    def _keep(self, box: Box, first: int, end: int) -> None:
        """Add a box to the frames first to end - 1 that are still pending."""
        oldest = self._number - len(self._frames) + 1
        for number in range(max(first, oldest), end):
            self._frames[number - oldest].added.append(box)

    def _give_up(self) -> None:
        for track in self._tracks:
            if self._number - track.seen > self.gap:
                self._keep(track.box, track.seen + 1, track.seen + 1 + self.gap)
        self._tracks = [track for track in self._tracks if self._number - track.seen <= self.gap]


def _all(frame: _PendingFrame) -> Box:
    return np.concatenate([frame.boxes, np.reshape(frame.added, (-1, 4))])


def sides_of(boxes: NDArray[Any]) -> NDArray[Any]:
    """The sides (N,) of squares as large as boxes (N, 4)."""
    return np.asarray(np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)))


def centres_of(boxes: NDArray[Any]) -> NDArray[Any]:
    """x y (N, 2) of boxes (N, 4)."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)
