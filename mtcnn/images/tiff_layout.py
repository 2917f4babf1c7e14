"""The layout of a TIFF's samples, from its tags. Source: TIFF 6.0, section 8 and the extensions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from ..errors import ImageError

__all__ = ["CMYK", "GRAY", "PALETTE", "WHITE_IS_ZERO", "Layout", "Tag", "deep_layout"]

WHITE_IS_ZERO, GRAY, COLOUR, PALETTE, CMYK = 0, 1, 2, 3, 5  # PhotometricInterpretation
_COLOURS = {WHITE_IS_ZERO: 1, GRAY: 1, COLOUR: 3, PALETTE: 1, CMYK: 4}
_KINDS = {2: "signed", 3: "float", 5: "complex", 6: "complex"}  # SampleFormat
_BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate, PackBits, deflate, LZMA, Zstandard
_PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Tag(IntEnum):
    """The TIFF fields that are read here."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS = 278
    STRIP_BYTES = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_BYTES = 325
    SUB_IFDS = 330
    INK_SET = 332
    EXTRA = 338
    SAMPLE_FORMAT = 339


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the samples of the first image are, and what they mean.

    order         byte order of 16-bit samples, "<" or ">".
    bits          a sample, 9 to 16.
    samples       a pixel: `colours` of them, 1 to 4, then alpha if there is one.
    planes        1 if the samples of a pixel are interleaved, else the number of samples.
    differences   whether each sample is stored as the difference to the one on its left (predictor 2).
    across, down  width and height of a strip or tile in pixels; a strip is as wide as the image.
    blocks        offset and length in bytes of each strip or tile, plane by plane, row by row.
    palette       uint16 (N, 3), empty without one.
    """

    height: int
    width: int
    order: str
    bits: int
    samples: int
    photometric: int
    alpha: Literal["none", "straight", "multiplied"]
    planes: int
    compression: int
    fill_order: int
    differences: bool
    orientation: int
    tiled: bool
    across: int
    down: int
    blocks: list[tuple[int, int]]
    palette: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 3), np.uint16))

    @property
    def colours(self) -> int:
        return _COLOURS[self.photometric]

    @property
    def has_alpha(self) -> bool:
        return self.alpha != "none"

    @property
    def in_row(self) -> int:
        """Interleaved samples a pixel."""
        return self.samples if self.planes == 1 else 1


def deep_layout(stream: IO[bytes], name: str) -> Layout | None:
    """The layout of a TIFF with more than 8 bits a sample; None for other files, and if the tags are unreadable.

    Raises ImageError for samples that could only be converted by a guess (signed, floating point, over 16 bits), and
    for unknown layouts.
    """
    tags = _tags(stream)
    if tags is None:
        return None
    bits = _all(tags, Tag.BITS, 1)
    kinds = _all(tags, Tag.SAMPLE_FORMAT, 1)
    if strange := next((kind for kind in kinds if kind in _KINDS), None):
        raise _refused(name, f"has {max(bits)}-bit {_KINDS[strange]} samples")
    if max(bits) > 16:
        raise _refused(name, f"has {max(bits)}-bit samples")
    if tags.get(Tag.SUBFILE, 0) & 1 and Tag.SUB_IFDS in tags:
        raise _refused(name, "is a raw photo, of which only the thumbnail can be read", "develop it, or use its JPEG")
    if max(bits) <= 8:
        return None
    if len(set(bits)) > 1:
        raise _refused(name, f"has samples of {', '.join(map(str, bits))} bits")
    return _layout(tags, name, bits[0])


def _tags(stream: IO[bytes]) -> Any:
    """The first directory, read by Pillow; None if it is damaged, which is reported when the file is opened."""
    stream.seek(0)
    head = stream.read(16)
    if head[:4] not in _PREFIXES:
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(head if head[2] == 43 else head[:8])
        stream.seek(tags.next)
        tags.load(stream)
        _all(tags, Tag.BITS, 1), _all(tags, Tag.SAMPLE_FORMAT, 1), tags.get(Tag.SUBFILE, 0) & 1
    except MemoryError:
        raise
    except Exception:  # Pillow raises a dozen types
        return None
    return tags


def _all(tags: Any, tag: int, otherwise: int) -> tuple[int, ...]:
    values = tags.get(tag, otherwise)
    return tuple(int(value) for value in (values if isinstance(values, tuple) else (values,)))


def _refused(name: str, what: str, fix: str = "save it with 8 bits") -> ImageError:
    return ImageError(f"{name}: {what}; expected unsigned samples of 8 or 16 bits; {fix}")


def _one(tags: Any, tag: int, otherwise: int) -> int:
    return _all(tags, tag, otherwise)[0]


def _layout(tags: Any, name: str, bits: int) -> Layout:
    what = f"has {bits}-bit samples"
    _check_kind(tags, name, what, bits)
    samples, photometric = _one(tags, Tag.SAMPLES, 1), _one(tags, Tag.PHOTOMETRIC, -1)
    tiled, across, down = _grid(tags)
    layout = Layout(
        height=_one(tags, Tag.HEIGHT, 0),
        width=_one(tags, Tag.WIDTH, 0),
        order="<" if tags.prefix == b"II" else ">",
        bits=bits,
        samples=samples,
        photometric=photometric,
        alpha=_alpha(tags, name, what, samples - _COLOURS[photometric]),
        planes=samples if _one(tags, Tag.PLANAR, 1) == 2 else 1,
        compression=_one(tags, Tag.COMPRESSION, 1),
        fill_order=_one(tags, Tag.FILL_ORDER, 1),
        differences=_one(tags, Tag.PREDICTOR, 1) == 2,
        orientation=_one(tags, Tag.ORIENTATION, 1),
        tiled=tiled,
        across=across,
        down=down,
        blocks=_blocks(tags, tiled),
        palette=_palette(tags, photometric, bits),
    )
    _check_sizes(layout, name, what)
    return layout


def _check_kind(tags: Any, name: str, what: str, bits: int) -> None:
    photometric, predictor = _one(tags, Tag.PHOTOMETRIC, -1), _one(tags, Tag.PREDICTOR, 1)
    if photometric not in _COLOURS or (photometric == CMYK and _one(tags, Tag.INK_SET, 1) != 1):
        raise _refused(name, f"{what} of photometric interpretation {photometric}")
    if (compression := _one(tags, Tag.COMPRESSION, 1)) not in _BYTEWISE:
        raise _refused(name, f"{what} in compression {compression}")
    if predictor not in (1, 2) or (predictor == 2 and bits != 16):
        raise _refused(name, f"{what} behind predictor {predictor}")


def _grid(tags: Any) -> tuple[bool, int, int]:
    """Whether there are tiles, and the width and height of a strip or tile."""
    if Tag.TILES in tags:
        return True, _one(tags, Tag.TILE_WIDTH, 0), _one(tags, Tag.TILE_HEIGHT, 0)
    height = _one(tags, Tag.HEIGHT, 0)
    return False, _one(tags, Tag.WIDTH, 0), min(_one(tags, Tag.ROWS, height), height)


def _check_sizes(layout: Layout, name: str, what: str) -> None:
    across, down, count = layout.across, layout.down, len(layout.blocks)
    ragged = layout.tiled and across * layout.bits % 8  # rows of a tile that end within a byte
    # Tiles have at least 16 pixels a side. Tiles much larger than the image would bypass the limit on memory.
    if min(across, down) < 1 or across > 2 * layout.width + 4096 or down > 2 * layout.height + 4096 or ragged:
        raise _refused(name, f"{what} in strips or tiles of {across} x {down}")
    if count != (due := -(-layout.width // across) * -(-layout.height // down) * layout.planes):
        raise _refused(name, f"{what} in {count} strips or tiles where {due} are due")
    if layout.photometric == PALETTE and (len(layout.palette) != 1 << layout.bits or layout.samples > 1):
        raise _refused(name, f"{what} and a palette of {len(layout.palette)} colours")


def _alpha(tags: Any, name: str, what: str, extra: int) -> Literal["none", "straight", "multiplied"]:
    """What the sample after the colours means, if there are `extra` ones."""
    photometric = _one(tags, Tag.PHOTOMETRIC, -1)
    unsaid = (2,) if extra == 1 and photometric == COLOUR else ()  # without the tag, writers mean straight alpha
    meant = _all(tags, Tag.EXTRA, 0) if Tag.EXTRA in tags else unsaid
    if len(meant) != extra or any(meant[1:]) or (meant and meant[0] not in (0, 1, 2, 999)):
        raise _refused(name, f"{what} with {extra} extra samples of the kinds {meant}")
    if not meant or meant[0] == 0:
        return "none"
    if photometric == CMYK:
        raise _refused(name, f"{what} with alpha behind inks")
    return "multiplied" if meant[0] == 1 else "straight"  # 999 is straight: Corel Draw 10, according to Pillow


def _blocks(tags: Any, tiled: bool) -> list[tuple[int, int]]:
    offsets = _all(tags, Tag.TILES if tiled else Tag.STRIPS, 0)
    lengths = _all(tags, Tag.TILE_BYTES if tiled else Tag.STRIP_BYTES, 0)  # may be missing in old files
    return [(offset, lengths[i] if i < len(lengths) else 0) for i, offset in enumerate(offsets)]


def _palette(tags: Any, photometric: int, bits: int) -> NDArray[np.uint16]:
    if photometric != PALETTE:
        return np.zeros((0, 3), np.uint16)
    values = np.array(_all(tags, Tag.COLOR_MAP, 0)[: 3 << bits], np.uint16)
    return values[: len(values) // 3 * 3].reshape(3, -1).T  # (3, N) -> (N, 3)
