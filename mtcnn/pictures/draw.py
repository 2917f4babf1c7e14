"""Draws detections, boxes, scores and landmarks, on a copy of an image, and writes it to a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, SettingsError, WriteError
from ..files.atomic_write import Before, write_whole
from ..images import Source, as_rgb, read_image
from ..settings import Range, check, check_flag, shown
from ..types import Faces, check_faces

__all__ = ["SAVE_SUFFIXES", "check_target", "draw_faces", "save_image"]

RGB = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Two of Okabe and Ito's colours, which colour-blind people can distinguish, with black edges: visible on dark and light
# pictures.
BOX: Colour = (240, 228, 66)
DOT: Colour = (86, 180, 233)
EDGE: Colour = (0, 0, 0)

SAVE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # OpenCV draws at 1/16 pixel
_LINE_WIDTH = Range(min=1, max=1000, whole=True)


def draw_faces(
    image: Source,
    faces: Faces,
    *,
    scores: bool = True,
    landmarks: bool = True,
    line_width: int | None = None,
    labels: Iterable[object] | None = None,
) -> RGB:
    """Draw boxes, scores and landmarks on a copy of the image: uint8 RGB (H, W, 3).

    image       anything that `read_image` takes; it is not modified.
    scores      draw scores, except of faces narrower than half the text, or a crowd would disappear behind numbers.
    landmarks   draw landmarks; unknown ones (NaN) are skipped.
    line_width  of boxes, in pixels. By default 1 for each 300 pixels of the image's mean side, but at most 1 for each
                20 pixels of the face, so that small faces stay visible.
    labels      texts instead of the scores, one per face, for faces of any size.

    The best face is drawn last, on top; a score that would cover a better one is omitted. Raises ImageError as
    `read_image` does, SettingsError for a line_width that is no whole number from 1 to 1000, and unless there is a
    label for each face.
    """
    check_faces("faces", faces)
    check_flag("landmarks", landmarks)
    check_flag("scores", scores)
    if line_width is not None:
        check("line_width", line_width, _LINE_WIDTH)
    texts = None if labels is None else _texts(labels)
    if texts is not None and len(texts) != len(faces):
        raise SettingsError(f"{len(texts)} labels for {len(faces)} faces; expected one for each")
    picture = read_image(image).copy()
    side = float(np.sqrt(picture.shape[0] * picture.shape[1]))
    order = np.argsort(-faces.scores, kind="stable")
    for i in order[::-1]:
        face = faces[i]
        width = _line_width(face.boxes[0], side) if line_width is None else int(line_width)
        _box(picture, face.boxes[0], width)
        if landmarks and face.landmarks is not None:
            _dots(picture, face.landmarks[0], width)
    if texts is not None:
        for i in order[::-1]:
            _label(picture, _place(picture, faces.boxes[i], texts[i], side), texts[i], side)
    elif scores:
        _scores(picture, faces[order], side)
    return picture


def _texts(labels: Iterable[object]) -> list[str]:
    if isinstance(labels, str | bytes | Set | Mapping) or not isinstance(labels, Iterable):
        raise SettingsError(f"labels are {shown(labels)}; expected a list, one text for each face")
    return [str(label) for label in labels]


def _line_width(box: NDArray[np.float32], side: float) -> int:
    least = float(min(box[2] - box[0], box[3] - box[1]))
    usual = max(1, round(side / 300))
    return int(np.clip(least // 20, 1, usual)) if np.isfinite(least) else usual


def _scores(picture: RGB, faces: Faces, side: float) -> None:
    """Draw scores, the best first, of faces that are wide enough, without overlaps."""
    taken: list[Place] = []
    for face in faces:
        box, text = face.boxes[0], f"{face.scores[0]:.2f}"
        place = _place(picture, box, text, side)
        if place is None or place.wide > 2 * (box[2] - box[0]) or any(place.covers(other) for other in taken):
            continue
        taken.append(place)
        _label(picture, place, text, side)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise what `save_image` would: ImageError for an unknown suffix, WriteError for a missing folder."""
    target = Path(path)
    if target.suffix.lower() not in SAVE_SUFFIXES:
        known = " ".join(SAVE_SUFFIXES)
        raise ImageError(f"{target}: unknown suffix {target.suffix!r}; expected one of {known}; rename it")
    if not target.parent.is_dir():
        raise WriteError(
            f"{target}: cannot be written ({target.parent} is no folder); expected a folder; make it first"
        )
    if target.is_dir():
        raise WriteError(f"{target}: is a folder; expected a file to write; name one in it")


