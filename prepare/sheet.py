"""Contact sheets: pictures of tiles in rows, with titles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.files.outputs import note_output
from mtcnn.pictures.draw import save_image
from mtcnn.resample import resample

__all__ = ["fitted", "write_sheet"]

RGB = NDArray[np.uint8]

TITLE = 26  # pixels of a title's height
GAP = 2  # white pixels between tiles; dark ones would otherwise merge
PAPER = 255


def fitted(image: RGB, side: int) -> tuple[RGB, float]:
    """The image shrunk to a longer side of at most `side` pixels, and the factor."""
    scale = min(1.0, side / max(image.shape[:2]))
    if scale == 1.0:
        return np.ascontiguousarray(image), scale
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return resample(image, height, width), scale


def write_sheet(target: Path, bands: Sequence[tuple[str, Sequence[RGB]]], columns: int, side: int) -> None:
    """Write bands of tiles, each with a title, in `columns` of `side` pixels. Tiles are at most that large.

    Raises ImageError or WriteError as `save_image` does.
    """
    width = columns * (side + GAP)
    parts = [part for title, tiles in bands for part in (_title(title, width), _tiles(tiles, columns, side))]
    note_output(target, own_folder=False)
    save_image(target, np.concatenate(parts or [np.full((TITLE, width, 3), PAPER, np.uint8)]))


def _title(text: str, width: int) -> RGB:
    band = np.full((TITLE, width, 3), PAPER, np.uint8)
    plain = text.encode("ascii", "replace").decode()  # the letters that OpenCV's font has
    cv2.putText(band, plain, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return band


def _tiles(tiles: Sequence[RGB], columns: int, side: int) -> RGB:
    """Rows as high as their highest tile."""
    step = side + GAP
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    sheet: list[NDArray[Any]] = [np.zeros((0, columns * step, 3), np.uint8)]
    for row in rows:
        band = np.full((max(tile.shape[0] for tile in row) + GAP, columns * step, 3), PAPER, np.uint8)
        for i, tile in enumerate(row):
            band[: tile.shape[0], i * step : i * step + tile.shape[1]] = tile
        sheet.append(band)
    return np.concatenate(sheet)
