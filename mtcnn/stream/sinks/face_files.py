"""The sink for face crops."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import MtcnnError
from ...files.outputs import note_output
from ...pictures.align import align, check_margin, crop
from ...pictures.draw import save_image
from ...terminal import tell
from ..items import Item
from ..places import Names, Places
from ..sources import Source

__all__ = ["FaceFiles"]


class FaceFiles:
    """Writes `<image>-face<n>.png`, or `<video>-frame<number>-face<n>.png`; n counts from 1, the best first.

    Names of tracked faces end in `-id<id>.png` instead: a face keeps its id from frame to frame.

    folder   for the crops. They are PNG, because a second lossy compression costs recognition accuracy.
    places   those of the run, or all its sources.
    margin   around a plain crop, see `align.crop`.
    aligned  crops of 112 x 112 on ArcFace's template instead, see `align.align`.
    """

    def __init__(
        self, folder: Path, places: Places | Iterable[Source], margin: float = 0.2, aligned: bool = False
    ) -> None:
        check_margin(margin)
        self._names = Names(folder, places, lambda source: ".png")
        self._margin, self._aligned = margin, aligned

    def write(self, item: Item) -> Item:
        """Write the crops; the item that is returned has their paths."""
        pictures = self._aligned_faces(item) if self._aligned else crop(item.image, item.faces.boxes, self._margin)
        return replace(item, crops=[self._save(item, index, picture) for index, picture in enumerate(pictures)])

    def _save(self, item: Item, index: int, picture: NDArray[np.uint8] | None) -> Path | None:
        if picture is None:
            tell(f"{item.source}: face {index + 1} lacks landmarks to align it by; left out")
            return None
        part = f"-face{index + 1}" if item.ids is None else f"-id{item.ids[index]}"
        target = self._names.path(item.source, item.frame, part)
        note_output(target)
        save_image(target, picture)
        return target

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
