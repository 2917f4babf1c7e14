"""Records of one photo that are joined: each would take the faces of the others for background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.stream.places import identity

from .records import ImageRecord

__all__ = ["joined_repeats", "joined_sources", "label_scores", "merged"]

Array = NDArray[Any]

SAME = 0.5  # pixels


def merged(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """One record a photo: some formats have a row per face, and sources may name a photo twice.

    The labels of a photo are joined; of boxes that agree within SAME pixels the one with landmarks stays. The photo is
    complete if one of its records is.
    """
    return [_joined(found, any(each.complete for each in found)) for found in _of_photos(records)]


def joined_repeats(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], int]:
    """The records of one label format, those of a photo that repeats joined, and the number of such photos.

    Unlike in `merged`, a photo is complete only if all of its records are: each has a part of its labels, and what is
    missing in one stands in none. Records for other sizes of the photo stay apart, as `fit` must compare each, and are
    incomplete.
    """
    found: list[ImageRecord] = []
    repeats = 0
    for each in _of_photos(records):
        repeats += len(each) > 1
        if len({record.size for record in each if record.size is not None}) > 1:
            found += [replace(record, complete=False) for record in each]
        else:
            found.append(_joined(each, all(record.complete for record in each)))
    return (found, repeats) if repeats else (list(records), 0)


def joined_sources(sources: Sequence[Sequence[ImageRecord]]) -> tuple[list[ImageRecord], int]:
    """The records of all sources, in order, those of a photo in several of them joined, and the number of such photos.

    They become one where the photo comes first, as in `merged`. Records of one source stay as they are.
    """
    keys = [_keys(records) for records in sources]
    times = Counter(key for found in keys for key in set(found))
    of: dict[Hashable, list[ImageRecord]] = {}
    for number, (key, record) in enumerate(zip(chain(*keys), chain(*sources), strict=True)):
        of.setdefault(key if times[key] > 1 else number, []).append(record)
    repeated = sum(count > 1 for count in times.values())
    return [_joined(found, any(each.complete for each in found)) for found in of.values()], repeated


def _keys(records: Sequence[ImageRecord]) -> list[Hashable]:
    """Equal for records of one photo: labels may name it in several ways, and by links."""
    return [identity(record.path) for record in records]


def label_scores(record: ImageRecord) -> Array:
    """Scores, NaN where a person labelled the face."""
    if record.scores is None:
        return np.full(len(record.boxes), np.nan, np.float32)
    return np.where(record.scores == 1, np.float32(np.nan), record.scores)


def _of_photos(records: Sequence[ImageRecord]) -> list[list[ImageRecord]]:
    of: dict[Hashable, list[ImageRecord]] = {}
    for key, record in zip(_keys(records), records, strict=True):
        of.setdefault(key, []).append(record)
    return list(of.values())


def _joined(records: Sequence[ImageRecord], complete: bool) -> ImageRecord:
    if len(records) == 1:
        return records[0]
    boxes = np.concatenate([record.boxes for record in records])
    points = np.concatenate([record.landmarks for record in records])
    ignore = np.concatenate([record.ignore for record in records])
    scores = np.concatenate([label_scores(record) for record in records])
    keep = _distinct(boxes, points, ignore)
    scores = np.where(np.isnan(scores), np.float32(1), scores)
    size = next((record.size for record in records if record.size is not None), None)
    return replace(
        records[0], boxes=boxes[keep], landmarks=points[keep], ignore=ignore[keep], complete=complete, size=size,
        scores=scores[keep],
    )  # fmt: skip


def _distinct(boxes: Array, points: Array, ignore: Array) -> Array:
    """The rows that stay, in order."""
    keep: list[int] = []
    known = np.isfinite(points).all(axis=2).sum(axis=1)
    for row in np.argsort(-known, kind="stable").tolist():
        near = np.abs(boxes[keep] - boxes[row]).max(axis=1, initial=0) < SAME  # NaN: an unknown box is like no other
        if not (near & (ignore[keep] == ignore[row])).any():
            keep.append(row)
    return np.sort(np.array(keep, np.int64))
