"""Preview of a crop store: counts by kind, and a contact sheet with the targets drawn in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.pictures.draw import save_image

from .labels import Kind
from .records import CropBatch
from .store import CropStore

__all__ = ["contact_sheet", "crop_tile", "summary"]

TILE = 72  # side of a crop on the sheet, pixels
COLUMNS, ROWS = 16, 4  # crops shown of each kind
BOX, POINT = (0, 255, 0), (255, 230, 0)


def summary(path: Path) -> str:
    """Counts by kind, in one line."""
    with closing(CropStore(path)) as store:
        counts = np.bincount(store.kinds, minlength=len(Kind))
    megabytes = (path / "data.mdb").stat().st_size / 1e6
    kinds = ", ".join(f"{counts[kind]:,} {kind.name.lower()}" for kind in Kind if counts[kind])
    return f"{len(store):,} crops ({kinds}), {megabytes:,.0f} MB"


def crop_tile(crop: NDArray[np.uint8], kind: int, offsets: NDArray[Any], points: NDArray[Any]) -> NDArray[np.uint8]:
    """One crop enlarged, with the true box or the landmarks. Lines are thin, to hide little of the crop."""
    tile = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    if kind in (Kind.PART, Kind.POS):
        x1, y1, x2, y2 = (int(v) for v in np.round((np.array([0, 0, 1, 1]) + offsets) * TILE))
        cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), BOX, 1)
    if kind == Kind.LANDMARK:
        for x, y in points * TILE:
            cv2.circle(tile, (round(float(x)), round(float(y))), 2, POINT, -1)
    return np.asarray(tile, np.uint8)


def _band(kind: Kind, batch: CropBatch, count: int) -> NDArray[np.uint8]:
    """A title, with the `count` of all crops of one kind, and the tiles of some: (h, COLUMNS * TILE, 3)."""
    title = np.full((26, COLUMNS * TILE, 3), 255, np.uint8)
    words = kind.name if count == len(batch) else f"{kind.name}: {len(batch)} of {count:,}"
    cv2.putText(title, words, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    rows = -(-len(batch) // COLUMNS)
    sheet = np.full((rows * TILE, COLUMNS * TILE, 3), 255, np.uint8)
    for i in range(len(batch)):
        y, x = divmod(i, COLUMNS)
        tile = crop_tile(batch.crops[i], int(batch.kinds[i]), batch.offsets[i], batch.landmarks[i])
        # The white line between crops covers their last pixels; dark crops would otherwise merge.
        sheet[y * TILE : (y + 1) * TILE - 1, x * TILE : (x + 1) * TILE - 1] = tile[:-1, :-1]
    return np.concatenate([title, sheet])


def contact_sheet(path: Path, target: Path, seed: int = 0) -> None:
    """Write a picture of random crops of each kind of the store at `path`, with true boxes and landmarks drawn in."""
    rng, bands = np.random.default_rng(seed), []
    with closing(CropStore(path)) as store:
        for kind in Kind:
            found = np.flatnonzero(store.kinds == kind)
            if len(found):
                chosen = rng.choice(found, min(COLUMNS * ROWS, len(found)), replace=False)
                bands.append(_band(kind, store.read(np.sort(chosen)), len(found)))
    blank = np.full((TILE, COLUMNS * TILE, 3), 255, np.uint8)
    save_image(target, np.concatenate(bands or [blank]))
