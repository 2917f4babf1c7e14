"""What detection hands on: items, the sinks that take them, and names for the files that sinks write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..types import Faces

__all__ = ["Item", "Names", "Sink", "real"]


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """One image, or one frame of a video, and the faces in it.

    source  the file as it was named or found, or `camera:N`.
    image   uint8 RGB (H, W, 3), upright; a sink must not change it.
    faces   by falling score, pixels of `image`.
    frame   number of the frame in its video, from 0; None for an image.
    time    seconds since the start of the video; None for an image.
    fps     frames a second that come of its video, skipped ones not counted; None for an image.
    ids     one number a face, the same for the same face from frame to frame; None when faces are not tracked.
    """

    source: Path
    image: NDArray[np.uint8]
    faces: Faces
    frame: int | None = None
    time: float | None = None
    fps: float | None = None
    ids: tuple[int, ...] | None = None


class Sink(Protocol):
    """Takes items one by one, in the order of the input; prints or writes what it makes of them.

    `close` is called once, also when the run is interrupted or fails; what was written before it must be of use by
    itself. Both raise MtcnnError for what the user can mend, such as a folder that cannot be written to. Settings that
    make no sense raise ValueError when a sink is made, before anything is detected.
    """

    def write(self, item: Item) -> None: ...

    def close(self) -> None: ...


class Names:
    """Names for the files that one sink writes into one folder.

    folder     where they go; it need not exist.
    sources    all sources of the run, also those that turn out to be bad or are done already: a source has the same
               name whatever becomes of the others.
    suffix_of  the suffix, with its dot, of the files for a source.

    No two sources share a name, and no name is that of a source: a number from 2 makes it another.
    """

    def __init__(self, folder: Path, sources: Iterable[Path], suffix_of: Callable[[Path], str]) -> None:
        self.folder, self.suffix_of = folder, suffix_of
        self._root = real(folder)
        sources = list(dict.fromkeys(sources))
        self._inputs = {real(source) for source in sources}
        self._stems: dict[Path, str] = {}
        taken: set[str] = set()
        for source in sources:
            name = self._free(_stem(source), suffix_of(source), taken)
            taken.add(name)
            self._stems[source] = name.removesuffix(suffix_of(source))

    def path(self, source: Path, frame: int | None = None, part: str = "") -> Path:
        """The file for a source, for one of its frames, or for a part of either, such as "-face1"."""
        stem = f"{self._stems[source]}{'' if frame is None else f'-frame{frame:06d}'}{part}"
        return self.folder / self._free(stem, self.suffix_of(source), set())

    def _free(self, stem: str, suffix: str, taken: set[str]) -> str:
        names = chain([f"{stem}{suffix}"], (f"{stem}-{number}{suffix}" for number in count(2)))
        return next(name for name in names if name not in taken and real(self._root / name) not in self._inputs)


def real(path: Path) -> Path:
    """The path without links, to compare; other than `Path.resolve` it takes rings of links too."""
    return Path(os.path.realpath(path))


def _stem(source: Path) -> str:
    return source.stem.replace(":", "-")  # of camera:0: some file systems take no colon
