"""Wraps the strips or tiles of a TIFF in one with 8 bits a sample, for Pillow to decompress."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import IO

from PIL import Image

from .tiff_layout import GRAY, Layout, Tag

__all__ = ["as_bytes"]

_LONG, _SHORT = 4, 3  # field types, as TIFF 6.0 numbers them
_SHORTS = (Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL_ORDER, Tag.SAMPLES)
_PLAIN = 1  # compression: none
_RATIO = 2  # compressed data are seldom longer than the pixels, and never twice as long


def as_bytes(layout: Layout, stream: IO[bytes], plane: int = 0) -> Image.Image:
    """A loaded image of mode L whose pixels are the bytes of each row, of the image or of one of its planes.

    Raises ValueError if the strips are longer than any compression makes them or reach beyond the end of the file;
    damaged ones raise Pillow's errors.
    """
    many = len(layout.blocks) // layout.planes
    blocks = layout.blocks[plane * many : (plane + 1) * many]
    across, wide = _bytes(layout, layout.across), _bytes(layout, layout.width)
    if layout.compression == _PLAIN:  # writers get the lengths in the tags wrong, and readers ignore them
        over = 0 if layout.tiled else many * layout.down - layout.height  # rows that the last strip lacks
        blocks = [(at, across * (layout.down - (over if i == many - 1 else 0))) for i, (at, _) in enumerate(blocks)]
    elif sum(length for _, length in blocks) > _RATIO * many * layout.down * across + 1024 * many:
        raise ValueError("its strips are longer than its pixels")
    data, entries = BytesIO(), []
    data.write(b"II*\0" + bytes(4))
    for offset, length in blocks:
        stream.seek(offset)
        entries.append((data.tell(), length))
        part = stream.read(length)
        if len(part) < length:
            raise ValueError("it ends early")
        data.write(part)
    _write_directory(data, layout, entries, wide, across)
    data.seek(0)
    image = Image.open(data, formats=("TIFF",))
    image.load()
    return image


def _bytes(layout: Layout, pixels: int) -> int:
    """Bytes of `pixels` pixels of a row."""
    return -(-pixels * layout.in_row * layout.bits // 8)


def _write_directory(data: BytesIO, layout: Layout, blocks: list[tuple[int, int]], wide: int, across: int) -> None:
    offsets, lengths = ([block[i] for block in blocks] for i in (0, 1))
    tags = {
        Tag.WIDTH: [wide],
        Tag.HEIGHT: [layout.height],
        Tag.BITS: [8],
        Tag.COMPRESSION: [layout.compression],
        Tag.PHOTOMETRIC: [GRAY],
        Tag.FILL_ORDER: [layout.fill_order],
        Tag.SAMPLES: [1],
    }
    if layout.tiled:
        tags |= {Tag.TILE_WIDTH: [across], Tag.TILE_HEIGHT: [layout.down], Tag.TILES: offsets, Tag.TILE_BYTES: lengths}
    else:
        tags |= {Tag.STRIPS: offsets, Tag.ROWS: [layout.down], Tag.STRIP_BYTES: lengths}
    rows = []
    for tag, values in sorted(tags.items()):
        kind, form = (_SHORT, "H") if tag in _SHORTS else (_LONG, "I")
        content = struct.pack(f"<{len(values)}{form}", *values)
        if len(content) > 4:
            where = data.tell()
            data.write(content)
            content = struct.pack("<I", where)
        rows.append(struct.pack("<HHI", tag, kind, len(values)) + content.ljust(4, b"\0"))
    where = data.tell()
    data.write(struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4))
    data.seek(4)
    data.write(struct.pack("<I", where))
