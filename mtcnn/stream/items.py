"""What detection hands on: items, and the sinks that take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..types import Faces
from .sources import Source

__all__ = ["Item", "Sink"]


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """One image, or one frame of a video, and the faces in it.

    source  the file as it was named or found, `camera:N`, an address, or "-".
    image   uint8 RGB (H, W, 3), upright; a sink must not change it.
    faces   by falling score, pixels of `image`.
    frame   number of the frame in its video, from 0; None for an image.
    time    seconds since the start of the video; None for an image.
    fps     frames a second that come of its video, skipped ones not counted; None for an image.
    ids     one number a face, the same for the same face from frame to frame; None when faces are not tracked.
    crops   one file a face, its crop; None for a face without one, and when no crops are written.
    warning  what was noted when the image was read, such as that it ends early; mostly empty.
    """

    source: Source
    image: NDArray[np.uint8]
    faces: Faces
    frame: int | None = None
    time: float | None = None
    fps: float | None = None
    ids: tuple[int, ...] | None = None
    crops: Sequence[Path | None] | None = None
    warning: str = ""


class Sink(Protocol):
    """Takes items one by one, in the order of the input; prints or writes what it makes of them.

    `write` may return the item with something added, which the sinks after it are given instead.
    `close` is called once, also when the run is interrupted or fails; what was written before it must be of use by
    itself. Both raise MtcnnError for what the user can mend, such as a folder that cannot be written to: ImageError
    where only this item is concerned. Settings that make no sense raise SettingsError when a sink is made, before
    anything is detected.
    """

    def write(self, item: Item) -> Item | None: ...

    def close(self) -> None: ...
