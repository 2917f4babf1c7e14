"""What a user names, as a list of sources: files, folders, patterns, lists of names, videos and cameras."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

from ..images import SUFFIXES

__all__ = ["VIDEO_SUFFIXES", "Kind", "find_sources", "image_files", "kind_of"]

Kind = Literal["image", "video", "camera"]

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".webm", ".wmv",
)  # fmt: skip
"""Suffixes, lower case, of files that are taken for videos."""

_CAMERA = re.compile(r"camera:\d+")


def kind_of(source: Path) -> Kind:
    """What a source is, by its name alone."""
    if _CAMERA.fullmatch(str(source)):
        return "camera"
    return "video" if source.suffix.lower() in VIDEO_SUFFIXES else "image"


def find_sources(named: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """All sources that are named, each once, in order; and a line for each name that stands for none.

    named  files as they are, missing ones too, for reading them tells; folders, searched through for images and videos;
           patterns, for shells that do not expand them; `camera:N`; `@FILE`, a text file of such names, one a line;
           `-`, such a list on standard input. Names in a list are relative to the current folder, as they would be on
           the command line.
    """
    problems: list[str] = []
    found: dict[Path, None] = {}  # an ordered set
    for name in named:
        before = len(problems)
        files = list(_expand(_listed(name, problems), (*SUFFIXES, *VIDEO_SUFFIXES), problems))
        if not files and len(problems) == before:
            problems.append(f"no image in {name}; expected image files, folders of them, patterns, videos or camera:N")
        found.update(dict.fromkeys(files))
    return list(found), problems


def image_files(named: Iterable[Path]) -> Iterator[Path]:
    """The image files that are named: files as they are, folders searched through, patterns expanded, in order."""
    return _expand(named, SUFFIXES, [])


def _listed(name: Path, problems: list[str]) -> list[Path]:
    """The names in a list; a name that is no list, as it is."""
    if str(name) != "-" and not str(name).startswith("@"):
        return [name]
    try:
        data = sys.stdin.buffer.read() if str(name) == "-" else Path(str(name)[1:]).read_bytes()
    except OSError as error:
        problems.append(f"{name}: cannot be read ({error.strerror}); expected a text file of names; check the path")
        return []
    if b"\0" in data:
        problems.append(f"{name}: is no text; expected a text file of names, one a line; name images without the @")
        return []
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")  # not splitlines: a name may hold U+2028
    return [Path(line.removesuffix("\r")) for line in lines if line.strip()]


def _expand(named: Iterable[Path], suffixes: Collection[str], problems: list[str]) -> Iterator[Path]:
    for path in named:
        if path.is_dir():
            yield from sorted(_search(path, suffixes, problems))
        elif has_magic(str(path)) and not os.path.lexists(path):
            yield from _expand(map(Path, sorted(glob(str(path), recursive=True))), suffixes, problems)
        else:
            yield path


def _search(folder: Path, suffixes: Collection[str], problems: list[str]) -> Iterator[Path]:
    """Files below `folder`, unsorted. A folder with the suffix of an image and none inside counts as a bad image."""

    def refused(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be searched ({error.strerror}); check its permissions")

    for above, folders, files in os.walk(folder, onerror=refused):
        here = Path(above)
        yield from (path for name in files if _wanted(path := here / name, suffixes))
        for name in folders:
            if (path := here / name).suffix.lower() in suffixes and next(_search(path, suffixes, []), None) is None:
                yield path


def _wanted(path: Path, suffixes: Collection[str]) -> bool:
    # A link to nowhere is kept, for reading it tells. A pipe or a device is not: opening it may wait forever.
    return path.suffix.lower() in suffixes and (path.is_file() or not path.exists())
