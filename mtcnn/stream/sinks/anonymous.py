"""The sink for hidden faces: copies of images and videos in which nobody is recognised."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...pictures.anonymise import MARGIN, Style, anonymise, check_style
from ..items import Item
from ..places import Places
from ..sources import Source
from .pictures import Pictures

__all__ = ["AnonymousCopies"]


class AnonymousCopies(Pictures):
    """Copies of images and videos with the faces hidden, also of those without faces.

    copies   a folder, or the file for a single copy; never the original.
    places   those of the run, or all its sources.

    A copy is written anew from the pixels, upright as a viewer shows them: EXIF with its places and times, thumbnails,
    comments and colour profiles are not in it, nor is the sound of a video.
    """

    setting = "blur"

    def __init__(
        self, copies: Path, places: Places | Iterable[Source], style: Style = "pixelate", margin: float = MARGIN
    ) -> None:
        check_style(style, margin)
        super().__init__(copies, places)
        self._style, self._margin = style, margin

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """The image of an item with its faces hidden, uint8 RGB (H, W, 3)."""
        return anonymise(item.image, item.faces.boxes, self._style, self._margin)
