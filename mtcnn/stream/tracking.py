"""Tracks faces from frame to frame by overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..boxes import iou
from ..settings import Range, check
from ..types import Faces, check_faces

__all__ = ["Tracker"]


@dataclass
class _Track:
    number: int
    box: NDArray[np.float32]  # (4,), where the face was seen last
    seen: int  # the frame when it was


class Tracker:
    """Assigns ids, from 1, that stay the same while a face stays in view. Use one tracker per video.

    min_iou  minimum IoU of a face with its previous box.
    memory   number of frames without a detection after which an id is dropped.

    Pairs are matched greedily by falling IoU. Faces seldom overlap one another, so Hungarian matching (as in Bewley et
    al. 2016, SORT) would hardly ever differ, and needs scipy. Raises SettingsError for a min_iou outside of 0 to 1, and
    a memory that is no whole number of 0 or more.
    """

    def __init__(self, min_iou: float = 0.3, memory: int = 15) -> None:
        check("min_iou", min_iou, Range(min=0, max=1))
        check("memory", memory, Range(min=0, whole=True))
        self.min_iou, self.memory = min_iou, memory
        self._tracks: list[_Track] = []
        self._frame, self._last = 0, 0

    def update(self, faces: Faces) -> tuple[int, ...]:
        """The ids of the faces of the next frame, in their order. Raises SettingsError for what is no Faces."""
        check_faces("faces", faces)
        self._frame += 1
        self._tracks = [track for track in self._tracks if self._frame - track.seen <= self.memory + 1]
        matched = self._match(faces.boxes)
        return tuple(self._seen(matched.get(i), box).number for i, box in enumerate(faces.boxes))

    def _match(self, boxes: NDArray[np.float32]) -> dict[int, _Track]:
        """Index of a box -> the track that it continues, best overlap first, each used once."""
        if not len(boxes) or not self._tracks:
            return {}
        overlaps = iou(boxes, np.stack([track.box for track in self._tracks]))  # (boxes, tracks)
        matched: dict[int, _Track] = {}
        used: set[int] = set()
        # Stable, with faces by falling score: the better one wins a tie.
        for place in np.argsort(-overlaps, axis=None, kind="stable"):
            i, j = divmod(int(place), len(self._tracks))
            if overlaps[i, j] < self.min_iou:
                break
            if i not in matched and j not in used:
                matched[i] = self._tracks[j]
                used.add(j)
        return matched

    def _seen(self, track: _Track | None, box: NDArray[np.float32]) -> _Track:
        if track is None:
            self._last += 1
            track = _Track(self._last, box, self._frame)
            self._tracks.append(track)
        track.box, track.seen = box, self._frame
        return track
