"""Searches folders for images and videos, and counts the files that it skips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ..files.outputs import MARKERS, is_output_folder, written_in

__all__ = ["PassedOver", "search"]

# Thumbnails and metadata that operating systems, cameras and network drives store next to photos, and folders of
# programs: they are skipped silently.
_LITTER = {
    "$recycle.bin", "#recycle", "#snapshot", ".@__thumb", ".appledouble", ".cache", ".ds_store", ".fseventsd", ".git",
    ".hg", ".idea", ".ipynb_checkpoints", ".spotlight-v100", ".svn", ".temporaryitems", ".thumbnails", ".thumbs",
    ".trash", ".trashes", ".venv", ".vscode", "@eadir", "@recently-snapshot", "@recycle", "__macosx", "lost+found",
    "system volume information", "thumbs.db", *MARKERS,
}  # fmt: skip

_RAW = (".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw")
_HEIC = (".heic", ".heics", ".heif", ".heifs", ".hif")
_OTHER = (".eps", ".exr", ".hdr", ".ico", ".jxl", ".jxr", ".pcx", ".psd", ".svg", ".tga", ".wdp", ".xcf")
_ARCHIVES = (".7z", ".rar", ".tar", ".tgz", ".zip")
_REASONS = {
    **dict.fromkeys(_RAW, ("{} raw photo", "convert {them} to JPEG or TIFF")),
    **dict.fromkeys(_HEIC, ("{} HEIC image", "pip install pillow-heif")),
    **dict.fromkeys(_OTHER, ("{} image{s} of a format that is not read", "convert {them} to PNG or JPEG")),
    **dict.fromkeys(_ARCHIVES, ("{} archive", "unpack {them}")),
}
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\x1aE\xdf\xa3")
_PLAIN = {
    ".cfg", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".mat", ".md", ".npy", ".npz", ".pdf",
    ".pt", ".py", ".rst", ".safetensors", ".toml", ".tsv", ".txt", ".xml", ".xmp", ".yaml", ".yml",
}  # fmt: skip


@dataclass
class PassedOver:
    """Skipped files that may be photos, counted by kind, with advice."""

    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _first: dict[tuple[str, str], Path] = field(default_factory=dict)

    def add(self, path: Path, what: str, fix: str) -> None:
        """Count a file. `what` has {} for the number, and {s} for the plural's s if it is not at the end."""
        self._counts[what, fix] += 1
        self._first.setdefault((what, fix), path)

    def add_output(self, path: Path) -> None:
        """Count a file that an earlier command wrote."""
        self.add(path, "{} output{s} of an earlier command", "name {them} to read {them}")

    def lines(self) -> list[str]:
        """Such as "skipped 3 HEIC images, such as x/IMG_1.HEIC: pip install pillow-heif"."""
        return [self._line(key, count) for key, count in self._counts.items()]

    def _line(self, key: tuple[str, str], count: int) -> str:
        what, fix = key
        s, them, such = ("", "it", "") if count == 1 else ("s", "them", "such as ")
        name = (what if "{s}" in what else f"{what}{{s}}").format(count, s=s)
        return f"skipped {name}, {such}{self._first[key]}: {fix.format(them=them)}"


def search(
    folder: Path, suffixes: Collection[str], problems: list[str], passed: PassedOver, outputs: Collection[Path] = ()
) -> list[Path]:
    """Images and videos below `folder`, sorted. Links to folders are followed, each folder is searched once.

    A folder with the suffix of an image but no images in it is treated as a bad image. Hidden files, files of other
    programs, outputs of this project and the folders `outputs` are skipped. A folder of outputs is only read if it is
    `folder` itself, and not in `outputs`.
    """
    places = {os.path.realpath(path) for path in outputs}
    wanted = is_output_folder(folder) and os.path.realpath(folder) not in places
    return sorted(_Search(frozenset(suffixes), problems, passed, places, folder if wanted else None).below(folder))


@dataclass
class _Search:
    suffixes: frozenset[str]
    problems: list[str]
    passed: PassedOver
    outputs: Collection[str]
    wanted: Path | None  # a folder whose outputs are asked for
    seen: set[tuple[int, int]] = field(default_factory=set)  # device and inode of folders

    def below(self, folder: Path) -> Iterator[Path]:
        links: list[Path] = []
        yield from self._real(folder, links)
        while links:  # after the folders that they may lead to, which then keep their own names
            yield from self._real(links.pop(0), links)

    def _real(self, folder: Path, links: list[Path]) -> Iterator[Path]:
        """What lies below a folder; links to folders are added to `links`."""
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in self.seen:
                return
            self.seen.add((status.st_dev, status.st_ino))
            with os.scandir(str(folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.problems.append(f"{folder}: cannot be searched ({error.strerror}); check its permissions")
            return
        written = () if folder == self.wanted else written_in(folder)
        count = 0
        for entry in entries:
            path = folder / entry.name
            if self._hidden(path, entry):
                continue
            if _is_folder(entry):
                inside = self._folder(path, entry, links)
            else:
                inside = iter([path] if self._wanted(path, entry, entry.name in written) else [])
            for each in inside:
                count += 1
                yield each
        if not count and folder.suffix.lower() in self.suffixes:
            yield folder

    def _folder(self, path: Path, entry: os.DirEntry[str], links: list[Path]) -> Iterator[Path]:
        if os.path.realpath(path) in self.outputs:
            for _ in self._real(path, []):
                self.passed.add(
                    path, "{} picture{s} in the output folder of this command", "name {them} to read {them}"
                )
        elif entry.is_symlink():
            links.append(path)
        else:
            yield from self._real(path, links)

    def _hidden(self, path: Path, entry: os.DirEntry[str]) -> bool:
        name = entry.name.lower()
        if name in _LITTER or name.startswith(("._", ".trash-")):
            return True
        if not name.startswith("."):
            return False
        if _is_folder(entry):
            self.passed.add(path, "{} hidden folder", "name {them} to search {them}")
        elif path.suffix.lower() in self.suffixes:
            self.passed.add(path, "{} hidden file", "name {them} to read {them}")
        return True

    def _wanted(self, path: Path, entry: os.DirEntry[str], is_output: bool) -> bool:
        suffix = path.suffix.lower()
        # A dangling link is kept, because reading it reports it. A pipe or a device is not: opening it may block
        # forever.
        if not _is_file(entry) and os.path.exists(path):
            if suffix in self.suffixes:
                self.passed.add(path, "{} pipe{s} or device{s}", "name {them} to read {them}")
            return False
        if suffix in _HEIC and find_spec("pillow_heif") is None:
            self.passed.add(path, *_REASONS[suffix])
        elif suffix not in self.suffixes:
            self._account(path, suffix)
        elif is_output:
            self.passed.add_output(path)
        else:
            return True
        return False

    def _account(self, path: Path, suffix: str) -> None:
        """Count a file that may be an image or a video despite its suffix."""
        if suffix in _REASONS:
            self.passed.add(path, *_REASONS[suffix])
        elif suffix not in _PLAIN and _has_signature(path):
            self.passed.add(path, "{} image{s} or video{s} without the usual suffix", "name {them} or rename {them}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cycle of links
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _has_signature(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return (
        head.startswith(_SIGNATURES) or head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:] in (b"WEBP", b"AVI "))
    )
