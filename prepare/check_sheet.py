"""The contact sheet of `mtcnn data check`: labelled photos, and near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import ImageError
from mtcnn.images import read_photo
from mtcnn.pictures.draw import BOX, DOT, EDGE

from .build import image_of
from .records import ImageRecord
from .sheet import fitted, write_sheet
from .source_check import SourceCheck

__all__ = ["check_sheet"]

RGB = NDArray[np.uint8]

SIDE, COLUMNS = 240, 6
PHOTOS, PAIRS = 12, 9  # of a source
IGNORED = (213, 94, 0)  # Okabe and Ito's vermilion


def check_sheet(checks: Sequence[SourceCheck], target: Path) -> None:
    """Draw random labelled photos of each source, faces yellow and ignored ones red, then pairs of near-duplicates and
    evaluation photos. Unreadable photos are left out."""
    rng, bands = np.random.default_rng(0), []
    for check in checks:
        records = check.records if check.fit is None else check.fit.records
        labelled = [record for record in records if len(record.boxes)] or list(records)
        chosen = rng.permutation(len(labelled))[:PHOTOS]
        bands.append((f"{check.spec}: {len(records):,} photos", _tiles([labelled[i] for i in np.sort(chosen)])))
        pairs = [*check.duplicates, *check.between]
        if pairs:
            photos = [ImageRecord(path) for pair in pairs[:PAIRS] for path in pair]
            bands.append((f"{len(pairs):,} pairs nearly the same, side by side", _tiles(photos)))
        if check.evaluation:
            photos = [ImageRecord(path) for path in check.evaluation[:PHOTOS]]
            bands.append((f"{len(check.evaluation):,} photos of an evaluation, or nearly", _tiles(photos)))
    write_sheet(target, bands, COLUMNS, SIDE)


def _tiles(records: Sequence[ImageRecord]) -> list[RGB]:
    found = []
    for record in records:
        try:
            image = image_of(record) if len(record.boxes) else _plain(record)
        except ImageError:
            continue
        small, scale = fitted(image, SIDE)
        found.append(_drawn(small, record, scale))
    return found


def _plain(record: ImageRecord) -> RGB:
    return image_of(record) if not record.path.is_file() else read_photo(record.path).pixels


def _drawn(image: RGB, record: ImageRecord, scale: float) -> RGB:
    picture, limit = image.copy(), max(image.shape)
    for box, ignored in zip(record.boxes * scale, record.ignore, strict=True):
        if np.isfinite(box).all():
            x1, y1, x2, y2 = np.round(np.clip(box, -1, limit)).astype(int).tolist()
            cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2, y2), EDGE, 1)
            cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), IGNORED if ignored else BOX, 1)
    points = record.landmarks.reshape(-1, 2) * scale  # (G, 5, 2) -> (5 G, 2)
    for x, y in np.round(np.clip(points[np.isfinite(points).all(axis=1)], -1, limit)).astype(int).tolist():
        cv2.circle(picture, (x, y), 1, DOT, -1)
    return picture
