"""Where the outputs of a run go: paths that no source, no other output and no file of anybody else has.

Paths are compared as files, by device and inode: a name may lead anywhere through `..`, links and letter case.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Callable, Container, Iterable
from itertools import chain, count
from pathlib import Path

from ..files.outputs import written_in
from .sources import Source

__all__ = ["Names", "Places", "identity", "safe_stem"]

_MAX_BYTES = 200  # of a stem: file systems take names of 255, and frames, faces and drafts add to it


def identity(path: str | os.PathLike[str]) -> tuple[int, int] | str:
    """What two names of one file have in common: its device and inode, or its path where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)  # without links; other than `Path.resolve` it takes rings of links too
    return status.st_dev, status.st_ino


class Places:
    """The files that one run may write.

    sources  all sources of the run, also those that turn out to be bad or are done already: an output has the same
             name whatever becomes of the others.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(dict.fromkeys(sources))
        self._inputs = {identity(source) for source in self.sources}
        self._taken: set[tuple[str, str]] = set()
        self._written: dict[str, Container[str]] = {}
        self._real = functools.cache(os.path.realpath)

    @classmethod
    def of(cls, sources: Places | Iterable[Source]) -> Places:
        return sources if isinstance(sources, Places) else cls(sources)

    def is_input(self, path: Path) -> bool:
        """Whether a path leads to one of the sources."""
        return identity(path) in self._inputs

    def reserve(self, folder: Path, stem: str, suffix: str) -> Path:
        """A path in `folder` that is free, and will not be given again: numbers from 2 make it another.

        Free is what does not exist, and what this project wrote there earlier, see `files.outputs`.
        """
        place = self._real(folder)
        names = chain([f"{stem}{suffix}"], (f"{stem}-{number}{suffix}" for number in count(2)))
        name = next(name for name in names if self._is_free(place, name))
        self._taken.add((place, _folded(name)))
        return folder / name

    def _is_free(self, place: str, name: str) -> bool:
        path = os.path.join(place, name)
        if (place, _folded(name)) in self._taken or identity(path) in self._inputs:
            return False
        if not os.path.lexists(path):
            return True
        if place not in self._written:
            self._written[place] = written_in(Path(place))
        return name in self._written[place]


def _folded(name: str) -> str:
    """Names that are one on file systems which ignore letter case or compose accents."""
    return unicodedata.normalize("NFC", name).casefold()


class Names:
    """Names for the files that one sink writes into one folder.

    folder     where they go; it need not exist.
    places     those of the run, or all its sources.
    suffix_of  the suffix, with its dot, of the files for a source.
    """

    def __init__(self, folder: Path, places: Places | Iterable[Source], suffix_of: Callable[[Source], str]) -> None:
        self.folder, self.suffix_of = folder, suffix_of
        self._places = Places.of(places)
        self._paths = {
            source: self._places.reserve(folder, safe_stem(source), suffix_of(source))
            for source in self._places.sources
        }

    def path(self, source: Source, frame: int | None = None, part: str = "") -> Path:
        """The file for a source; a new one for one of its frames, or for a part of either, such as "-face1"."""
        path = self._paths[source]
        if frame is None and not part:
            return path
        suffix = self.suffix_of(source)
        stem = f"{path.name.removesuffix(suffix)}{'' if frame is None else f'-frame{frame:06d}'}{part}"
        return self._places.reserve(self.folder, stem, suffix)


def safe_stem(source: Source) -> str:
    """The name of a source without its suffix, as the beginning of a file name.

    Without colons, which some file systems do not take; never a name that leads out of its folder.
    """
    stem = "stdin" if str(source) == "-" else source.stem.replace(":", "-")
    stem = os.fsdecode(os.fsencode(stem)[:_MAX_BYTES])
    return "_" if stem.strip(".") == "" else stem
