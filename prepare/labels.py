"""Labels of crops by the IoU bands of the cascade, and their targets.

Source: Zhang et al. 2016, section III-A, with bands 0.30, 0.40 and 0.65.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.errors import SettingsError

from .records import ImageRecord

__all__ = ["IGNORE", "IouBands", "Kind", "Labels", "label"]

Array = NDArray[Any]
IGNORE = -1  # not a kind: the crop or anchor is excluded from the loss


class Kind(IntEnum):
    """Kinds of crops. The losses that each kind trains are a table in stages/crops/loss.py."""

    NEG = 0
    PART = 1
    POS = 2
    LANDMARK = 3


@dataclass(frozen=True)
class IouBands:
    """NEG below `neg`, PART from `part` to `pos`, POS from `pos`; crops between `neg` and `part` are not used."""

    neg: float = 0.30
    part: float = 0.40
    pos: float = 0.65

    def __post_init__(self) -> None:
        if not 0 < self.neg <= self.part < self.pos < 1:
            raise SettingsError(
                f"neg, part, pos are {self.neg}, {self.part}, {self.pos}; expected 0 < neg <= part < pos < 1"
            )


class Labels(NamedTuple):
    """kinds int8 (N,), IGNORE for unused crops; faces int (N,), the face of a POS or PART crop."""

    kinds: NDArray[np.int8]
    faces: NDArray[np.int64]


def label(crops: Array, record: ImageRecord, bands: IouBands, min_face: float, fitting: bool = False) -> Labels:
    """Label square crops (N, 4) of one image by their overlap with its faces.

    Crops are square and faces are not, so POS and PART use the IoU with the face's square: a crop centred on a narrow
    face is a good crop. NEG must be below the band for both the squares and the boxes. Ignored faces, and faces whose
    longer side is below `min_face`, are never POS or PART, and exclude NEG like any face. For ignored ones, IoS must
    be below the band too: nothing inside an ignored crowd, or around an ignored face, is NEG.

    fitting  the crops are boxes that a net fitted to faces, of any shape: the IoU is that with the face's box.
    """
    known = np.flatnonzero(np.isfinite(record.boxes).all(axis=1) & (box.areas(record.boxes) > 0))
    if not len(known):
        kinds = np.full(len(crops), Kind.NEG if record.complete else IGNORE, np.int8)
        return Labels(kinds, np.full(len(crops), -1))
    truth = record.boxes[known].astype(np.float64)
    by_square = box.iou(crops, truth if fitting else box.square(truth))
    face = by_square.argmax(axis=1)
    best = by_square[np.arange(len(crops)), face]
    usable = ~record.ignore[known] & ((truth[:, 2:] - truth[:, :2]).max(axis=1) >= min_face)
    background = np.maximum(by_square, box.iou(crops, truth)).max(axis=1) < bands.neg
    if record.ignore[known].any():
        background &= box.ios(crops, truth[record.ignore[known]]).max(axis=1) < bands.neg
    kinds = np.full(len(crops), IGNORE, np.int8)
    kinds[background & record.complete] = Kind.NEG
    kinds[(best >= bands.part) & (best < bands.pos) & usable[face]] = Kind.PART
    kinds[(best >= bands.pos) & usable[face]] = Kind.POS
    return Labels(kinds, known[face])
