"""Small videos for tests: moving pieces of a real photo, and plain frames whose brightness encodes their number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.stream.video import VideoFile

__all__ = ["SECOND", "face_clip", "number_of", "numbered", "write_clip"]

HEIGHT, WIDTH, SIDE = 120, 200, 88
SECOND = {*range(90, 140), *range(146, 200), *range(260, 300)}
"""The frames of `face_clip` that show a second face: gone for six frames, and later for sixty."""


def write_clip(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float = 25.0) -> Path:
    """A video of frames of one size; the suffix says which kind."""
    clip: VideoFile | None = None
    for frame in frames:
        if clip is None:
            clip = VideoFile(path, fps, frame.shape[:2])
        clip.write(frame)
    assert clip is not None
    clip.close()
    return path


def numbered(count: int, height: int = 48, width: int = 64) -> Iterable[NDArray[np.uint8]]:
    """Uniformly gray frames whose brightness encodes their number: see `number_of`."""
    return (np.full((height, width, 3), 20 + 10 * (number % 20), np.uint8) for number in range(count))


def number_of(picture: NDArray[np.uint8]) -> int:
    """The number of a frame of `numbered` below 20, from its pixels; codecs move its brightness by up to four."""
    return round((float(picture.mean()) - 18) / 10)


def face_clip(path: Path, astronaut: NDArray[Any], count: int = 300, fps: float = 30.0) -> Path:
    """A face that sways on the left for `count` frames, and in the frames SECOND another one on the right."""
    face = np.asarray(cv2.resize(astronaut[:230, 110:340], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return write_clip(path, (_frame(face, number) for number in range(count)), fps)


def _frame(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for shown, left, phase in ((True, 6, 0.0), (number in SECOND, WIDTH - SIDE - 6, 2.0)):
        if shown:
            x = left + round(6 * np.sin(number / 9 + phase))
            y = 16 + round(12 * np.cos(number / 14 + phase))
            picture[y : y + SIDE, x : x + SIDE] = face[:, :: 1 if phase == 0 else -1]
    return picture