def save_image(path: str | os.PathLike[str], rgb: NDArray[Any], before: Before | None = None) -> None:
    """Write an image, any array that `images.as_rgb` takes, in the format of the suffix of `path`.

    It is encoded in memory and written atomically, see `atomic_write`: a full disk leaves the earlier file, or none.

    Raises ImageError if the suffix is not in SAVE_SUFFIXES or the image is too large for the format, WriteError if the
    file cannot be written.
    """
    target = Path(path)
    check_target(target)
    try:
        write_whole(target, _encoded(target, as_rgb(rgb)), before)
    except OSError as error:
        raise WriteError(
            f"{target}: cannot be written ({error.strerror or error}); expected a folder with free space; "
            "check the path"
        ) from None


def _encoded(target: Path, picture: RGB) -> bytes:
    stream = BytesIO()
    try:
        # JPEG and WebP have a quality; other formats ignore it.
        Image.fromarray(picture).save(stream, Image.registered_extensions()[target.suffix.lower()], quality=92)
    except (OSError, ValueError) as error:
        size = f"{picture.shape[1]} x {picture.shape[0]} pixels"
        raise ImageError(
            f"{target}: cannot be written ({error}); expected fewer than {size}, or another format such as .png"
        ) from None
    return stream.getvalue()


def _fixed(points: NDArray[Any], picture: RGB) -> NDArray[np.int32]:
    """Convert points (..., 2) x y to OpenCV's fixed-point coordinates, clipped near the picture to avoid overflow.

    Our first pixel spans 0 to 1, OpenCV's has its centre at 0: a shift of half a pixel.
    """
    height, width = picture.shape[:2]
    near = np.clip(points, (-width, -height), (2 * width, 2 * height))
    return np.asarray(np.round((near - 0.5) * 2**_SHIFT), np.int32)


def _box(picture: RGB, box: NDArray[np.float32], width: int) -> None:
    if not np.isfinite(box).all():
        return
    upper_left, lower_right = _fixed(box.reshape(2, 2), picture).tolist()  # (2, 2): corner, x y
    for colour, thick in ((EDGE, width + 2 * max(1, width // 2)), (BOX, width)):
        cv2.rectangle(picture, upper_left, lower_right, colour, thick, cv2.LINE_AA, _SHIFT)


def _dots(picture: RGB, points: NDArray[np.float32], width: int) -> None:
    known = points[np.isfinite(points).all(axis=1)]
    radius = width * 2**_SHIFT
    for centre in _fixed(known, picture).tolist():
        for colour, size in ((EDGE, radius + radius // 2), (DOT, radius)):
            cv2.circle(picture, centre, size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


class Place(NamedTuple):
    """Position of a text in pixels: upper left corner, size, and descent of its letters."""

    x: int
    y: int
    wide: int
    tall: int
    high: int

    def covers(self, other: Place) -> bool:
        return abs(self.x - other.x) < max(self.wide, other.wide) and abs(self.y - other.y) < self.tall


def _place(picture: RGB, box: NDArray[np.float32], text: str, side: float) -> Place | None:
    """Above the box, or inside it at the picture's upper edge; never beyond the sides. None if outside the picture."""
    if not np.isfinite(box).all():
        return None
    (wide, high), below = cv2.getTextSize(text, _FONT, *_letters(side))
    tall = high + below + 2
    x = int(np.clip(box[0], 0, max(0, picture.shape[1] - wide)))
    y = int(np.clip(box[1] - tall, 0, max(0, picture.shape[0] - tall)))
    return Place(x, y, wide, tall, high)


def _letters(side: float) -> tuple[float, int]:
    """Scale and thickness of OpenCV's letters."""
    scale = max(0.4, side / 1200)
    return scale, max(1, round(scale))


def _label(picture: RGB, place: Place | None, text: str, side: float) -> None:
    if place is None:
        return
    x, y, wide, tall, high = place
    scale, thick = _letters(side)
    picture[y : y + tall, x : x + wide + 2] = EDGE
    cv2.putText(picture, text, (x + 1, y + high + 1), _FONT, scale, BOX, thick, cv2.LINE_AA)
