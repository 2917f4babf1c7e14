"""Videos and cameras as frames, and frames as a video file, by OpenCV."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, SettingsError
from ..images import MAX_PIXELS

__all__ = ["CODECS", "FPS", "Frame", "Video", "VideoFile"]

RGB = NDArray[np.uint8]

FPS = 25.0
"""Frames a second where a file or a camera does not say: what FFmpeg assumes of bare streams."""

CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
"""Suffix of a video to write -> codec that every build of OpenCV can encode."""

_MOST_FPS = 300.0  # WebM without a rate is reported with the 1,000 ticks a second of its clock


class Frame(NamedTuple):
    """A frame of a video: its number from 0, seconds since the start, and its picture, uint8 RGB (H, W, 3)."""

    number: int
    time: float
    image: RGB


class Video:
    """The frames of a video file or of a camera.

        with Video("clip.mp4", every=5) as video:
            for frame in video: ...

    source  a file that OpenCV can decode, or `camera:N`.
    every   take each n-th frame: 0, n, 2n, ...; the rest is not converted.
    first   the least number of a frame to take.

    fps     frames a second of the whole video, FPS where it is not known.
    length  how many frames there are by the header of the file, which may be a guess; None where it does not say.

    Frames are upright: OpenCV applies the rotation that phones record. Raises ImageError when the source cannot be
    opened; at the end, when there was no frame at all, or less than nine tenths of what the header told. A camera has
    no end: it raises when it is gone.
    """

    def __init__(self, source: str | os.PathLike[str], every: int = 1, first: int = 0) -> None:
        if every < 1:
            raise SettingsError(f"every is {every}; expected 1 or more")
        self.name, self.every, self.first = os.fspath(source), every, first
        self.live = self.name.startswith("camera:")
        _quiet()
        self._capture = cv2.VideoCapture(int(self.name[7:]) if self.live else self.name)
        if not self._capture.isOpened():
            raise ImageError(self._not_opened())
        self._check_size()
        self.fps = _sane_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self.length = None if self.live else _sane_length(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._number, self._time, self._began = -1, 0.0, 0.0

    def _not_opened(self) -> str:
        if self.live:
            return f"{self.name}: cannot be opened; expected a camera that is connected and free; try another number"
        if not Path(self.name).exists():
            return f"{self.name}: no such file; expected a video; check the path"
        return f"{self.name}: is not a video that can be read; expected MP4, AVI, MKV, MOV or WebM; convert it"

    def _check_size(self) -> None:
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            raise ImageError(f"{self.name}: {width} x {height} pixels; expected at most {MAX_PIXELS} in all; shrink it")

    def read(self) -> Frame | None:
        """The next frame, or None at the end. To be called from one thread at a time."""
        while self._capture.grab():
            self._number += 1
            self._time = self._time_now()
            if self._number % self.every or self._number < self.first:
                continue
            done, bgr = self._capture.retrieve()
            if done:
                return Frame(self._number, self._time, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))
        self._check_end()
        return None

    def _time_now(self) -> float:
        """Seconds of the frame just grabbed: of the file's clock, which need not tick evenly, as long as it ticks."""
        if self.live:
            now = time.monotonic()
            self._began = self._began or now
            return now - self._began
        clock = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isfinite(clock) and (clock > self._time or self._number == 0):
            return float(clock)
        return self._time + 1 / self.fps if self._number else 0.0

    def _check_end(self) -> None:
        if self.live:
            raise ImageError(f"{self.name}: gives no more pictures; expected a camera that stays; check its cable")
        if self._number < 0:
            raise ImageError(f"{self.name}: has no frame that can be decoded; expected a video; convert it")
        reported = self._capture.get(cv2.CAP_PROP_FPS)
        whole = self.length / reported if self.length and reported > 0 else 0.0  # seconds
        # A second and a tenth of grace: of some files the header gives the length of the sound.
        if self._time + 1 < 0.9 * whole:
            end = f"ends after {self._time:.1f} of {whole:.1f} seconds"
            raise ImageError(f"{self.name}: {end}; expected a whole video; save or download it again")

    def __iter__(self) -> Iterator[Frame]:
        while frame := self.read():
            yield frame

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoFile:
    """A video file to write.

    path  its suffix, one of CODECS, decides the format.
    fps   frames a second.
    size  height and width of a frame; others are resized, for a video has one size. Codecs halve the sides of the
          colours, so of an odd side the last row or column is left out.

    Raises ImageError for another suffix, and when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float, size: tuple[int, int]) -> None:
        self.path, self.size, self.written = Path(path), size, 0
        codec = CODECS.get(self.path.suffix.lower())
        if codec is None:
            known = " ".join(CODECS)
            raise ImageError(f"{path}: unknown suffix {self.path.suffix!r}; expected one of {known}; rename it")
        _quiet()
        code = cv2.VideoWriter.fourcc(*codec)
        self._writer = cv2.VideoWriter(str(path), code, fps, (size[1], size[0]))
        if not self._writer.isOpened():
            raise ImageError(f"{path}: cannot be written; expected a folder to write to; check path and permissions")

    def write(self, image: RGB) -> None:
        """Append a frame, uint8 RGB (H, W, 3)."""
        if image.shape[:2] != self.size:
            image = np.asarray(cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.written += 1

    def close(self) -> None:
        """Finish the file; only then can it be played."""
        self._writer.release()


def _quiet() -> None:
    """OpenCV and FFmpeg print to stderr what our errors tell in a line. Whoever sets the variables sees it all."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _sane_fps(reported: float) -> float:
    return reported if 0 < reported <= _MOST_FPS else FPS  # NaN is neither


def _sane_length(reported: float) -> int | None:
    return int(reported) if 0 < reported < 1e9 else None  # of bare streams OpenCV computes large negative numbers
