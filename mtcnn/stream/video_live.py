"""A live stream from the network: its newest frame, and a new connection where the old one is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..terminal import tell

__all__ = ["Connection", "LiveReader"]

RGB = NDArray[np.uint8]

PATIENCE = 60.0  # seconds without a frame after which a stream is given up: cameras take half a minute to start
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 8.0  # seconds between two attempts, doubled each time


class Connection(Protocol):
    """What `video_pyav.PyavReader` has. `frame` is the one that `advance` went to."""

    width: int
    height: int
    fps: float
    frame: Any

    def advance(self) -> float | None: ...

    def picture_of(self, frame: Any) -> RGB: ...

    def close(self) -> None: ...


class LiveReader:
    """A `video.Reader` of a stream that has no end.

    name     of the stream, for messages.
    connect  opens it; raises ImageError.
    first    the connection that is open already.

    A thread decodes all frames, and `advance` goes to the newest one: frames that come while the last one is being
    processed are dropped, so that results do not fall behind. A connection that ends, or gives nothing until its time
    is out, is opened again, which is reported; ImageError after PATIENCE seconds without a frame. Times go on.
    """

    seconds, live = 0.0, True
    length: int | None = None

    def __init__(self, name: str, connect: Callable[[], Connection], first: Connection) -> None:
        self._name, self._connect = name, connect
        self.width, self.height, self.fps = first.width, first.height, first.fps
        self._changed = threading.Condition()
        self._closed = False
        self._began = time.monotonic()
        self._frame: Any = None
        self._newest: tuple[Any, float] | None = None  # a frame, and seconds since the start
        self._lost = False
        self._lost_since: float | None = None  # until the next frame comes
        self._pause = FIRST_PAUSE
        self._start(first)

    def _start(self, connection: Connection) -> None:
        """Decode in a thread of its own. A thread that hangs in an old connection holds nobody up."""
        self._connection, self._lost = connection, False
        offset = time.monotonic() - self._began
        threading.Thread(target=self._decode, args=(connection, offset), name="stream", daemon=True).start()

    def _decode(self, connection: Connection, offset: float) -> None:
        try:
            first: float | None = None
            while not self._closed and (clock := connection.advance()) is not None:
                first = clock if first is None or not np.isfinite(first) else first
                with self._changed:
                    self._newest = connection.frame, offset + clock - first
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._lost = True
                self._changed.notify_all()
            connection.close()

    def advance(self) -> float:
        """Go to the newest frame, when there is one. Returns its time in seconds; NaN where it has none."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._lost or self._closed)
                if self._newest is not None:
                    (self._frame, clock), self._newest = self._newest, None
                    self._is_back()
                    return clock
            self._connect_again()

    def _is_back(self) -> None:
        if self._lost_since is not None:
            tell(f"{self._name}: connected again after {time.monotonic() - self._lost_since:.0f} seconds")
        self._lost_since, self._pause = None, FIRST_PAUSE

    def _connect_again(self) -> None:
        """Open a new connection. Only a frame ends the wait: a server may take connections and have nothing to send."""
        if self._lost_since is None:
            self._lost_since = time.monotonic()
            if not self._closed:
                tell(f"{self._name}: the connection is lost; connecting again")
        while not self._closed and time.monotonic() - self._lost_since < PATIENCE:
            time.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                connection = self._connect()
            except ImageError:
                continue
            self._start(connection)
            return
        raise ImageError(
            f"{self._name}: the connection is lost, and could not be opened again for {PATIENCE:.0f} seconds; "
            "expected a stream that goes on; check the camera and the network"
        )

    def picture(self) -> RGB:
        """The frame, uint8 RGB (H, W, 3), upright."""
        return self._connection.picture_of(self._frame)

    def check_end(self) -> None:
        """There is none."""

    def close(self) -> None:
        """The thread closes the connection, which may take until its time is out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
