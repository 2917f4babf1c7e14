"""Reads frames of videos and cameras, and writes video files, with PyAV if it is installed, else with OpenCV."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, SettingsError
from ..images import MAX_PIXELS, as_rgb
from ..settings import Range, check, require
from .addresses import Address
from .video_opencv import CODECS, OpencvReader, OpencvWriter
from .whole import is_cut

__all__ = ["CODECS", "FPS", "Frame", "Video", "VideoFile", "has_pyav"]

RGB = NDArray[np.uint8]

FPS = 25.0
"""Frames per second if a file or camera states none: FFmpeg's default for raw streams."""

_MOST_FPS = 300.0  # WebM without a rate is reported with the 1,000 ticks a second of its clock
_MEASURED = 60  # frames at the start of a video whose rate is not stated, or not sane
_FASTEST = 10_000.0  # frames per second that are believed; beyond, times are wrong
_LONGEST = 600.0  # seconds that a frame stays in a video file, whatever the clock of its source says


def has_pyav() -> bool:
    """Whether PyAV, the extra `video`, can be loaded."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


class Reader(Protocol):
    """The interface of both libraries for reading. `picture` is None if the frame could not be converted."""

    width: int
    height: int
    fps: float  # 0 or NaN where it is not known
    length: int | None  # in frames
    seconds: float  # 0 where it is not known

    def advance(self) -> float | None: ...

    def picture(self) -> RGB | None: ...

    def check_end(self) -> None: ...

    def close(self) -> None: ...


class Writer(Protocol):
    """The interface of both libraries for writing. `even`: frame times are ignored."""

    even: bool

    def write(self, image: RGB, time: float) -> None: ...

    def close(self) -> None: ...


class Frame(NamedTuple):
    """A frame of a video: its number from 0, seconds since the start, and its picture, uint8 RGB (H, W, 3)."""

    number: int
    time: float
    image: RGB


class Video:
    """The frames of a video file or of a camera.

        with Video("clip.mp4", every=5) as video:
            for frame in video: ...

    source  a file that FFmpeg can decode, an address, or `camera:N`.
    every   use every n-th frame: 0, n, 2n, ...; the others are not converted.
    first   number of the first frame to use.

    fps     frames per second, stated or of the first frames; FPS if unknown.
    length  number of frames according to the file's header, which may be a guess; None if it does not say.

    Frames are upright: the rotation that phones record is applied. Non-square pixels stay non-square.

    live    whether it has no end: a camera, or a stream of the network that states no length. Then frames that come
            while the last one is being processed are dropped.

    Raises ImageError if the source cannot be opened, or its frames cannot be converted; at the end, if there was no
    frame, some were damaged, or less than nine tenths of the stated length was there. A camera raises ImageError when
    it is unplugged, a stream when it cannot be connected again, see `video_live`.
    """

    def __init__(self, source: str | os.PathLike[str], every: int = 1, first: int = 0) -> None:
        check("every", every, Range(min=1, whole=True))
        check("first", first, Range(min=0, whole=True))
        if not isinstance(source, str | os.PathLike):  # OpenCV's cameras are numbers
            raise SettingsError(f"source is {source!r}; expected a video file, an address, or a camera as 'camera:0'")
        self.name, self.every, self.first = os.fspath(source), every, first
        self._camera = self.name.startswith("camera:")
        try:
            self._reader = _reader(self.name, self._camera)
        except ImageError:
            raise ImageError(self._not_opened()) from None
        self._check_size()
        self.live = self._camera or getattr(self._reader, "live", False)
        self.fps = self._fps()
        self.length = None if self.live else self._reader.length
        self._number, self._time, self._began = -1, 0.0, 0.0

    def _fps(self) -> float:
        """As stated; where that is not sane, by the times of the first frames, or FPS."""
        stated = self._reader.fps
        if 0 < stated <= _MOST_FPS:  # NaN is neither
            return stated
        measured = 0.0 if self.live else _measured_fps(_reader(self.name, False))
        return measured if 0 < measured <= _FASTEST else FPS

    def _not_opened(self) -> str:
        if self._camera:
            return f"{self.name}: cannot be opened; expected a camera that is connected and free; try another number"
        if not os.path.exists(self.name):
            return f"{self.name}: no such file; expected a video; check the path"
        return f"{self.name}: is not a video that can be read; expected MP4, AVI, MKV, MOV or WebM; convert it"

    def _check_size(self) -> None:
        width, height = self._reader.width, self._reader.height
        if width * height > MAX_PIXELS:
            raise ImageError(f"{self.name}: {width} x {height} pixels; expected at most {MAX_PIXELS} in all; shrink it")

    def read(self) -> Frame | None:
        """The next frame, or None at the end. Call it from one thread at a time."""
        while (clock := self._reader.advance()) is not None:
            self._number += 1
            self._time = self._time_now(clock)
            if self._number % self.every or self._number < self.first:
                continue
            picture = self._reader.picture()
            if picture is not None:
                return Frame(self._number, self._time, picture)
        self._check_end()
        return None

    def _time_now(self, clock: float) -> float:
        """Time of the current frame in seconds: the file's timestamps, which may be irregular, while they increase."""
        if self._camera:
            now = time.monotonic()
            self._began = self._began or now
            return now - self._began
        if math.isfinite(clock) and (clock > self._time or self._number == 0):
            return float(clock)
        return self._time + 1 / self.fps if self._number else 0.0

    def _check_end(self) -> None:
        if self._camera:
            raise ImageError(f"{self.name}: gives no more pictures; expected a camera that stays; check its cable")
        # A second and a tenth of grace: of some files the header gives the length of the sound. Nor is its length what
        # counts where all frames are there: encoders add to it when rates vary.
        read, length = self._number + 1, self.length
        fewer = length is None or read < 0.9 * length
        fix = "try again" if Address.matches(self.name) else "save or download it again"
        if read and fewer and self._time + 1 < 0.9 * self._reader.seconds:
            end = f"ends after {self._time:.1f} of {self._reader.seconds:.1f} seconds"
            raise ImageError(f"{self.name}: {end}; expected a whole video; {fix}")
        if length is not None and 0 < read < length and is_cut(self.name):  # even by a few frames
            raise ImageError(f"{self.name}: ends after {read} of {length} frames; expected a whole video; {fix}")
        self._reader.check_end()

    def __iter__(self) -> Iterator[Frame]:
        while frame := self.read():
            yield frame

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoFile:
    """Writes a video file: H.264 with PyAV, else MPEG-4; Motion JPEG in AVI.

    path  its suffix, one of CODECS, determines the format.
    fps   frames per second.
    size  height and width of a frame; others are resized, since a video has one size. Codecs subsample colours, so the
          last row or column of an odd side is dropped.
    like  the source video: PyAV copies its sound and pixel aspect ratio.

    written  number of frames in the file, once it is closed.

    Raises ImageError for another suffix, and if the file cannot be written; SettingsError for a rate that is not above
    0, and for sides below 2 pixels; OSError if the disk is full, as far as the library notices.
    """

    def __init__(
        self, path: str | os.PathLike[str], fps: float, size: tuple[int, int], like: str | None = None
    ) -> None:
        self.path, self.fps, self.written = Path(path), fps, 0
        if self.path.suffix.lower() not in CODECS:
            known = " ".join(CODECS)
            raise ImageError(f"{path}: unknown suffix {self.path.suffix!r}; expected one of {known}; rename it")
        check("fps", fps, Range(above=0))
        pair = isinstance(size, Sequence) and len(size) == 2 and all(map(Range(min=2, whole=True).holds, size))
        require(pair, "size", size, "a height and a width of 2 pixels or more")
        self.size = (int(size[0]), int(size[1]))
        self._writer = _writer(self.path, fps, self.size, like)
        self._next: RGB | None = None  # the last frame, which stays until the one after it
        self._time, self._cut = 0.0, 0.0

    def write(self, image: RGB, time: float | None = None) -> None:
        """Append a frame, uint8 RGB (H, W, 3).

        time  seconds since the start, rising from frame to frame; None for one frame's duration after the last one.

        If the format does not support frame times, frames are repeated or dropped: none is off by more than half a
        frame. Raises ImageError for what `as_rgb` does not take, SettingsError for a time that is not finite.
        """
        image = as_rgb(image)
        require(time is None or Range().holds(time), "time", time, "seconds since the start")
        if image.shape[:2] != self.size:
            image = np.asarray(cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        if time is None:
            time = self._time + 1 / self.fps + self._cut if self._next is not None else 0.0
        time = self._in_reach(time)
        if not self._writer.even:
            self._append(image, time)
        elif self._next is not None:
            for _ in range(round(time * self.fps) - self.written):
                self._append(self._next, time)
        self._next, self._time = image, time

    def _in_reach(self, time: float) -> float:
        """A time in which each pause is limited to _LONGEST, in case of wrong timestamps."""
        pause = time - self._cut - self._time
        self._cut += max(pause - _LONGEST, 0.0)
        return max(time - self._cut, self._time)

    def _append(self, image: RGB, time: float) -> None:
        self._writer.write(image, time)
        self.written += 1

    def close(self) -> None:
        """Finish the file; only then can it be played."""
        last, self._next = self._next, None
        try:
            if self._writer.even and last is not None:
                self._append(last, self._time)
        finally:
            self._writer.close()


def _reader(name: str, camera: bool) -> Reader:
    if camera or not has_pyav():
        return OpencvReader(name)
    from .video_pyav import PyavReader

    reader = PyavReader(name)
    if not (Address.matches(name) and Address(name).live) or reader.seconds:
        return reader
    from .video_live import LiveReader

    return LiveReader(name, lambda: PyavReader(name), reader)


def _writer(path: Path, fps: float, size: tuple[int, int], like: str | None) -> Writer:
    if not has_pyav():
        return OpencvWriter(path, fps, size)
    from .video_pyav import PyavWriter

    try:
        return PyavWriter(path, fps, size, like)
    except OSError as error:
        why = error.strerror or error
        raise ImageError(f"{path}: cannot be written ({why}); expected a folder to write to; check the path") from None


def _measured_fps(reader: Reader) -> float:
    """Frames per second by the times of the first frames; 0 where they have none."""
    try:
        clocks = [clock for _ in range(_MEASURED) if (clock := reader.advance()) is not None]
    finally:
        reader.close()
    times = sorted(clock for clock in clocks if math.isfinite(clock))
    return (len(times) - 1) / (times[-1] - times[0]) if times and times[-1] > times[0] else 0.0
