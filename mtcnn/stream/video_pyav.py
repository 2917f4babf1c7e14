"""Frames of videos, and videos of frames, by PyAV: interlaced and AV1 videos, H.264, sound and times of their own.

PyAV is the extra `video`. It is imported with this module, which only `video.py` does, when a video is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ..errors import ImageError
from ..images import MAX_PIXELS
from ..terminal import tell
from .addresses import Address
from .video_sound import Sound

__all__ = ["PyavReader", "PyavWriter", "count_frames"]

RGB = NDArray[np.uint8]

_TIMEOUT = 30.0  # seconds without an answer from the network
_LIVE_TIMEOUT = 10.0  # the same of a camera or a broadcast
_BT601 = 6  # SMPTE 170M: the colours that swscale converts to, and its default


class PyavReader:
    """A file or an address. Raises ImageError where FFmpeg cannot open it."""

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self._container = _opened(name)
        except (av.error.FFmpegError, OSError, ValueError):
            raise ImageError(name) from None
        stream = _pictures(self._container)
        if stream is None or stream.codec_context is None:
            self._container.close()
            raise ImageError(name)
        stream.thread_type = "SLICE" if Address.matches(name) else "AUTO"  # whole frames in parallel come late
        self._stream = stream
        self.width, self.height = stream.codec_context.width, stream.codec_context.height
        self.fps = float(stream.guessed_rate or 0)
        self.seconds = _seconds(self._container, stream)
        self.length = stream.frames or round(self.seconds * self.fps) or None
        self._decoded, self._whole, self._lost, self._damaged, self._why = 0, False, 0, 0, ""
        self._frames = self._decode()
        self.frame: VideoFrame | None = None

    def _decode(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                self._why = self._why or _said(error)
                return
            try:
                yield from packet.decode()
            except (av.error.FFmpegError, OSError) as error:
                if self._decoded:  # recordings may begin between two key frames
                    self._lost, self._why = self._lost + 1, self._why or _said(error)

    def advance(self) -> float | None:
        """Go to the next frame: its time in seconds, NaN where it has none, or None when there is no frame."""
        self.frame = next(self._frames, None)
        if self.frame is None:
            return None
        self._decoded += 1
        # What is missing FFmpeg fills in from other frames, and says so. Recordings may begin between two key frames.
        self._whole = self._whole or not self.frame.is_corrupt
        self._damaged += self._whole and self.frame.is_corrupt
        if self.frame.pts is None or self.frame.time_base is None:
            return float("nan")
        start = (self._stream.start_time or 0) * (self._stream.time_base or 0)
        return float(self.frame.pts * self.frame.time_base - start)

    def picture(self) -> RGB:
        """The frame, uint8 RGB (H, W, 3), upright."""
        assert self.frame is not None
        return self.picture_of(self.frame)

    def picture_of(self, frame: VideoFrame) -> RGB:
        """The same for any frame of this video."""
        if frame.width * frame.height > MAX_PIXELS:
            raise ImageError(f"{self._name}: {frame.width} x {frame.height} pixels; expected at most {MAX_PIXELS}")
        try:
            picture = frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, ValueError) as error:
            what = f"frames of {frame.format.name} cannot be converted ({_said(error)})"
            raise ImageError(f"{self._name}: {what}; expected a video of colours or grays; convert it") from None
        return np.ascontiguousarray(_upright(picture, frame), np.uint8)

    def check_end(self) -> None:
        """Raises ImageError when not all frames have been decoded."""
        codec = self._stream.codec_context.codec.canonical_name
        if not self._decoded:
            why = f" ({self._why})" if self._why else ""
            raise ImageError(
                f"{self._name}: has no frame of {codec} that can be decoded{why}; expected a video; convert it"
            )
        if self._why:
            pieces = "1 piece" if self._lost == 1 else f"{self._lost or 'some'} pieces"
            what = f"{pieces} of {codec} cannot be decoded ({self._why})"
            raise ImageError(f"{self._name}: {what}; expected a whole video; save or download it again")
        if self._damaged:
            what = f"{self._damaged} frame{'s are' if self._damaged > 1 else ' is'} damaged"
            raise ImageError(f"{self._name}: {what}; expected a whole video; save or download it again")

    def close(self) -> None:
        self._container.close()


class PyavWriter:
    """A video file. H.264 and times of their own, but for AVI: Motion JPEG at a constant rate.

    like  the video that the frames are of: its sound is copied, and the shape of its pixels is kept.

    Raises OSError when it cannot be written.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], like: str | None = None) -> None:
        self.even = path.suffix.lower() == ".avi"
        self._fps, self._ticks, self._last = fps, -1, 0.0
        self._start, self._end = 0.0, 0.0  # of the pictures of `like`, in seconds of its sound's clock
        try:
            self._begin(path, size, like, with_sound=True)
        except (av.error.FFmpegError, ValueError) as error:
            if self._sound is None:
                raise _as_os_error(error) from None
            self._drop()
            tell(f"{like}: its sound is left out ({_said(error)})")
            self._begin(path, size, like, with_sound=False)

    def _begin(self, path: Path, size: tuple[int, int], like: str | None, with_sound: bool) -> None:
        self._sound: Sound | None = None
        self._container = av.open(os.path.abspath(path), "w")
        self._stream = self._add_pictures(size)
        if like is not None and not Address.matches(like):
            begin = self._take_over(like, size)
            self._sound = Sound.of(like, self._container, begin) if with_sound else None
        self._container.start_encoding()

    def _drop(self) -> None:
        with suppress(av.error.FFmpegError, OSError, ValueError):
            self._container.close()
        if self._sound is not None:
            self._sound.close()

    def _add_pictures(self, size: tuple[int, int]) -> VideoStream:
        codec = "mjpeg" if self.even else "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"crf": "18", "preset": "superfast", "bf": "0"} if codec == "libx264" else {"qmin": "2", "qmax": "4"}
        rate = Fraction(self._fps).limit_denominator(1001) or Fraction(1, 1001)
        stream: Any = self._container.add_stream(codec, rate=rate, options=options)
        context = stream.codec_context
        stream.height, stream.width = (side - side % 2 for side in size)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        # Of MPEG-4 a second has 65,535 ticks at most.
        context.time_base = 1 / rate if self.even else Fraction(1, 90_000 if codec == "libx264" else 60_000)
        if not self.even:
            context.colorspace, context.color_range = _BT601, 1
        return stream  # type: ignore[no-any-return]

    def _take_over(self, like: str, size: tuple[int, int]) -> Fraction:
        """The shape of the pixels, and the times. Returns when the file begins by its own clock, in seconds."""
        begin = Fraction(0)
        try:
            with _opened(like) as container:
                pictures = _pictures(container)
                if pictures is None or pictures.codec_context is None:
                    return begin
                start = (pictures.start_time or 0) * (pictures.time_base or 0)
                begin = Fraction(container.start_time or 0, 1_000_000)
                self._start = float(start - begin)
                self._end = self._start + _seconds(container, pictures)
                shape = pictures.sample_aspect_ratio
                turned = (pictures.codec_context.width > pictures.codec_context.height) != (size[1] > size[0])
                if shape and shape != 1:
                    self._stream.codec_context.sample_aspect_ratio = 1 / shape if turned else shape
        except (av.error.FFmpegError, OSError, ValueError):
            pass
        return begin

    def write(self, image: RGB, time: float) -> None:
        """Append a frame, uint8 RGB (H, W, 3), shown `time` seconds after the start of the pictures."""
        height, width = self._stream.height, self._stream.width
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        base = self._stream.codec_context.time_base
        assert base is not None
        wanted = self._ticks + 1 if self.even else round((time + self._start) / base)
        self._ticks = max(self._ticks + 1, wanted)
        frame.pts, frame.time_base = self._ticks, base
        frame.duration = max(1, round(1 / (self._fps * base)))
        self._last = float(self._ticks * base)
        try:
            if self._sound is not None:
                self._sound.copy(self._last)
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, ValueError) as error:
            raise _as_os_error(error) from None

    def close(self) -> None:
        """Finish the file, with the whole sound when the pictures are whole."""
        try:
            try:
                if self._sound is not None:
                    end = self._last + 1 / self._fps
                    self._sound.copy(float("inf") if end + 1 / self._fps > self._end > 0 else end)
                    self._sound.finish()
                self._container.mux(self._stream.encode(None))
            finally:
                if self._sound is not None:
                    self._sound.close()
                self._container.close()
        except (av.error.FFmpegError, ValueError) as error:
            raise _as_os_error(error) from None


