"""Frames of videos and cameras, and videos of frames, by OpenCV."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .addresses import Address

__all__ = ["CODECS", "OpencvReader", "OpencvWriter", "quiet"]

RGB = NDArray[np.uint8]

CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
"""Suffix of a video to write -> codec that every build of OpenCV can encode."""

_NAMES = {"av01": "AV1", "avc1": "H.264", "h264": "H.264", "hevc": "HEVC", "hev1": "HEVC", "hvc1": "HEVC"}
_FIX = "pip install 'mtcnn-cascade[video]', or convert it to H.264 without interlacing"
_ADDRESS_FRAMES = 50  # that are read a second time over the network

# What FFmpeg prints where it fails to convert a frame: OpenCV takes the frame before, or memory that was there, for it.
_CONVERSION = re.compile(r"\[[Ss]ws\w* @ \w+\] *(.+)")
_CHECK = """
import sys
import cv2
capture, left = cv2.VideoCapture(sys.argv[1]), int(sys.argv[2])
while left and capture.grab():
    capture.retrieve()
    left -= 1
"""


class OpencvReader:
    """A file, an address, or `camera:N`. Raises ImageError where OpenCV cannot open it."""

    def __init__(self, name: str) -> None:
        quiet()
        self._name, self._live = name, name.startswith("camera:")
        self._capture = cv2.VideoCapture(int(name[7:]) if self._live else name)
        if not self._capture.isOpened():
            raise ImageError(name)
        self.width, self.height = (
            int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        length = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.length = int(length) if 0 < length < 1e9 else None  # of bare streams it computes large negative numbers
        self.seconds = self.length / self.fps if self.length and self.fps > 0 else 0.0
        self._number = -1
        self._last: NDArray[np.uint8] | None = None
        self._pictures, self._checked, self._doubted = 0, 0, 0  # how many; of which frames
        self._failed = 0

    def advance(self) -> float | None:
        """Go to the next frame: its time in seconds, or None when there is none."""
        if not self._capture.grab():
            return None
        self._number += 1
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def picture(self) -> RGB | None:
        """The frame, uint8 RGB (H, W, 3); None where it cannot be converted."""
        done, bgr = self._capture.retrieve()
        if not done:
            self._failed += 1
            return None
        if not self._live:
            self._doubt(np.asarray(bgr, np.uint8))
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def _doubt(self, bgr: RGB) -> None:
        """Look closer where a frame is black or equals the one before, as all do that could not be converted.

        `retrieve` says True of them as well. A check decodes all frames so far, so that it is repeated only when there
        are twice as many.
        """
        last, self._last = self._last, bgr
        self._pictures += 1
        if not bgr.any() or (last is not None and _equal(last, bgr)):
            self._doubted = self._number + 1
            if self._doubted > 2 * self._checked:
                self._check(self._doubted)

    def _check(self, frames: int) -> None:
        """Raises ImageError when one of the first frames cannot be converted: the decoder's own complaint."""
        self._checked = frames
        if Address.matches(self._name):
            frames = min(frames, _ADDRESS_FRAMES)
        complaint = _complaint(self._name, frames)
        if complaint:
            what = f"OpenCV cannot convert its frames ({complaint})"
            raise ImageError(f"{self._name}: {what}; expected a progressive video; {_FIX}")

    def check_end(self) -> None:
        """Raises ImageError when not all frames have been decoded and converted."""
        if self._live:
            return
        if self._number < 0:
            raise ImageError(f"{self._name}: has no frame that can be decoded{self._codec()}; expected H.264; {_FIX}")
        if self._doubted > self._checked or self._pictures == 1:
            self._check(self._number + 1)
        if self._failed:
            raise ImageError(
                f"{self._name}: OpenCV cannot convert {self._failed} of its frames; expected a whole video; {_FIX}"
            )

    def _codec(self) -> str:
        number = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        code = "".join(chr(number >> shift & 255) for shift in (0, 8, 16, 24))
        if number <= 0 or not (code.isascii() and code.isprintable()):
            return ""
        return f" by OpenCV: it is {_NAMES.get(code.lower(), code.strip())}"

    def close(self) -> None:
        self._capture.release()


def _equal(one: RGB, other: RGB) -> bool:
    return np.array_equal(one[::16], other[::16]) and np.array_equal(one, other)


def _complaint(name: str, frames: int) -> str:
    """What FFmpeg says of the conversion of the first frames of a video; empty where it says nothing.

    In a process of its own: here its log goes to stderr or nowhere, for all videos and threads at once.
    """
    command = [sys.executable, "-P", "-c", _CHECK, name, str(frames)]
    # Without a level of its own OpenCV leaves the log to FFmpeg, which tells what part of it speaks.
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_FFMPEG_LOGLEVEL"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, env=environment
        )
    except OSError:  # no interpreter to start
        return ""
    found = _CONVERSION.search(done.stderr)
    return found[1].strip().rstrip(".") if found else ""


class OpencvWriter:
    """A video file with a constant rate and no sound. Raises ImageError when it cannot be written."""

    even = True  # frames have no times of their own

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        quiet()
        code = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(path), code, fps, (size[1], size[0]))
        if not self._writer.isOpened():
            raise ImageError(f"{path}: cannot be written; expected a folder to write to; check path and permissions")

    def write(self, image: RGB, time: float) -> None:
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


def quiet() -> None:
    """OpenCV and FFmpeg print to stderr what our errors tell in a line. Whoever sets the variables sees it all."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
