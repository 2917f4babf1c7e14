"""Crops drawn at random: background, windows near faces, and jittered faces, labelled by the IoU bands.

Source: Zhang et al. 2016, section III-A, for the kinds. All windows are drawn at once, so the number of tries is
fixed: an image full of faces yields few negatives instead of an endless search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.crops import cut
from mtcnn.scoring import MOST_CONTEXT
from mtcnn.settings import Settings, setting

from .labels import IGNORE, IouBands, Kind, Labels, label
from .records import CropBatch, ImageRecord

__all__ = ["CropSettings", "around", "crops_of", "draw_windows", "pick", "sample"]

Array = NDArray[Any]


@dataclass(frozen=True)
class CropSettings(Settings):
    """Settings of crop sampling (section [crops] of a recipe).

    negatives       windows tried anywhere in an image.
    near            windows tried around each face, mostly background.
    tries           jittered windows tried for each face 16 px wide; for larger, rarer faces times
                    (side / 16) ^ balance, at most 12.
    max_*           maximum crops per image, by kind, drawn at random.
    min_face        faces whose longer side is shorter are ignored, pixels.
    min_size        shortest side of a window, pixels.
    landmarks       crops per face with known landmarks.
    rotation        largest rotation of a landmark crop, degrees.
    context         side of a crop over the side of its window, which decides the kind: above 1, RNet or ONet
                    sees what is around a face, such as hair, a hat, or what hides a part of it.
    val             percent of the images in the validation part, which chooses the best epoch.
    """

    negatives: int = setting(200, min=0)
    near: int = setting(6, min=0)
    tries: int = setting(8, min=0)
    balance: float = setting(0.8, min=0)
    max_neg: int = setting(250, min=0)
    max_part: int = setting(300, min=0)
    max_pos: int = setting(300, min=0)
    min_face: float = setting(8.0, min=0)
    min_size: float = setting(10.0, min=1)
    landmarks: int = setting(0, min=0)
    rotation: float = setting(20.0, min=0)
    val: float = setting(5.0, min=0, below=100)
    context: float = setting(1.0, min=1, max=MOST_CONTEXT, added=True)

    renamed: ClassVar[dict[str, str]] = {
        "most_neg": "max_neg",
        "most_part": "max_part",
        "most_pos": "max_pos",
        "smallest": "min_size",
        "held": "val",
    }


def around(squares: Array, scale: tuple[float, float], shift: float, rng: np.random.Generator) -> Array:
    """One window (N, 4) for each square (N, 4): side times a log-uniform scale, centre moved by up to shift x side."""
    side = squares[:, 2:3] - squares[:, :1]
    centre = (squares[:, :2] + squares[:, 2:]) / 2 + rng.uniform(-shift, shift, (len(squares), 2)) * side
    half = side * np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]), (len(squares), 1))) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _anywhere(count: int, min_size: float, height: int, width: int, rng: np.random.Generator) -> Array:
    """Windows (count, 4) inside the image; sides log-uniform, so that all scales are equally frequent."""
    largest = max(float(min(height, width)), min_size)
    side = np.exp(rng.uniform(np.log(min_size), np.log(largest), count))
    x = rng.uniform(0, 1, count) * np.maximum(width - side, 0)
    y = rng.uniform(0, 1, count) * np.maximum(height - side, 0)
    return np.stack([x, y, x + side, y + side], axis=1)


def draw_windows(
    record: ImageRecord, height: int, width: int, settings: CropSettings, rng: np.random.Generator
) -> Array:
    """Candidate windows float64 (N, 4) of an image: anywhere, near faces, tight and loose jitter around faces."""
    usable = ~record.ignore & np.isfinite(record.boxes).all(axis=1)
    squares = box.square(record.boxes[usable].astype(np.float64))
    side = squares[:, 2] - squares[:, 0]
    squares, side = squares[side >= settings.min_face], side[side >= settings.min_face]
    tries = np.round(settings.tries * np.clip((side / 16) ** settings.balance, 1, 12)).astype(int)
    repeated = np.repeat(squares, tries, axis=0)
    windows = [
        around(repeated, (0.78, 1.28), 0.16, rng),
        around(repeated, (0.55, 1.7), 0.42, rng),
        around(np.repeat(squares, settings.near, axis=0), (0.3, 3.0), 1.2, rng),
    ]
    if record.complete:
        windows.append(_anywhere(settings.negatives, settings.min_size, height, width, rng))
    return np.concatenate(windows)


def pick(kinds: Array, limits: dict[Kind, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of at most limits[kind] crops of each kind, drawn at random, in rising order."""
    chosen = []
    for kind, count in limits.items():
        found = np.flatnonzero(kinds == kind)
        chosen.append(found if len(found) <= count else rng.choice(found, count, replace=False))
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def crops_of(
    image: NDArray[np.uint8], windows: Array, labels: Labels, record: ImageRecord, size: int, context: float = 1.0
) -> CropBatch:
    """Crops of labelled windows (N, 4), `context` times as wide, with targets. Offsets are from the crop to the
    labelled box, not to its square."""
    windows = box.square(windows, context) if context != 1 else windows
    offsets = np.zeros((len(windows), 4), np.float32)
    scores = np.ones(len(windows), np.float32)
    faces = (labels.kinds == Kind.POS) | (labels.kinds == Kind.PART)
    if record.scores is not None:
        scores[faces] = record.scores[labels.faces[faces]]
    if faces.any():
        truth = record.boxes[labels.faces[faces]].astype(np.float64)
        offsets[faces] = box.encode_offsets(windows[faces], truth)
    return CropBatch(
        cut(image, windows, size),
        labels.kinds.astype(np.uint8),
        offsets,
        np.full((len(windows), 5, 2), np.nan, np.float32),
        scores,
    )


def sample(
    image: NDArray[np.uint8],
    record: ImageRecord,
    size: int,
    settings: CropSettings,
    bands: IouBands,
    rng: np.random.Generator,
) -> CropBatch:
    """Sampled NEG, PART and POS crops of one image, size x size pixels."""
    height, width = image.shape[:2]
    windows = draw_windows(record, height, width, settings, rng)
    side = windows[:, 2] - windows[:, 0]
    # PNet slides inside the image; crops of RNet and ONet may extend beyond its border.
    margin = 0.0 if size == 12 else 0.5
    inside = (windows[:, :2] >= -margin * side[:, None]).all(axis=1)
    inside &= (windows[:, 2] <= width + margin * side) & (windows[:, 3] <= height + margin * side)
    windows = windows[inside & (side >= settings.min_size)]
    labels = label(windows, record, bands, settings.min_face)
    limits = {Kind.NEG: settings.max_neg, Kind.PART: settings.max_part, Kind.POS: settings.max_pos}
    chosen = pick(labels.kinds, limits, rng)
    assert not (labels.kinds[chosen] == IGNORE).any()
    return crops_of(
        image, windows[chosen], Labels(labels.kinds[chosen], labels.faces[chosen]), record, size, settings.context
    )
