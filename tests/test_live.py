"""Live streams: the newest frame, and another connection where one is lost."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from mtcnn.errors import ImageError
from mtcnn.stream import video_live
from mtcnn.stream.video import Video
from mtcnn.stream.video_live import LiveReader


class Connection:
    """Frames at given times. At their end it sets `reached` and waits for `gate`; `closed` is set by `close`."""

    width, height, fps = 8, 6, 25.0
    frame: Any = None

    def __init__(self, clocks: list[float], gate: threading.Event | None = None) -> None:
        self._clocks, self._gate = iter(clocks), gate
        self.reached, self.closed = threading.Event(), threading.Event()

    def advance(self) -> float | None:
        clock = next(self._clocks, None)
        if clock is None:
            self.reached.set()
            if self._gate is not None:
                self._gate.wait(60)
        self.frame = clock if clock is not None else self.frame
        return clock

    def picture_of(self, frame: Any) -> Any:
        return np.full((self.height, self.width, 3), frame, np.uint8)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_live, "FIRST_PAUSE", 0.0)


def test_only_the_newest_frame_is_taken() -> None:
    """All five have been decoded before the first is asked for."""
    gate = threading.Event()
    connection = Connection([7.0, 8.0, 9.0, 10.0, 11.0], gate)
    reader = LiveReader("rtsp://camera", lambda: connection, connection)
    assert connection.reached.wait(60)
    assert reader.advance() == pytest.approx(4.0, abs=60)  # 11 - 7, and what the start took
    assert reader.picture().max() == 11
    reader.close()
    gate.set()
    assert connection.closed.wait(60)


def test_a_lost_connection_is_opened_again(capsys: pytest.CaptureFixture[str]) -> None:
    gate = threading.Event()
    first, second = Connection([1.0]), Connection([100.0], gate)
    answers = iter([ImageError("no"), ImageError("no"), second])

    def connect() -> Any:
        answer = next(answers)
        if isinstance(answer, ImageError):
            raise answer
        return answer

    reader = LiveReader("rtsp://camera", connect, first)
    one = reader.advance()
    assert (reader.picture().max(), first.closed.wait(60)) == (1, True)
    other = reader.advance()
    assert (reader.picture().max(), other >= one) == (100, True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mtcnn: rtsp://camera: the connection is lost; connecting again"
    assert lines[1].startswith("mtcnn: rtsp://camera: connected again after ")
    reader.close()
    gate.set()


def test_it_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_live, "PATIENCE", 0.0)

    def connect() -> Any:
        raise ImageError("no")

    reader = LiveReader("rtsp://camera", connect, Connection([1.0]))
    reader.advance()
    with pytest.raises(ImageError, match=r"rtsp://camera: the connection is lost, and could not be opened again for 0"):
        reader.advance()


def test_connections_without_a_frame_are_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a server that takes each connection, whose camera is off."""
    clock, made = iter(range(10_000)), []

    class Time:
        monotonic = staticmethod(lambda: float(next(clock)))
        sleep = staticmethod(lambda pause: None)

    def connect() -> Any:
        made.append(Connection([]))
        assert len(made) <= video_live.PATIENCE
        return made[-1]

    monkeypatch.setattr(video_live, "time", Time)
    reader = LiveReader("rtsp://camera", connect, Connection([1.0]))
    reader.advance()
    with pytest.raises(ImageError, match=r"could not be opened again for 60 seconds"):
        reader.advance()
    assert len(made) > 10
    assert capsys.readouterr().err.splitlines() == ["mtcnn: rtsp://camera: the connection is lost; connecting again"]


def test_a_video_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live if no length is stated; a recording that a server plays is read whole."""
    pyav = pytest.importorskip("mtcnn.stream.video_pyav")
    gate = threading.Event()

    class Reader(Connection):
        seconds = 0.0
        length = None

        def __init__(self, name: str) -> None:
            super().__init__([0.0], gate)

    monkeypatch.setattr(pyav, "PyavReader", Reader)
    with Video("rtsp://host/camera") as video:
        assert (video.live, video.length, video.fps) == (True, None, 25.0)
        frame = video.read()
        assert frame is not None
        assert (frame.number, frame.image.shape) == (0, (6, 8, 3))
    gate.set()
    monkeypatch.setattr(Reader, "seconds", 12.0)
    assert not Video("rtsp://host/recording").live
