"""FDDB: ten folds of ellipses, `FDDB-fold-<01..10>-ellipseList.txt`.

    2002/08/11/big/img_591
    1
    123.583300 85.549500 1.265839 269.693400 161.781200  1

Image name without suffix, number of faces, and a row per face: `major_radius minor_radius angle centre_x centre_y 1`,
radii in pixels, angle in radians between the major axis and the x axis, clockwise on the screen. Source: Jain and
Learned-Miller 2010, and the readme of the annotations.
"""

from __future__ import annotations

import math
from pathlib import Path

from mtcnn.errors import DataError

from ..records import ImageRecord, Problem
from .label_file import Face, Gathering, image_folder, numbers, read_blocks

__all__ = ["ellipse_box", "read"]


def read(folds: Path, images: Path | None = None) -> tuple[list[ImageRecord], list[Problem]]:
    """Images of all folds, or of one fold given its file; boxes are the bounding rectangles of the ellipses.

    images  the folder that names are relative to (it holds `2002` and `2003`). Default: `originalPics` or `images`
            beside the folds or their folder, or the folder itself.

    FDDB is a test set: do not train on it and report it. Raises DataError if folds or images are missing.
    """
    places = (folds, folds / "FDDB-folds")  # as it unzips, the folds lie in a folder of their own
    found = [sorted(place.glob("FDDB-fold-*-ellipseList.txt")) for place in places]
    files = [folds] if folds.is_file() else found[0] or found[1]
    if not files:
        raise DataError(f"{folds}: holds no FDDB-fold-*-ellipseList.txt; give the folder FDDB-folds, or one fold")
    here, above = files[0].parent, files[0].parent.parent
    photos = [folder / name for name in ("originalPics", "images") for folder in (here, above)]
    folder = image_folder(folds, images, [*photos, *(place for place in (here, above) if (place / "2002").is_dir())])
    readings = [_read_fold(file, folder) for file in files]
    return [r for records, _ in readings for r in records], [p for _, problems in readings for p in problems]


def _read_fold(file: Path, images: Path) -> tuple[list[ImageRecord], list[Problem]]:
    blocks, problems = read_blocks(file, lambda line: line if "/" in line else None)
    found = Gathering(file, images, problems)
    found.add_counted(blocks, _face)
    return found.result()


def _face(text: str) -> Face:
    values = numbers(text)
    if len(values) not in (5, 6):
        raise ValueError(f"{len(values)} values in the row, expected 6: two radii, angle, centre x and y, 1")
    major, minor, angle, x, y = values[:5]
    if major < 0 or minor < 0:
        raise ValueError(f"radii {major:g} and {minor:g}, expected none below 0")
    return Face(ellipse_box(major, minor, angle, x, y))


def ellipse_box(major: float, minor: float, angle: float, x: float, y: float) -> tuple[float, float, float, float]:
    """The bounding rectangle x1 y1 x2 y2 of an ellipse with these radii, angle in radians, and centre.

    A point of it is centre + major cos(t) u + minor sin(t) v, where u = (cos a, sin a) and v = (-sin a, cos a) are the
    unit vectors of its axes. Its x is x + (major cos a) cos(t) - (minor sin a) sin(t), and the largest value of
    p cos(t) + q sin(t) over all t is sqrt(p^2 + q^2). So it reaches hypot(major cos a, minor sin a) to either side,
    and in the same way hypot(major sin a, minor cos a) up and down.
    """
    reach_x = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    reach_y = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y
