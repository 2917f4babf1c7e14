"""The sound of a video, copied into another beside its new pictures, by PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Self

import av
import av.error
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from ..terminal import tell

__all__ = ["Sound"]

_PLAYED = ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus")  # of what MP4 can hold; players know no more
_IN_MOV = ("aac", "ac3", "alac", "eac3", "mp2", "mp3", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le")
_IN = {"mov": _IN_MOV, "mp4": _PLAYED, "ipod": _PLAYED}  # by container; the others take what they say they take
_LAYOUTS = {1: "mono", 6: "5.1"}
_UNREADABLE = (av.error.FFmpegError, OSError, ValueError)


class Sound:
    """The best sound of a file on its way into a container, a little before the pictures.

    begin  seconds of the file's clock that become 0.

    As it is where the container takes its codec, and players do, else as AAC. Where it cannot be read, a line says so.
    """

    @classmethod
    def of(cls, name: str, target: OutputContainer, begin: Fraction) -> Self | None:
        """None where there is no sound. To be called before the first frame is written."""
        source: Any = None
        try:
            source = av.open(os.path.abspath(name), metadata_errors="replace")
            stream = source.streams.best("audio")
            if isinstance(stream, AudioStream) and stream.codec_context is not None:
                return cls(name, source, stream, target, begin)
        except _UNREADABLE as error:
            tell(f"{name}: its sound is left out ({error})")
        if source is not None:
            source.close()
        return None

    def __init__(
        self, name: str, source: InputContainer, stream: AudioStream, target: OutputContainer, begin: Fraction
    ) -> None:
        self._name, self._source, self._stream, self._target = name, source, stream, target
        self._packets: Iterator[Packet[Any]] = iter(source.demux(stream))
        self._waiting: Packet[Any] | None = None
        self._offset = round(begin / (stream.time_base or 1))  # in ticks of the stream
        codec = stream.codec_context.codec.canonical_name
        known = _IN.get(target.format.name)
        self._copied = codec in target.supported_codecs and (known is None or codec in known)
        self._into: Any
        if self._copied:
            self._into = target.add_stream_from_template(stream)
            self._into.codec_context.codec_tag = "\0\0\0\0"  # tags differ from container to container
        else:
            # Files may leave open which channel is which.
            layout, rate = _LAYOUTS.get(stream.codec_context.channels, "stereo"), stream.codec_context.sample_rate
            self._into = target.add_stream("aac", rate=rate, layout=layout)
            self._resampler = AudioResampler(format="fltp", layout=layout, rate=rate)

    def copy(self, until: float) -> None:
        """Copy what begins at most `until` seconds after the start. Raises what writing raises."""
        while True:
            packet = self._waiting or self._next()
            if packet is None:
                return
            self._waiting = None
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and float((time - self._offset) * packet.time_base) > until:
                self._waiting = packet
                return
            if self._copied:
                self._mux(packet)
            else:
                self._encode(packet)

    def _next(self) -> Packet[Any] | None:
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except _UNREADABLE as error:
            tell(f"{self._name}: its sound ends early ({error})")
            self._packets = iter(())
            return None

    def _mux(self, packet: Packet[Any]) -> None:
        if packet.dts is None:
            return
        packet.dts -= self._offset
        if packet.pts is not None:
            packet.pts -= self._offset
        packet.stream = self._into
        self._target.mux(packet)

    def _encode(self, packet: Packet[Any]) -> None:
        try:
            frames = packet.decode()
        except _UNREADABLE:
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= self._offset
            for piece in self._resampler.resample(frame):  # type: ignore[arg-type]
                self._target.mux(self._into.encode(piece))

    def finish(self) -> None:
        """Write what an encoder still holds."""
        if not self._copied:
            for piece in self._resampler.resample(None):
                self._target.mux(self._into.encode(piece))
            self._target.mux(self._into.encode(None))

    def close(self) -> None:
        self._source.close()
