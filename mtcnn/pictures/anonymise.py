"""Anonymises faces in a copy of an image.

A face is replaced by a grid of a few mean colours, drawn as squares or as a smooth patch, or by black. Sharpening
cannot recover anything beyond the means.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..boxes import as_boxes
from ..errors import SettingsError
from ..images import Source, read_image
from ..settings import is_one_of, require
from .align import check_margin, grow

__all__ = ["SHAPES", "STYLES", "Shape", "Style", "anonymise"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]
Style = Literal["pixelate", "blur", "solid"]

Shape = Literal["box", "ellipse"]

STYLES: tuple[Style, ...] = get_args(Style)
SHAPES: tuple[Shape, ...] = get_args(Shape)

MARGIN = 0.4
"""Share of the box's side added on each side. Boxes end at the hairline, the chin and before the ears; this covers hair
and ears as well."""

CELLS = 4
"""Mean colours along the longer side of a face. People identify pixelated faces far worse from 15 squares across than
from 18 (Bachmann 1991, "How many pixels does it take to carry identity?"), but familiar ones from fewer. 4, or 7 with
hair, is well below that."""

ELLIPSE_MARGIN = (math.sqrt(2) - 1) / 2  # minimum margin at which the ellipse covers the whole box of the face

LEAST_CELL = 4.0  # pixels, so that small faces are pixelated too


def anonymise(
    image: Source, boxes: Array, style: Style = "pixelate", margin: float = MARGIN, shape: Shape = "box"
) -> RGB:
    """Hide the faces in boxes (N, 4) xyxy pixels from human viewers, in a copy of the image: uint8 RGB (H, W, 3).

    image   anything that `read_image` takes; it is not modified.
    style   "pixelate" shows CELLS mean colours along the face's longer side as squares, "blur" the same colours
            interpolated, "solid" is black.
    margin  added around the box on each side, as a share of that side.
    shape   "box" covers the box with its margin, "ellipse" the inscribed ellipse, which must contain the face's box.

    A classifier trained on hidden faces of the same few people can still recognise some of them by these colours
    (McPherson, Shokri and Shmatikov 2016, "Defeating image obfuscation with deep learning"); only "solid" prevents
    that. Raises ImageError as `read_image` does, SettingsError for another style or shape, a margin that leaves a part
    of the face visible, and for boxes that `grow` rejects.
    """
    check_style(style, margin, shape)
    picture = read_image(image).copy()
    height, width = picture.shape[:2]
    for box, face in zip(grow(boxes, margin), as_boxes(boxes), strict=True):
        x1, y1 = (max(math.floor(value), 0) for value in box[:2])
        x2, y2 = min(math.ceil(box[2]), width), min(math.ceil(box[3]), height)
        if x1 < x2 and y1 < y2:
            cell = max(float((face[2:] - face[:2]).max()) / CELLS, LEAST_CELL)
            hidden = _hidden(picture[y1:y2, x1:x2], cell, style)
            if shape == "ellipse":
                inside = _in_ellipse(box, np.arange(x1, x2), np.arange(y1, y2))
                hidden = np.where(inside[..., None], hidden, picture[y1:y2, x1:x2])
            picture[y1:y2, x1:x2] = hidden
    return picture


def check_style(style: str, margin: float, shape: str = "box") -> None:
    """Raise SettingsError for settings that `anonymise` rejects."""
    require(is_one_of(shape, SHAPES), "shape", shape, f"one of {', '.join(SHAPES)}")
    require(is_one_of(style, STYLES), "style", style, f"one of {', '.join(STYLES)}")
    check_margin(margin)
    if margin < 0:
        raise SettingsError(f"margin is {margin}; expected 0 or more, for the face itself must be covered")
    if shape == "ellipse" and margin < ELLIPSE_MARGIN:
        raise SettingsError(
            f"margin is {margin}; expected {ELLIPSE_MARGIN:.3f} or more, so that the ellipse covers the face"
        )


def _in_ellipse(box: Array, columns: Array, rows: Array) -> NDArray[np.bool_]:
    """Which pixels (rows, columns) have their centre in the ellipse inscribed in a box (4,) xyxy."""
    x, y = (columns + 0.5 - (box[0] + box[2]) / 2), (rows + 0.5 - (box[1] + box[3]) / 2)
    across, down = (box[2:] - box[:2]) / 2
    return np.asarray((x[None] / across) ** 2 + (y[:, None] / down) ** 2 <= 1)


def _hidden(patch: RGB, cell: float, style: Style) -> RGB:
    """Reduce a patch (h, w, 3) to the mean colours of cells of at least `cell` pixels."""
    if style == "solid":
        return np.zeros_like(patch)
    height, width = patch.shape[:2]
    grid = max(int(width / cell), 1), max(int(height / cell), 1)
    means = cv2.resize(patch, grid, interpolation=cv2.INTER_AREA)
    spread = cv2.INTER_NEAREST_EXACT if style == "pixelate" else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(means, (width, height), interpolation=spread), np.uint8)
