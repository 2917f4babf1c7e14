"""The sink for a preview window."""

from __future__ import annotations

import os
import signal
import sys

import cv2

from ...errors import MtcnnError
from ...pictures.draw import draw_faces
from ..interrupts import Interrupted
from ..items import Item

__all__ = ["Preview"]

TITLE = "mtcnn"
ENDS = (ord("q"), 27)  # and Escape

FIX = "expected opencv-python, not its headless build, and a desktop; write pictures with `draw` instead"


class Preview:
    """Shows each item with its faces, and the ids of tracked ones, in a window.

    An image stays until a key is pressed, a frame until the next one. q and Escape raise Interrupted, as Ctrl-C does.
    Raises MtcnnError where no window can be opened.
    """

    def __init__(self) -> None:
        # Qt ends the process where it finds no display, so it must not be asked.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise MtcnnError(f"`show` finds no display; {FIX}")
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        except cv2.error:
            raise MtcnnError(f"`show` cannot open a window with this build of OpenCV; {FIX}") from None

    def write(self, item: Item) -> None:
        labels = None if item.ids is None else [f"#{number}" for number in item.ids]
        picture = draw_faces(item.image, item.faces, labels=labels)
        cv2.imshow(TITLE, picture[..., ::-1])
        if cv2.waitKey(0 if item.frame is None else 1) & 255 in ENDS:
            raise Interrupted(signal.SIGINT)

    def close(self) -> None:
        cv2.destroyWindow(TITLE)
