"""Reads sources in threads, a little ahead of the detector, to items in order, still without faces."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, repeat
from pathlib import Path

from ..errors import ImageError
from ..images import MAX_PIXELS, read_photo
from ..types import Faces
from .addresses import Address
from .items import Item
from .readers import Readers, in_order
from .sources import Piped, Source, kind_of
from .video import Frame, Video

__all__ = ["SourceDecoder", "batches", "failure"]

THREADS = 2  # decoding is a tenth of the work, and the detector wants the cores as well
PIXELS = 1 << 25  # 34 Mpx, 96 MiB: limit of pixels decoded ahead, and of a batch, plus one image per thread

Read = Item | ImageError


@dataclass
class SourceDecoder:
    """Reads sources.

    every   of a video, take each n-th frame.
    ahead   maximum number of images to read ahead; fewer if they are large.
    first   video -> the first frame to read.
    max_pixels  the largest image to decode.
    opened  is called with the number of frames of a video, or None if unknown.
    """

    every: int = 1
    ahead: int = 8
    first: Mapping[Source, int] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    opened: Callable[[int | None], object] = lambda frames: None

    def read(self, sources: Iterable[Source]) -> Generator[Read, None, None]:
        """The images and frames of `sources`, in order; an error in place of what cannot be read."""
        for images, group in groupby(sources, lambda source: kind_of(source) == "image"):
            if images:
                yield from self._read_images(group)
                continue
            for source in group:
                yield from self._read_video(source)

    def _read_images(self, sources: Iterable[Source]) -> Iterator[Read]:
        readers: Readers[Read] = Readers(THREADS)
        try:
            calls = (partial(_read_image, source, self.max_pixels) for source in sources)
            with closing(in_order(calls, readers, self.ahead, PIXELS, _weight)) as found:
                yield from found
        finally:
            readers.close()

    def _read_video(self, source: Source) -> Iterator[Read]:
        # One thread, so that frames keep their order. Opening is done there too: a pipe without a writer never opens,
        # and the main thread has to be free for signals.
        readers: Readers[object] = Readers(1)
        video: Video | ImageError | None = None
        try:
            video = readers.submit(partial(_open, source, self.every, self.first.get(source, 0))).result()  # type: ignore[assignment]
            if not isinstance(video, Video):
                assert video is not None
                yield video
                return
            left = None if video.length is None else max(0, video.length - video.first)
            self.opened(None if left is None else -(-left // self.every))
            # A camera is not read ahead, so that frames are current.
            calls = repeat(partial(_next_frame, source, video))
            with closing(in_order(calls, readers, 1 if video.live else self.ahead, PIXELS, _weight)) as frames:
                yield from _items(source, video.fps / self.every, frames)
        finally:
            if readers.close() and isinstance(video, Video):
                video.close()  # not while a thread reads from it


def failure(source: Source, error: Exception) -> ImageError:
    """Convert any exception from reading or detecting an image to an error of this image, so that others continue."""
    if isinstance(error, ImageError):
        return error if str(error).startswith(str(source)) else ImageError(f"{source}: {error}")
    if isinstance(error, MemoryError):
        return ImageError(f"{source}: takes more memory than there is; expected a smaller image; shrink it")
    why = " ".join(str(error).split())[:200]
    return ImageError(f"{source}: {type(error).__name__}: {why}; expected an image; save it again in another format")


def _read_image(source: Source, max_pixels: int) -> Read:
    try:
        photo = read_photo(source.data if isinstance(source, Piped) else source, max_pixels)
        return Item(source, photo.pixels, Faces.empty(), warning=photo.warning)
    except ImageError as error:
        return error
    except Exception as error:
        return failure(source, error)


def _open(source: Source, every: int, first: int) -> Video | ImageError:
    """Open a video. FFmpeg would treat a name with a colon as a protocol, and open the network."""
    name = str(source)
    if isinstance(source, Path) and kind_of(source) == "video":
        if not os.path.exists(source):
            return ImageError(f"{source}: no such file; expected a video; check the path")
        name = os.path.abspath(source) if ":" in name else name
    try:
        return Video(name, every, first)
    except Exception as error:
        if isinstance(source, Address):
            return ImageError(f"{source}: cannot be opened; expected a video that can be reached; check the address")
        return failure(source, error)


def _next_frame(source: Source, video: Video) -> Frame | ImageError | None:
    try:
        return video.read()
    except Exception as error:
        return failure(source, error)


def _items(source: Source, fps: float, frames: Iterable[object]) -> Iterator[Read]:
    for frame in frames:
        if not isinstance(frame, Frame):
            if isinstance(frame, ImageError):
                yield frame
            return
        yield Item(source, frame.image, Faces.empty(), frame.number, frame.time, fps)


def _weight(result: object) -> int:
    """In pixels."""
    return result.image.size // 3 if isinstance(result, Item | Frame) else 0


def batches(results: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """Batches of at most `size` images and about PIXELS pixels; single images from a camera, to avoid delay."""
    batch: list[Read] = []
    for result in results:
        batch.append(result)
        live = isinstance(result, Item) and kind_of(result.source) == "camera"
        if live or len(batch) >= size or sum(map(_weight, batch)) > PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch
