"""Items, the results of detection, and the interface of sinks."""

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
    fps     processed frames per second of its video; None for an image.
    ids     one id per face, which stays the same from frame to frame; None if faces are not tracked.
    crops   the file of each face's crop, None for a face without one; None if no crops are written.
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
    """Prints or writes items one by one, in the order of the input.

    `write` may return a modified item, which the following sinks get instead. `close` is called once, even if the run
    is interrupted or fails; what was written before it must be usable. Both raise MtcnnError for errors that the user
    can fix, such as an unwritable folder, and ImageError if only this item is affected. Invalid settings raise
    SettingsError on construction, before anything is detected.
    """

    def write(self, item: Item) -> Item | None: ...

    def close(self) -> None: ...
