"""LZ4 frames, to read what joblib has compressed.

Source: LZ4 Frame Format 1.6.4 and LZ4 Block Format, documents of the LZ4 project. The `lz4` package does the same and
checks checksums; here it would be one more dependency, for files that are read once.
"""

from __future__ import annotations

from ..errors import CheckpointError

__all__ = ["MAGIC", "decompress"]

MAGIC = b"\x04\x22\x4d\x18"
LARGEST = 64 * 2**20  # maximum decompressed bytes: a small file can expand to 255 times its size
BLOCK_CHECKSUM, CONTENT_SIZE, DICTIONARY = 0x10, 0x08, 0x01  # flags
STORED = 1 << 31  # in a block's size: the block is not compressed


def decompress(data: bytes) -> bytes:
    """The content of an LZ4 frame. Raises CheckpointError if it is truncated or damaged; skips checksums."""
    flags = data[4] if len(data) > 6 else 0
    at = 7 + (8 if flags & CONTENT_SIZE else 0) + (4 if flags & DICTIONARY else 0)
    out = bytearray()
    while True:
        size = int.from_bytes(data[at : at + 4], "little")
        if len(data) < at + 4:
            raise _damaged()
        if size == 0:
            return bytes(out)
        start, at = at + 4, at + 4 + (size & ~STORED)
        if at > len(data):
            raise _damaged()
        if len(out) + at - start > LARGEST:
            raise _too_large()
        if size & STORED:
            out += data[start:at]
        else:
            _block(data[start:at], out)
        at += 4 if flags & BLOCK_CHECKSUM else 0


def _block(data: bytes, out: bytearray) -> None:
    """Append the decompressed content of a block. Matches may refer to earlier blocks."""
    at = 0
    while at < len(data):
        token = data[at]
        count, at = _length(data, at + 1, token >> 4)
        out += data[at : at + count]
        at += count
        if at >= len(data):  # the last sequence has no match
            if at > len(data):
                raise _damaged()
            return
        back = int.from_bytes(data[at : at + 2], "little")
        count, at = _length(data, at + 2, token & 15)  # `at` lies past the two bytes of `back`
        count += 4  # the shortest match
        if at > len(data) or not 0 < back <= len(out):
            raise _damaged()
        if len(out) + count > LARGEST:
            raise _too_large()
        start = len(out) - back
        piece = out[start : start + count]
        out += (piece * (count // len(piece) + 1))[:count]  # a match may overlap its own output


def _length(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    """A length of four bits, extended by bytes while they are 255, and the position after it."""
    if nibble < 15:
        return nibble, at
    while at < len(data):
        nibble += data[at]
        at += 1
        if data[at - 1] < 255:
            return nibble, at
    raise _damaged()


def _damaged() -> CheckpointError:
    return CheckpointError("is truncated or damaged inside its LZ4 frame; copy it again")


def _too_large() -> CheckpointError:
    return CheckpointError(f"unfolds to more than {LARGEST} bytes; expected the weights of one net")
