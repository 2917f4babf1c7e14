"""Chooses the paths of a run's outputs, so that they replace no source, no other output and no foreign file.

Paths are compared by device and inode, because names are ambiguous: `..`, links and letter case.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Callable, Container, Iterable
from itertools import chain, count
from pathlib import Path

from ..errors import SettingsError
from ..files.outputs import written_in
from .sources import Source

__all__ = ["Names", "Places", "check_output", "folded", "identity", "safe_stem"]

_MAX_BYTES = 200  # of a stem: file systems take names of 255, and frames, faces and drafts add to it


def identity(path: str | os.PathLike[str]) -> tuple[int, int] | str:
    """The identity of a file: device and inode, or the path if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)  # without links; other than `Path.resolve` it takes rings of links too
    return status.st_dev, status.st_ino


def check_output(setting: str, output: Path, photos: Iterable[Path]) -> None:
    """Raises SettingsError if the file that `setting` names is one of the photos, which it would replace."""
    if output.exists() and identity(output) in {identity(photo) for photo in photos}:
        raise SettingsError(f"`{setting}` {output} is one of the photos; expected another file")


class Places:
    """The files that one run may write.

    sources  all sources of the run, including bad and finished ones, so that names do not depend on the outcome of
             others.
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
        """Whether a path refers to one of the sources."""
        return identity(path) in self._inputs

    def reserve(self, folder: Path, stem: str, suffix: str) -> Path:
        """Reserve a free path in `folder`, with a number from 2 on if the name is taken.

        A path is free if it does not exist, or if this project wrote it earlier, see `files.outputs`.
        """
        place = self._real(folder)
        names = chain([f"{stem}{suffix}"], (f"{stem}-{number}{suffix}" for number in count(2)))
        name = next(name for name in names if self._is_free(place, name))
        self._taken.add((place, folded(name)))
        return folder / name

    def _is_free(self, place: str, name: str) -> bool:
        path = os.path.join(place, name)
        if (place, folded(name)) in self._taken or identity(path) in self._inputs:
            return False
        if not os.path.lexists(path):
            return True
        if place not in self._written:
            self._written[place] = written_in(Path(place))
        return name in self._written[place]


def folded(name: str) -> str:
    """Normalise a name: some file systems ignore letter case or compose accents."""
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
