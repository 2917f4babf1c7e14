"""Sources as items without faces yet: read in threads, a little ahead of the detector, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, repeat
from pathlib import Path
from threading import Condition
from typing import TypeVar

from ..errors import ImageError
from ..images import read_image
from ..types import Faces
from .items import Item
from .sources import kind_of
from .video import Frame, Video

__all__ = ["Decoder", "batches"]

THREADS = 2  # decoding is a tenth of the work, and the detector wants the cores as well
PIXELS = 1 << 25  # 34 Mpx, 96 MiB: no more is decoded ahead, nor put into a batch, than this and one image a thread

T = TypeVar("T")
Read = Item | ImageError


@dataclass
class Decoder:
    """Reads sources.

    every   of a video, take each n-th frame.
    ahead   how many images are read ahead; fewer when they are large.
    first   by video, the first frame that is wanted.
    opened  is told how many frames will come of a video, or None where that is not known.
    """

    every: int = 1
    ahead: int = 8
    first: Mapping[Path, int] = field(default_factory=dict)
    opened: Callable[[int | None], object] = lambda frames: None

    def read(self, sources: Iterable[Path]) -> Generator[Read, None, None]:
        """The images and frames of `sources`, in order; an error in the place of what cannot be read."""
        for images, group in groupby(sources, lambda source: kind_of(source) == "image"):
            if images:
                yield from _in_threads((partial(_read_image, source) for source in group), THREADS, self.ahead)
                continue
            for source in group:
                yield from self._read_video(source)

    def _read_video(self, source: Path) -> Iterator[Read]:
        try:
            video = Video(source, self.every, self.first.get(source, 0))
        except ImageError as error:
            yield error
            return
        with video:
            left = None if video.length is None else max(0, video.length - video.first)
            self.opened(None if left is None else -(-left // self.every))
            # One thread, so that frames keep their order. A camera is not read ahead: its picture shall be of now.
            calls = repeat(partial(_next_frame, video))
            with closing(_in_threads(calls, 1, 1 if video.live else self.ahead)) as frames:
                yield from _items(source, video.fps / self.every, frames)


def _read_image(source: Path) -> Read:
    try:
        return Item(source, read_image(source), Faces.empty())
    except ImageError as error:
        return error


def _next_frame(video: Video) -> Frame | ImageError | None:
    try:
        return video.read()
    except ImageError as error:
        return error


def _items(source: Path, fps: float, frames: Iterable[Frame | ImageError | None]) -> Iterator[Read]:
    for frame in frames:
        if not isinstance(frame, Frame):
            if frame is not None:
                yield frame
            return
        yield Item(source, frame.image, Faces.empty(), frame.number, frame.time, fps)


class _Room:
    """Lets threads decode while what waits to be taken has at most PIXELS."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting = 0  # pixels
        self._wanted = 0  # number of the result that is to be taken next: for this one there is always room
        self._closed = False

    def decode(self, number: int, call: Callable[[], T]) -> T:
        """What `call` returns, which is the result of this number."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= PIXELS or number == self._wanted or self._closed)
            if self._closed:
                raise CancelledError
        result = call()
        with self._changed:
            self._waiting += _pixels([result])
        return result

    def take(self, future: Future[T]) -> T:
        """The next result, waited for."""
        result = future.result()
        with self._changed:
            self._waiting -= _pixels([result])
            self._wanted += 1
            self._changed.notify_all()
        return result

    def close(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _in_threads(calls: Iterable[Callable[[], T]], threads: int, ahead: int) -> Generator[T, None, None]:
    """What `calls` return, in order; at most `ahead` of them, or PIXELS, wait to be taken."""
    room = _Room()
    with ThreadPoolExecutor(threads, "decode") as pool:
        flying: deque[Future[T]] = deque()
        try:
            for number, call in enumerate(calls):
                flying.append(pool.submit(room.decode, number, call))
                if len(flying) > ahead:
                    yield room.take(flying.popleft())
            while flying:
                yield room.take(flying.popleft())
        finally:
            room.close()
            for future in flying:
                future.cancel()


def _pixels(results: Iterable[object]) -> int:
    return sum(result.image.size // 3 for result in results if isinstance(result, Item | Frame))


def batches(results: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """Runs of at most `size` images, or one run more than PIXELS long; one at a time from a camera, to be in time."""
    batch: list[Read] = []
    for result in results:
        batch.append(result)
        live = isinstance(result, Item) and kind_of(result.source) == "camera"
        if live or len(batch) >= size or _pixels(batch) > PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch
