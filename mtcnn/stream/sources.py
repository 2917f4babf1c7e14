"""Resolves names to sources: files, folders, patterns, lists of names, videos, cameras and addresses."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import SettingsError
from ..files.outputs import is_output_folder, written_in
from ..images import SUFFIXES
from ..images.formats import is_heif
from .addresses import Address
from .folders import PassedOver, search

__all__ = ["VIDEO_SUFFIXES", "Kind", "Piped", "Source", "as_source", "find_sources", "image_files", "kind_of"]

Kind = Literal["image", "video", "camera"]

VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
    ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
"""Lower-case suffixes of video files."""

MAX_LIST = 2**28  # bytes that are read of a list or of standard input: a pipe may have no end

_CAMERA = re.compile(r"camera:\d+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # longer than a drive's letter


@dataclass(frozen=True, slots=True)
class Piped:
    """An image from standard input."""

    data: bytes = field(repr=False)
    stem: str = "stdin"
    suffix: str = ""
    name: str = "stdin"

    def as_posix(self) -> str:
        return "-"

    def __str__(self) -> str:
        return "-"

    def __fspath__(self) -> str:
        return "-"


Source = Path | Address | Piped
"""An image or video file or `camera:N` as a path, an address, or an image that was piped in."""


def as_source(text: str) -> Path | Address:
    """Convert user input to a source. A `file:` address is the path in it.

    Raises SettingsError for an empty name, which pathlib would turn into ".", and for addresses that are not opened.
    """
    if not text.strip():
        raise SettingsError(
            "an empty name; expected an image, a folder or a pattern; is a variable of the shell unset?"
        )
    scheme, remote = _SCHEME.match(text), Address.matches(text)
    if not remote and (scheme is None or os.path.lexists(text)):
        return Path(text)
    try:
        address = urlsplit(text)
    except ValueError as error:  # brackets, which hold an IPv6 address
        raise SettingsError(f"{text}: is no address ({error}); expected one as http://HOST/PATH; check it") from None
    if remote:
        return Address(text)
    if scheme is None or scheme[1].lower() != "file":
        raise SettingsError(f"{text}: expected a file, or an address of http, https, rtsp or rtmp; download it first")
    if address.netloc not in ("", "localhost"):
        raise SettingsError(f"{text}: is on {address.netloc}; expected a file of this machine, as file:///PATH")
    path = url2pathname(address.path)
    if "\0" in path:
        raise SettingsError(f"{text}: has %00, a null byte, which no file name has; expected file:///PATH; check it")
    return Path(path)


def kind_of(source: Source) -> Kind:
    """The kind of a source, by its name only."""
    if isinstance(source, Address):
        return "camera" if source.live else "video"
    if _CAMERA.fullmatch(str(source)):
        return "camera"
    return "video" if source.suffix.lower() in VIDEO_SUFFIXES else "image"


def find_sources(
    named: Iterable[Source],
    passed: PassedOver | None = None,
    outputs: Collection[Path] = (),
    network: bool = False,
) -> tuple[list[Source], list[str]]:
    """All named sources, each once, in order; and a line for each name that matches none.

    A file that is named in several ways, as `a.jpg` and `./a.jpg`, is one source, under its first name. A link is
    another source than the file that it leads to.

    named    files, also missing ones, because reading them reports it; folders, searched for images and videos;
             patterns, for shells that do not expand them; `camera:N`; addresses; `@FILE`, a text file with one such
             name per line; `-`, an image or such a list on standard input. Names in a list are relative to the current
             folder, as on the command line.
    passed   counts skipped files of folders.
    outputs  folders that this run writes to. They are skipped when a folder above them is searched.
    network  open the addresses in lists too: a list may come from anywhere.
    """
    problems: list[str] = []
    passed = PassedOver() if passed is None else passed
    found: dict[Source | str, Source] = {}
    real = functools.cache(os.path.realpath)
    for name in named:
        before = len(problems)
        listed = _listed(name, problems, network)
        files = list(_expand(listed, (*SUFFIXES, *VIDEO_SUFFIXES), problems, passed, outputs))
        if not files and len(problems) == before:
            problems.append(f"no image in {name}; expected image files, folders of them, patterns, videos or camera:N")
        for file in files:
            found.setdefault(os.path.join(real(file.parent), file.name) if isinstance(file, Path) else file, file)
    return list(found.values()), problems


def image_files(named: Iterable[Path]) -> Iterator[Path]:
    """The named image files, in order: files, images in folders, and matches of patterns."""
    for source in _expand(named, SUFFIXES, [], PassedOver(), ()):
        if isinstance(source, Path):
            yield source


def _listed(name: Source, problems: list[str], network: bool) -> list[Source]:
    """The names in a list; any other name is returned unchanged."""
    text = str(name)
    if isinstance(name, Address):
        return _fetchable([name], problems)
    if text != "-" and not text.startswith("@"):
        return [name]
    try:
        data = _read_list(text)
    except OSError as error:
        problems.append(f"{name}: cannot be read ({error.strerror}); expected a text file of names; check the path")
        return []
    if data is None:
        problems.append(f"{name}: more than {MAX_LIST >> 20} MiB; expected a list of names; name fewer at a time")
        return []
    if text == "-" and looks_like_image(data[:64]):
        return [Piped(data)]
    if b"\0" in data:
        expected = "is no text; expected a text file of names, one a line; name images without the @"
        if text == "-":
            expected = "is no image; expected an image or a list of names, one a line; name videos as files"
        problems.append(f"{name}: {expected}")
        return []
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")  # not splitlines: a name may hold U+2028
    sources = []
    for line in lines:
        if line.strip():
            try:
                sources.append(as_source(line.removesuffix("\r")))
            except SettingsError as error:
                problems.append(str(error))
    addresses = [source for source in sources if isinstance(source, Address)]
    if addresses and not network:
        problems.append(f"{name}: {addresses[0]} in a list is not opened; expected files; allow it with `network`")
        return [source for source in sources if not isinstance(source, Address)]
    return _fetchable(sources, problems)


def _read_list(text: str) -> bytes | None:
    """The content of a list or of standard input, or None if it is too long."""

    def read(stream: IO[bytes]) -> bytes | None:
        data = stream.read(MAX_LIST + 1)
        return data if len(data) <= MAX_LIST else None

    if text == "-":
        return read(sys.stdin.buffer)
    with open(text[1:], "rb") as stream:
        return read(stream)


def looks_like_image(head: bytes) -> bool:
    """Whether bytes begin like a common image format, rather than a list of names."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")):
        return True
    still = is_heif(head) or head[4:12] in (b"ftypavif", b"ftypavis")  # MP4 is in boxes too
    boxed = still or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    return boxed or (head[:2] == b"BM" and b"\0" in head) or re.match(rb"P[1-6]\s+\d+\s+\d+\s", head) is not None


