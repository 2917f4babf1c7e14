"""Subsets of WIDER FACE's faces: by height, and by the attributes that the data set labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.files.mat import read_mat
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider_truth import COLUMNS, HEIGHT_BANDS, GroundTruth, mat_cells, text_images

__all__ = ["ATTRIBUTES", "with_attributes"]

Array = NDArray[Any]

# The values of each attribute, as the readme of the data set numbers them.
ATTRIBUTES = {
    "blur": ("none", "normal", "heavy"),
    "expression": ("typical", "exaggerate"),
    "illumination": ("normal", "extreme"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
}


def with_attributes(truth: GroundTruth, path: str | Path) -> GroundTruth:
    """`truth` with more settings, such as "10-50 px", "blur heavy" and "pose atypical".

    path  what `truth` was loaded from: a folder of .mat files, or a text file in WIDER's format. Attributes that it
          does not label are left out.

    A face counts in them if it counts in the widest setting of `truth`: hard, or all heights of a text file.
    Raises DataError if the labels do not fit the boxes.
    """
    widest = truth.counted["hard" if truth.source == "mat" else "10+"]
    labels = _mat_labels(Path(path)) if truth.source == "mat" else _text_labels(Path(path))
    more: dict[str, dict[str, Array]] = {}
    for name, boxes in truth.boxes.items():
        heights = boxes[:, 3]
        for band, (low, high) in HEIGHT_BANDS.items():
            if band != "10+":
                more.setdefault(f"{band} px", {})[name] = widest[name] & (heights >= low) & (heights < high)
        for attribute in labels:
            found = labels[attribute].get(name, np.zeros(0, np.int64))
            if len(found) != len(boxes):
                raise DataError(
                    f"{path}: {name} has {len(found)} labels of {attribute} for {len(boxes)} boxes; "
                    "take all files of one release"
                )
            for number, value in enumerate(ATTRIBUTES[attribute]):
                more.setdefault(f"{attribute} {value}", {})[name] = widest[name] & (found == number)
    official = truth.counted if truth.source == "mat" else {"10+": widest}
    return GroundTruth(truth.boxes, {**official, **more}, truth.source)


def _mat_labels(folder: Path) -> dict[str, dict[str, Array]]:
    """attribute -> image -> int64 (G,)."""
    path = folder / "wider_face_val.mat"
    labelled = read_mat(path, [f"{attribute}_label_list" for attribute in ATTRIBUTES])
    return {
        attribute: {
            name: np.asarray(value).astype(np.int64).ravel()
            for name, value in mat_cells(path, f"{attribute}_label_list")
        }
        for attribute in ATTRIBUTES
        if f"{attribute}_label_list" in labelled
    }


def _text_labels(path: Path) -> dict[str, dict[str, Array]]:
    """attribute -> image -> int64 (G,). What is wrong with the file was reported when the boxes were read."""
    rows = dict(text_images(path, Problems()))
    columns = {attribute: COLUMNS.index(attribute) for attribute in ATTRIBUTES}
    return {
        attribute: {name: np.trunc(values[:, column]).astype(np.int64) for name, values in rows.items()}
        for attribute, column in columns.items()
    }
