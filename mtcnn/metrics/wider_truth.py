"""Ground truth: WIDER FACE's official .mat files, or labels in its text format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.files.mat import read_mat
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.text_files import numbers, read_lines
from mtcnn.terminal import short

__all__ = [
    "COLUMNS",
    "DIFFICULTIES",
    "HEIGHT_BANDS",
    "GroundTruth",
    "image_key",
    "load_image_list",
    "mat_cells",
    "text_images",
]

Array = NDArray[Any]

DIFFICULTIES = ("easy", "medium", "hard")

# Face heights in pixels, half-open intervals. The limits are those of the WIDER FACE paper (Yang et al.
# 2016, section 4.1: small 10-50, medium 50-300, large over 300); the official lists have no face under 10 pixels.
HEIGHT_BANDS = {"10+": (10.0, np.inf), "10-50": (10.0, 50.0), "50-300": (50.0, 300.0), "300+": (300.0, np.inf)}

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
COLUMNS = ("x", "y", "w", "h", "blur", "expression", "illumination", "invalid", "occlusion", "pose")  # of a text row
_INVALID = COLUMNS.index("invalid")


def image_key(path: str) -> str:
    """ "<event>/<image>" from any path to an image: its last two parts without the image suffix.

    Only a known suffix is removed, once: WIDER has names with dots, and str.strip would remove letters.
    """
    parts = path.strip().replace("\\", "/").split("/")[-2:]
    for suffix in _SUFFIXES:
        if parts[-1].lower().endswith(suffix):
            parts[-1] = parts[-1][: -len(suffix)]
            break
    return "/".join(parts)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled faces of a set of images, named "<event>/<image>" without suffix.

    boxes    image -> float64 (G, 4) x y w h in pixels, as labelled, including ignored boxes.
    counted  setting -> image -> bool (G,): faces evaluated. A detection that matches another face is neither a true
             nor a false positive. Settings are easy, medium, hard (official lists) or the face heights of HEIGHT_BANDS.
    source   "mat" or "text".
    """

    boxes: dict[str, Array]
    counted: dict[str, dict[str, Array]]
    source: str

    @classmethod
    def load_mat(cls, folder: str | Path) -> GroundTruth:
        """Reads wider_face_val.mat and wider_{easy,medium,hard}_val.mat. Raises DataError for a missing or odd file."""
        files = {name: Path(folder) / f"wider_{name}_val.mat" for name in ("face", *DIFFICULTIES)}
        boxes = {name: _mat_boxes(files["face"], value) for name, value in mat_cells(files["face"], "face_bbx_list")}
        counted = {name: _keep_masks(files[name], boxes) for name in DIFFICULTIES}
        return cls(boxes, counted, "mat")

    @classmethod
    def load_text(cls, path: str | Path, problems: Problems | None = None) -> GroundTruth:
        """Reads the text format: image path, count, then rows `x y w h` and six attributes.

        Without official lists of easy, medium and hard faces, settings are face heights. Faces marked invalid and those
        without width or height, are always ignored. An image without faces has one box of zeros, as in the official
        files, so that detections there are false positives. Raises DataError if the file cannot be read.
        """
        boxes: dict[str, Array] = {}
        counted: dict[str, dict[str, Array]] = {band: {} for band in HEIGHT_BANDS}
        for name, rows in text_images(Path(path), Problems.default(problems)):
            boxes[name] = rows[:, :4]
            valid = (rows[:, 2] > 0) & (rows[:, 3] > 0) & (rows[:, _INVALID] == 0)
            for band, (low, high) in HEIGHT_BANDS.items():
                counted[band][name] = valid & (rows[:, 3] >= low) & (rows[:, 3] < high)
        if not boxes:
            raise DataError(f"{path}: no image in it; expected image path, face count, then rows 'x y w h ...'")
        return cls(boxes, counted, "text")

    @classmethod
    def load(cls, path: str | Path, problems: Problems | None = None) -> GroundTruth:
        """From a folder with the .mat files, or from a text file."""
        return cls.load_mat(path) if Path(path).is_dir() else cls.load_text(path, problems)

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(self.counted)


