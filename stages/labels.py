"""Checks what can be trained on given labels, before hours of cutting and mining crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prepare.points import pointed_faces, spread_points
from prepare.records import ImageRecord

__all__ = ["NO_POINTS", "have_landmarks", "label_fault", "without_landmarks"]

NO_POINTS = "no face to train on has five labelled points"


def without_landmarks(why: str) -> str:
    """The note for a training that does not train landmarks."""
    return f"trains without landmarks, as {why}; detection with it gives boxes alone"


def label_fault(net: str, records: Sequence[ImageRecord], val: float) -> str:
    """Why a net cannot be trained on these labels, in one line, or "". val  percent of the validation part."""
    scenes = [record for record in records if record.complete and not record.is_val(val)]
    if not scenes:
        return f"no photo to train {net} on has all its faces labelled; expected some, such as those of WIDER FACE"
    if not any((np.isfinite(record.boxes).all(axis=1) & ~record.ignore).any() for record in scenes):
        return f"no photo to train {net} on has a labelled face; expected boxes of faces, at best thousands"
    return ""


def have_landmarks(records: Sequence[ImageRecord], val: float) -> bool:
    """Whether a face of the training part has five known and plausible points."""
    for record in records:
        known = spread_points(record) if record.size is None else pointed_faces(record, *record.size)
        if len(known) and not record.is_val(val):
            return True
    return False
