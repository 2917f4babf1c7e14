"""WIDER FACE: the official text labels, `wider_face_<split>_bbx_gt.txt`.

    0--Parade/0_Parade_marchingband_1_849.jpg
    1
    449 330 122 149 0 0 0 0 0 0

Image name, number of faces, and a row per face: `x y w h blur expression illumination invalid occlusion pose`. An image
without faces has count 0 and one row of zeros. Source: the readme of the WIDER FACE annotations (Yang et al. 2016).
"""

from __future__ import annotations

import re
from pathlib import Path

from mtcnn.images import SUFFIXES

from ..records import ImageRecord, Problem
from .label_file import Face, Gathering, image_folder, numbers, read_blocks

__all__ = ["read"]

INVALID = 7  # column: 1 for a face that the annotators excluded


def read(labels: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """Images of a WIDER FACE label file and their boxes; faces marked invalid are ignore regions.

    images  the folder that names are relative to. Default: `<split>/images`, `images` or `WIDER_<split>/images` beside
            the label file or, as the archives unpack, beside its folder.

    A bad row is skipped and its image marked incomplete; an image with a wrong count is skipped, as the missing rows
    are unknown. Raises DataError if the label file or the image folder is missing.
    """
    blocks, problems = read_blocks(labels, _image_name)
    found = Gathering(labels, image_folder(labels, images, _candidates(labels)), problems)
    found.add_counted(blocks, _face)
    return found.result()


def _image_name(line: str) -> str | None:
    return line if line.lower().endswith(SUFFIXES) else None


def _candidates(labels: Path) -> list[Path]:
    """Candidate image folders, those named after the split first: one folder may hold several splits."""
    here, above = labels.parent, labels.parent.parent
    match = re.search(r"wider_face_([a-z]+)", labels.name)
    if match is None:
        return [here / "images"]
    split = match[1]
    named = [here / split / "images", here / f"WIDER_{split}" / "images", above / f"WIDER_{split}" / "images"]
    return [*named, here / "images"]


def _face(text: str) -> Face:
    values = numbers(text)
    if len(values) not in (4, 10):
        raise ValueError(f"{len(values)} values in the row, expected 10 (or 4, a box alone)")
    x, y, width, height = values[:4]
    return Face((x, y, x + width, y + height), ignore=len(values) == 10 and values[INVALID] == 1)
