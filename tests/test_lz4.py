"""LZ4 decompression: sequences by hand, round trips with a small compressor, and damage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtcnn.errors import CheckpointError
from mtcnn.importers import lz4

START = b"\x04\x22\x4d\x18\x40\x40\xc0"


def frame(*blocks: bytes) -> bytes:
    return START + b"".join(struct.pack("<I", len(block)) + block for block in blocks) + bytes(4)


def length(value: int) -> tuple[int, bytes]:
    """The four bits of a length, and the bytes that follow."""
    return (value, b"") if value < 15 else (15, b"\xff" * ((value - 15) // 255) + bytes([(value - 15) % 255]))


def sequence(literals: bytes, back: int = 0, match: int = 4) -> bytes:
    (first, more), (second, rest) = length(len(literals)), length(match - 4)
    if not back:
        return bytes([first << 4]) + more + literals
    return bytes([first << 4 | second]) + more + literals + struct.pack("<H", back) + rest


def compress(data: bytes) -> bytes:
    """A block: at each place the longest match within 40 bytes, if it has 4 or more."""
    out, literals, at = bytearray(), bytearray(), 0
    while at < len(data):
        best, back = 0, 0
        for distance in range(1, min(at, 40) + 1):
            size = 0
            while at + size < len(data) and data[at + size] == data[at + size - distance]:
                size += 1
            if size > best:
                best, back = size, distance
        if best >= 4:
            out += sequence(bytes(literals), back, best)
            literals.clear()
            at += best
        else:
            literals.append(data[at])
            at += 1
    return bytes(out + sequence(bytes(literals)))


@pytest.mark.parametrize(
    ("blocks", "content"),
    [
        ([], b""),
        ([b"\x30abc"], b"abc"),
        ([b"\x30abc\x03\x00\x00"], b"abcabca"),  # a match of 4, then a last sequence without literals
        ([b"\x10a\x01\x00\x10b"], b"aaaaab"),  # a match that overlaps what it makes
        ([b"\x1fa\x01\x00\x02\x00"], b"a" * 22),  # 15 + 2 + 4 more
        ([b"\xf0\x01" + b"x" * 16], b"x" * 16),
        ([b"\x40abcd", b"\x00\x04\x00\x00"], b"abcdabcd"),  # back into the block before
    ],
)
def test_by_hand(blocks: list[bytes], content: bytes) -> None:
    assert lz4.decompress(frame(*blocks)) == content


def test_stored_blocks_checksums_and_sizes() -> None:
    stored = struct.pack("<I", 3 | 1 << 31) + b"abc"
    assert lz4.decompress(START + stored + bytes(4)) == b"abc"
    with_sums = b"\x04\x22\x4d\x18" + bytes([0x40 | 0x10 | 0x08 | 0x04]) + b"\x40" + struct.pack("<Q", 3) + b"\xc0"
    assert lz4.decompress(with_sums + stored + b"sum!" + bytes(4) + b"all!") == b"abc"


@given(st.lists(st.tuples(st.binary(max_size=30), st.integers(1, 60)), max_size=8))
def test_decompresses_what_was_compressed(parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * count for part, count in parts)
    assert lz4.decompress(frame(compress(data))) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        START,
        START + b"\x05\x00\x00\x00abc",
        frame(b"\x30abc")[:-4],
        frame(b"\x30ab"),
        frame(b"\xf0\xff"),
        frame(b"\x10a\x02\x00\x00"),  # back to before the start
        frame(b"\x10a\x00\x00\x00"),
        frame(b"\x10a\x01"),
    ],
)
def test_damage(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="LZ4"):
        lz4.decompress(data)


def test_a_small_file_cannot_fill_the_memory() -> None:
    with pytest.raises(CheckpointError, match="unfolds to more than"):
        lz4.decompress(frame(sequence(b"a", 1, 80 * 2**20)))
