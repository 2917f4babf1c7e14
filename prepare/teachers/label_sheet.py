"""The contact sheet of `mtcnn label`: some of the faces, the doubtful regions and what counts as background."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import square
from mtcnn.crops import cut
from mtcnn.errors import ImageError
from mtcnn.images import read_photo
from mtcnn.pictures.draw import BOX

from ..sheet import write_sheet
from .photo_labels import PhotoLabels

__all__ = ["label_sheet"]

SIDE, COLUMNS, ROWS = 72, 16, 3
AROUND = 1.6  # side of a tile in sides of the region's square
KINDS = ("faces", "doubtful regions", "background")


def label_sheet(labels: Iterable[PhotoLabels], target: Path) -> None:
    """Draw random regions of each kind, with a bit of what is around them."""
    rng, counts, limit = np.random.default_rng(0), [0, 0, 0], COLUMNS * ROWS
    chosen: list[list[tuple[Path, Any]]] = [[], [], []]
    for photo in labels:
        for kind, boxes in enumerate((photo.boxes, photo.doubtful, photo.dropped)):
            for box in boxes:  # each region is in the sample with the same chance (Vitter's algorithm R)
                counts[kind] += 1
                place = len(chosen[kind]) if len(chosen[kind]) < limit else int(rng.integers(counts[kind]))
                if place < limit:
                    chosen[kind][place : place + 1] = [(photo.path, box)]
    bands = [
        (f"{name}: {len(found)} of {count:,}", _tiles(found))
        for name, count, found in zip(KINDS, counts, chosen, strict=True)
    ]
    write_sheet(target, bands, COLUMNS, SIDE)


def _tiles(regions: list[tuple[Path, Any]]) -> list[NDArray[np.uint8]]:
    tiles = []
    for path in dict.fromkeys(path for path, _ in regions):
        try:
            image = read_photo(path).pixels
        except ImageError:  # it has changed since
            continue
        boxes = square(np.array([box for other, box in regions if other == path], np.float64))
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:3] - boxes[:, :1], 1) / 2 * AROUND
        edge = round(SIDE * (1 - 1 / AROUND) / 2)
        for tile in cut(image, np.concatenate([centre - half, centre + half], axis=1), SIDE):
            drawn = np.ascontiguousarray(tile)
            cv2.rectangle(drawn, (edge, edge), (SIDE - edge - 1, SIDE - edge - 1), BOX, 1)
            tiles.append(drawn)
    return tiles
