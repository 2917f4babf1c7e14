"""Whether a video file is as long as its container says: one that was cut off ends in the middle of a box."""

from __future__ import annotations

import os
from typing import IO

__all__ = ["is_cut"]

_SEGMENT = 0x18538067  # of Matroska and WebM, which holds all frames
_HEADER = 0x1A45DFA3
_MOST_BOXES = 100_000  # of a fragmented MP4: two for each second or so


def is_cut(path: str) -> bool:
    """Whether the end of an AVI, MP4, MOV, MKV or WebM is missing, by the sizes that it states.

    Recorders that were killed, and streams, state none; then it is False, as for other formats and unreadable files.
    """
    try:
        with open(path, "rb") as file:
            return _stated_end(file) > os.fstat(file.fileno()).st_size
    except OSError:
        return False


def _stated_end(file: IO[bytes]) -> int:
    """Where the file ends by its container, bytes from its start; 0 where that does not say."""
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        size = int.from_bytes(head[4:8], "little")
        return 0 if size == 0xFFFFFFFF else 8 + size
    file.seek(0)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _end_of_boxes(file)
    return _end_of_segment(file)


def _end_of_boxes(file: IO[bytes]) -> int:
    """The end of the last box. Source: ISO/IEC 14496-12, 4.2: a size and a type, 1 for a size of 64 bits, 0 for the
    rest of the file."""
    end = 0
    for _ in range(_MOST_BOXES):
        head = file.read(8)
        if len(head) < 8:
            break
        size, begin = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, begin = int.from_bytes(file.read(8), "big"), 16
        if size < begin:
            return 0
        end += size
        file.seek(end)
    return end


def _end_of_segment(file: IO[bytes]) -> int:
    """The end of a Matroska segment. Source: RFC 8794: an id, and a size whose bits are all 1 where it is not known."""
    while (kind := _number(file, with_length=True)) in (_HEADER, _SEGMENT):
        size = _number(file)
        if size is None:
            return 0
        if kind == _SEGMENT:
            return file.tell() + size
        file.seek(size, os.SEEK_CUR)
    return 0


def _number(file: IO[bytes], with_length: bool = False) -> int | None:
    """A number of one to eight bytes, whose zeros in front say how many follow; None where all its bits are 1."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    if with_length:
        return value
    bits = 7 * (more + 1)
    value &= (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value
