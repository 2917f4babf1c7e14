"""The sink for anonymised copies of images and videos."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...pictures.anonymise import MARGIN, Shape, Style, anonymise, check_style
from ...types import Faces
from ..gaps import GapFiller, default_gap
from ..items import Item
from ..places import Places
from ..sources import Source
from ..video import FPS
from .pictures import Pictures

if TYPE_CHECKING:
    from ...pictures.spare import Spared

__all__ = ["AnonymousCopies"]


class AnonymousCopies(Pictures):
    """Writes copies of all images and videos, even without faces, with the faces hidden.

    copies   a folder, or the file for a single copy; never the original.
    places   those of the run, or all its sources.
    gap      number of frames of a video before and after a detection in which a face is hidden too, see `GapFiller`;
             None for half a second. As many frames are kept in memory.
    spared   tells which faces stay visible; None: all are hidden.

    A copy is encoded from the upright pixels, without EXIF (location, time), thumbnails, comments or colour profiles.
    """

    setting = "blur"

    def __init__(
        self,
        copies: Path,
        places: Places | Iterable[Source],
        style: Style = "pixelate",
        margin: float = MARGIN,
        gap: int | None = None,
        shape: Shape = "box",
        spared: Spared | None = None,
    ) -> None:
        check_style(style, margin, shape)
        if gap is not None:
            GapFiller(gap)  # checks it
        super().__init__(copies, places)
        self._style, self._margin, self._gap, self._shape = style, margin, gap, shape
        self._spared = spared
        self._filler: GapFiller | None = None
        self._waiting: deque[Item] = deque()  # frames that the filler has
        self._last: Source | None = None  # video of the last frame

    def write(self, item: Item) -> None:
        video = None if item.frame is None else item.source
        if video is None or video != self._last:
            self._write_waiting()
        self._last = video
        item = self._without_spared(item)
        if item.frame is None:
            super().write(item)
            return
        if self._filler is None:
            self._filler = GapFiller(default_gap(item.fps or FPS) if self._gap is None else self._gap)
        self._waiting.append(item)
        self._write_frames(self._filler.add(item.faces.boxes))

    def _without_spared(self, item: Item) -> Item:
        """Only the faces to hide."""
        if self._spared is None:
            return item
        known = self._spared.known if item.frame is None else self._spared.followed
        return replace(item, faces=item.faces[~known(item.image, item.faces)], ids=None)

    def _write_waiting(self) -> None:
        """The video is at its end."""
        if self._spared is not None:
            self._spared.restart()
        filler, self._filler = self._filler, None
        if filler is not None:
            self._write_frames(filler.finish())

    def _write_frames(self, boxes: Iterable[NDArray[np.float64]]) -> None:
        """Write the frames that have waited longest, as many as there are boxes of."""
        for hidden in boxes:
            faces = Faces(np.asarray(hidden, np.float32), np.zeros(len(hidden), np.float32))
            super().write(replace(self._waiting.popleft(), faces=faces, ids=None))

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """The image of an item with its faces hidden, uint8 RGB (H, W, 3)."""
        return anonymise(item.image, item.faces.boxes, self._style, self._margin, self._shape)

    def close(self) -> None:
        try:
            self._write_waiting()
        finally:
            self._waiting.clear()
            super().close()
