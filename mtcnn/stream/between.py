"""Detection in every n-th frame of a video: the faces of the frames between are interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..types import Faces
from .decoding import Read
from .gaps import centres_of, sides_of
from .items import Item

__all__ = ["filled", "interpolated", "pairs"]

REACH = 1.5  # maximum distance between the centres of a face in two detections, in sides of its box
GROWTH = 2.0  # maximum ratio of their sides


def filled(results: Iterable[tuple[Read, bool]]) -> Iterator[Read]:
    """Items with faces, in the same order. results  each with whether the detector has looked at it.

    A frame between two detections gets the faces of both: those seen in both in between, those of one at their place
    there, so that a face seen once is in every frame around. At the end of a video the last faces stay. Frames before
    the first detection get its faces.
    """
    before: Item | None = None
    waiting: list[Item] = []
    for item, looked in results:
        frame = isinstance(item, Item) and item.frame is not None
        if waiting and not (frame and isinstance(item, Item) and item.source == waiting[0].source):
            yield from _closed(waiting, before, None)
            waiting, before = [], None
        if not isinstance(item, Item) or not frame:
            before = None
            yield item
        elif not looked:
            waiting.append(item)
        else:
            yield from _closed(waiting, before if before and before.source == item.source else None, item)
            waiting, before = [], item
            yield item
    yield from _closed(waiting, before, None)


def _closed(waiting: list[Item], before: Item | None, after: Item | None) -> Iterator[Item]:
    """The frames that have waited, with faces."""
    for i, item in enumerate(waiting):
        share = (i + 1) / (len(waiting) + 1)
        if before is not None and after is not None:
            faces = interpolated(before.faces, after.faces, share)
        else:
            faces = (before or after or item).faces
        yield replace(item, faces=faces)


def interpolated(one: Faces, other: Faces, share: float) -> Faces:
    """The faces at `share` of the way from one frame to the other, by falling score."""
    first, second = np.array(pairs(one, other), np.int64).reshape(-1, 2).T
    a, b = one[first], other[second]
    points = None
    if a.landmarks is not None and b.landmarks is not None:
        points = a.landmarks + share * (b.landmarks - a.landmarks)
    both = Faces(a.boxes + share * (b.boxes - a.boxes), a.scores + share * (b.scores - a.scores), points)
    alone = [faces[np.setdiff1d(np.arange(len(faces)), used)] for faces, used in ((one, first), (other, second))]
    return Faces.concat([part for part in (both, *alone) if len(part)] or [one]).sorted()


def pairs(one: Faces, other: Faces) -> list[tuple[int, int]]:
    """Indices of the same face in two frames: the closest first, by distance and size; each face once."""
    sides_a, sides_b = sides_of(one.boxes)[:, None], sides_of(other.boxes)[None]
    moved = np.linalg.norm(centres_of(one.boxes)[:, None] - centres_of(other.boxes)[None], axis=2)
    distance = moved / np.maximum((sides_a + sides_b) / 2, 1e-9)
    alike = np.maximum(sides_a, sides_b) <= GROWTH * np.minimum(sides_a, sides_b)
    distance = np.where(alike, distance, np.inf)
    found: list[tuple[int, int]] = []
    for place in np.argsort(distance, axis=None, kind="stable"):
        i, j = divmod(int(place), len(other))
        if distance[i, j] > REACH:
            break
        if all(i != used and j != taken for used, taken in found):
            found.append((i, j))
    return found