def count_frames(path: Path) -> int:
    """How many frames a file holds, without decoding them; 0 where it is none that can be read."""
    try:
        with _opened(str(path)) as container:
            pictures = _pictures(container)
            return 0 if pictures is None else sum(packet.size > 0 for packet in container.demux(pictures))
    except (av.error.FFmpegError, OSError, ValueError):
        return 0


def _opened(name: str) -> InputContainer:
    """A file is named by its whole path: FFmpeg takes what stands before a colon for a protocol."""
    if not Address.matches(name):
        return av.open(os.path.abspath(name), metadata_errors="replace")
    options = {"rtsp_flags": "prefer_tcp"} if name.lower().startswith("rtsp") else {}
    timeout = _LIVE_TIMEOUT if Address(name).live else _TIMEOUT
    return av.open(name, metadata_errors="replace", options=options, timeout=timeout)


def _pictures(container: InputContainer) -> VideoStream | None:
    stream = container.streams.best("video")
    return stream if isinstance(stream, VideoStream) else None


def _upright(picture: NDArray[Any], frame: VideoFrame) -> NDArray[Any]:
    """A picture (H, W, 3) as the display matrix of its frame has it, to the nearest quarter turn: turned or mirrored.

    Source: ISO/IEC 14496-12, 6.2.2: (x, y) becomes (a x + c y, b x + d y).
    """
    side_data: Any = frame.side_data
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        picture, a, d = picture.transpose(1, 0, 2), c, b  # (H, W, 3) -> (W, H, 3)
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    """How long the pictures last by the header; 0 where it does not say."""
    if stream.duration and stream.time_base:
        # Of an AVI that was cut off, the duration is that of what is left.
        counted = stream.frames / stream.average_rate if stream.frames and stream.average_rate else 0
        return float(max(stream.duration * stream.time_base, counted))
    return max(container.duration or 0, 0) / 1e6


def _said(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).split("\n")[0][:120]


def _as_os_error(error: Exception) -> OSError:
    number = getattr(error, "errno", 0)
    return error if isinstance(error, OSError) else OSError(number, _said(error))
