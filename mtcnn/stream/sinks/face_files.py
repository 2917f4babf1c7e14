"""The sink of `--crop`: every face as a picture of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import MtcnnError
from ...pictures.align import align, check_margin, crop
from ...pictures.draw import save_image
from ..items import Item, Names

__all__ = ["FaceFiles"]


class FaceFiles:
    """Writes `<image>-face<n>.png`, or `<video>-frame<number>-face<n>.png`; n counts from 1, the best first.

    folder   where the pictures go. They are PNG, for a second compression would cost what recognition lives on.
    sources  all sources of the run.
    margin   around a plain crop, see `align.crop`.
    aligned  crops of 112 x 112 on ArcFace's template instead, see `align.align`.
    """

    def __init__(self, folder: Path, sources: Sequence[Path], margin: float = 0.2, aligned: bool = False) -> None:
        check_margin(margin)
        self._names = Names(folder, sources, lambda source: ".png")
        self._margin, self._aligned = margin, aligned

    def write(self, item: Item) -> None:
        pictures = self._aligned_faces(item) if self._aligned else crop(item.image, item.faces.boxes, self._margin)
        for number, picture in enumerate(pictures, 1):
            if picture is None:
                tqdm.write(
                    f"mtcnn: {item.source}: face {number} lacks landmarks to align it by; left out", file=sys.stderr
                )
                continue
            target = self._names.path(item.source, item.frame, f"-face{number}")
            with suppress(OSError):  # what is wrong with the folder, save_image tells
                target.parent.mkdir(parents=True, exist_ok=True)
            save_image(target, picture)

    def _aligned_faces(self, item: Item) -> list[NDArray[np.uint8] | None]:
        """The faces on the template; None for one whose points are unknown or all in one place."""
        points = item.faces.landmarks
        if points is None:
            if len(item.faces):
                raise MtcnnError("`crop_align` needs landmarks and these models find none; use `crop` alone")
            return []
        found: list[NDArray[np.uint8] | None] = []
        for face in points:
            try:
                found.append(align(item.image, face)[0])
            except ValueError:
                found.append(None)
        return found

    def close(self) -> None:
        """Nothing is left open between faces."""
