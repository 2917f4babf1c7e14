"""Reads text files from a folder or an archive, with limits against decompression bombs and endless archives.

An archive header may claim any size, and the real size is only known after decompression. So tar reads through
`_Bounded`, which counts bytes; each text and their total are limited by the size of the archive.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from ..errors import DataError

__all__ = ["MAX_TEXT", "text_files"]

MAX_TEXT = 1 << 22
"""Bytes of one file: more than 100,000 detections."""
RATIO, SPARE = 100, 1 << 24  # maximum decompressed size, as a multiple of the archive's; text needs 5
MAX_MEMBERS = 1 << 18  # of an archive; all of WIDER FACE has 32,203 images
HEADER = 1 << 11  # bytes that a member counts for, besides its own: reading a header takes time
MAX_READ = 1 << 20  # at once: tar reads the names in its headers whole

EXPECTED = "expected a folder, .tar.xz, .tar, .tgz or .zip"
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open,
}  # fmt: skip
# Exceptions of Python's modules for damaged, encrypted or unsupported archives.
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, OSError, LookupError,
    ValueError, TypeError, AttributeError, OverflowError, MemoryError, RuntimeError,
)  # fmt: skip


def text_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside, content) of the .txt files of a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz.

    Raises DataError for what cannot be read, for a text of more than MAX_TEXT bytes, and for an archive that unfolds to
    far more bytes than it has.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected a folder or archive of <event>/<image>.txt")
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*.txt")) if file.is_file())
        yield from ((file.relative_to(path).as_posix(), _content(file)) for file in files)
        return
    try:
        yield from _zip_texts(path) if zipfile.is_zipfile(path) else _tar_texts(path)
    except _BROKEN as error:
        # tarfile's message lists every compression it tried, a line each.
        reason = str(error).partition("\n")[0].rstrip(":")[:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); {EXPECTED}") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a text file") from error
    return _whole(path, content)


def _whole(where: object, content: bytes) -> bytes:
    if len(content) > MAX_TEXT:
        raise DataError(f"{where} has more than {MAX_TEXT} bytes; expected the detections of one image")
    return content


class _ArchiveBudget:
    """The remaining budget of bytes and members of an archive."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes, self.members = path, RATIO * path.stat().st_size + SPARE, MAX_MEMBERS

    def spend(self, count: int, members: int = 0) -> None:
        self.bytes -= count
        self.members -= members
        if min(self.bytes, self.members) < 0:
            raise DataError(
                f"{self.path}: unfolds to far more than {RATIO} times its size; expected detections; do not trust it"
            )


def _zip_texts(path: Path) -> Iterator[tuple[str, bytes]]:
    budget = _ArchiveBudget(path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".txt"):
                continue
            if info.flag_bits & 1:
                raise DataError(f"{path}: is encrypted; expected an archive that needs no password")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others Python reads all
                raise DataError(f"{path}: is packed by method {info.compress_type}; expected a zip of the usual kind")
            budget.spend(min(info.file_size, MAX_TEXT), 1)
            with archive.open(info) as file:
                yield info.filename, _whole(f"{path}/{info.filename}", file.read(MAX_TEXT + 1))


def _tar_texts(path: Path) -> Iterator[tuple[str, bytes]]:
    budget = _ArchiveBudget(path)
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        packed = next((opened for magic, opened in _PACKED.items() if start.startswith(magic)), None)
        stream = _Bounded(cast(IO[bytes], file if packed is None else packed(file)), budget)
        with tarfile.open(fileobj=cast(Any, stream), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all
                if member.size < 0:  # then the next member would be one that was
                    raise DataError(f"{path}: has a member of {member.size} bytes; expected 0 or more; copy it again")
                if member.isfile() and member.name.endswith(".txt"):
                    if member.size > MAX_TEXT:
                        _whole(f"{path}/{member.name}", bytes(MAX_TEXT + 1))
                    text = archive.extractfile(member)
                    assert text is not None  # only links and folders have none
                    yield member.name, text.read()
                budget.spend(HEADER, 1)


class _Bounded(io.RawIOBase):
    """A file of which at most a budget of bytes can be read or skipped."""

    def __init__(self, file: IO[bytes], budget: _ArchiveBudget) -> None:
        self._file, self._budget, self._furthest = file, budget, 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(MAX_READ, MAX_TEXT):
            raise tarfile.ReadError(f"a header claims {size} bytes")
        content = self._file.read(size)
        self._count(self._file.tell())
        return content

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or place < 0:
            raise tarfile.ReadError(f"a header leads to {place}")
        self._count(place)
        return self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def _count(self, place: int) -> None:
        if place > self._furthest:
            self._budget.spend(place - self._furthest)
            self._furthest = place
