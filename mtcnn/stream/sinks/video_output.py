"""A video file written whole: to a draft that takes its place when it is finished and holds every frame."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, SettingsError, WriteError
from ...files.atomic_write import atomic_write
from ..video import VideoFile, has_pyav

__all__ = ["VideoOutput"]


class VideoOutput:
    """A `VideoFile` that appears at `path` when it is closed. Raises WriteError when it cannot be written whole.

    like  the video that the frames are of, see `VideoFile`.

    Not every encoder reports a full disk: the file is read again before it takes the place of an earlier one.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], like: str | None = None) -> None:
        self.path, self._stack = path, ExitStack()
        try:
            self._draft = self._stack.enter_context(atomic_write(path, path.suffix))
            self._file = VideoFile(self._draft, fps, size, like)
        except SettingsError as error:  # frames too small for a video
            with self._stack:
                raise WriteError(f"{path}: cannot be written: {error}") from None
        except (ImageError, OSError) as error:
            with self._stack:
                why = _reason(error) if isinstance(error, OSError) else "no folder to write to"
                raise WriteError(self._cannot(why)) from None

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame, uint8 RGB (H, W, 3), shown from `time` on, in seconds."""
        try:
            self._file.write(image, time)
        except OSError as error:
            raise WriteError(self._cannot(_reason(error))) from None

    def close(self) -> None:
        with self._stack:
            try:
                self._file.close()
            except OSError as error:
                raise WriteError(self._cannot(_reason(error))) from None
            found = _frames(self._draft, self._file.written)
            if found < self._file.written:
                raise WriteError(self._cannot(f"{found} of {self._file.written} frames arrived, the disk may be full"))

    def _cannot(self, why: str) -> str:
        return f"{self.path}: cannot be written ({why}); expected a folder with free space; check the path"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _frames(path: Path, expected: int) -> int:
    """How many frames a file holds: by its header where that has all of them, otherwise counted."""
    if has_pyav():
        from ..video_pyav import count_frames

        return count_frames(path)
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            return 0
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count >= expected:
            return count
        count = 0
        while capture.grab():
            count += 1
        return count
    finally:
        capture.release()