def mat_cells(path: Path, variable: str) -> Iterator[tuple[str, Array]]:
    """("<event>/<image>", value of the image's cell) of one .mat file, in its order."""
    found = read_mat(path, names := ("event_list", "file_list", variable))
    try:
        events, files, cells = (found[name] for name in names)
        for event, images, values in zip(events, files, cells, strict=True):
            for image, value in zip(images, values, strict=True):
                if not (isinstance(event, str) and isinstance(image, str) and isinstance(value, np.ndarray)):
                    raise TypeError(f"{str(event)[:40]}/{str(image)[:40]} has other cells")
                yield f"{event}/{image}", value
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as official WIDER ground truth ({error}); expected a .mat file with {variable}"
        ) from None


def _mat_boxes(path: Path, value: Array) -> NDArray[np.float64]:
    if value.size % 4 or (value.size and value.shape[-1] != 4) or not np.isfinite(value).all():
        raise DataError(f"{path}: has boxes of shape {value.shape}; expected rows of four finite numbers, x y w h")
    return np.array(value, np.float64).reshape(-1, 4)


def _keep_masks(path: Path, boxes: dict[str, Array]) -> dict[str, Array]:
    """image -> bool (G,) from the 1-based lists of evaluated faces (stored as uint8 or uint16)."""
    masks = {name: np.zeros(len(rows), bool) for name, rows in boxes.items()}
    for name, keep in mat_cells(path, "gt_list"):
        with np.errstate(invalid="ignore"):  # NaN becomes a number in no list
            index = np.asarray(keep).astype(np.int64).ravel() - 1
        if name not in masks or (index.size and not 0 <= index.min() <= index.max() < len(masks[name])):
            raise DataError(
                f"{path}: {name} does not agree with wider_face_val.mat; take all four files of one release"
            )
        masks[name][index] = True
    return masks


def text_images(path: Path, problems: Problems) -> Iterator[tuple[str, Array]]:
    """(image, rows (G, 10)) of a text file; columns as in COLUMNS. A line that is not all numbers starts an image.

    Of images with the same event and name, the first is taken.
    """
    lines = read_lines(path)
    starts = [i for i, line in enumerate(lines) if line.strip() and numbers(line) is None]
    if any(line.strip() for line in lines[: starts[0] if starts else 0]):
        problems.add(path, "numbers before the first image path; left out", 1)
    seen = set()
    for start, end in pairwise([*starts, len(lines)]):
        name = image_key(lines[start])
        if name in seen:
            problems.add(path, f"{short(name)} is listed twice; the first is taken", start + 1)
            continue
        seen.add(name)
        body = [(i + 1, values) for i in range(start + 1, end) if (values := numbers(lines[i]))]
        yield name, _text_rows(path, start + 1, body, problems)


def _text_rows(path: Path, start: int, body: list[tuple[int, list[float]]], problems: Problems) -> Array:
    """Float64 (G, 10) of one image, whose path is in line `start`. Attributes that a row lacks are 0."""
    if not body or len(body[0][1]) != 1:
        problems.add(path, "no face count after the image path; the rows that follow are taken", start + 1)
    else:
        count = body[0][1][0]
        body = body[1:]
        if count != len(body) and not (count == 0 and len(body) == 1):
            problems.add(path, f"face count is {count:g}, but {len(body)} rows follow; the rows are taken", start + 1)
    rows = []
    for number, values in body:
        if len(values) < 4 or not np.isfinite(values).all():
            problems.add(path, "expected at least 'x y w h' as finite numbers; row left out", number)
        else:
            rows.append([*values, *[0.0] * len(COLUMNS)][: len(COLUMNS)])
    return np.array(rows or [[0.0] * len(COLUMNS)], np.float64)


def load_image_list(path: str | Path) -> list[str]:
    """ "<event>/<image>" of every image a file names: a list with one a line, or labels in WIDER's text format."""
    lines = [line for line in read_lines(path) if line.strip() and numbers(line) is None]
    if not lines:
        raise DataError(f"{path}: names no image; expected lines like '0--Parade/0_Parade_marchingband_1_20.jpg'")
    return [image_key(line) for line in lines]