def _fetchable(sources: Iterable[Source], problems: list[str]) -> list[Source]:
    """Remove addresses of photos: only videos are read over the network."""
    kept = []
    for source in sources:
        if isinstance(source, Address) and source.suffix.lower() in SUFFIXES:
            problems.append(f"{source}: photos are not read over the network; expected a video; download it first")
        else:
            kept.append(source)
    return kept


def _expand(
    named: Iterable[Source],
    suffixes: Collection[str],
    problems: list[str],
    passed: PassedOver,
    outputs: Collection[Path],
) -> Iterator[Source]:
    for path in named:
        if not isinstance(path, Path):
            yield path
        elif os.path.isdir(path):  # other than `Path.is_dir` it takes names of any length
            yield from search(path, suffixes, problems, passed, outputs)
        elif has_magic(str(path)) and not os.path.lexists(path):
            matches = [Path(name) for name in sorted(glob(str(path), recursive=True))]
            asked = path.parent if is_output_folder(path.parent) and path.parent not in outputs else None
            yield from _expand(_no_outputs(matches, asked, passed), suffixes, problems, passed, outputs)
        else:
            yield path


def _no_outputs(matches: Iterable[Path], asked: Path | None, passed: PassedOver) -> Iterator[Path]:
    """Remove outputs of earlier commands, except those in the folder `asked`: a pattern names its folder."""
    written = functools.cache(written_in)
    for path in matches:
        if path.parent != asked and path.name in written(path.parent) and not os.path.isdir(path):
            passed.add_output(path)
        else:
            yield path
