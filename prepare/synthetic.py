"""Synthetic scenes with faces: training data without a download, for tests and first runs.

A scene is determined by (seed, index). Face positions come from one random stream and the painting from another, so
labels of thousands of scenes are known without rendering any. A face is an ellipse of skin
from hairline to chin with hair, eyes, brows, nose and mouth; its box is the bounding rectangle of that ellipse.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import ios
from mtcnn.errors import SettingsError
from mtcnn.files.atomic_write import write_whole
from mtcnn.pictures.draw import save_image

from .painting import Head, paint
from .records import ImageRecord

__all__ = ["draw_scene", "image_of", "is_synthetic", "records", "write_folder"]

Array = NDArray[Any]

HEIGHT, WIDTH = 240, 320  # pixels of a scene that is known by its path only
FACE_HEIGHTS = (12.5, 110.0)  # pixels, hairline to chin, before the face is tilted
MAX_FACES = 4
NAME = re.compile(r"synthetic/(\d+)-(\d{6,})")
EVENT = "0--Drawn"  # WIDER FACE sorts its images into events

CSV_HEADER = (
    "path,x1,y1,x2,y2,x_left_eye,y_left_eye,x_right_eye,y_right_eye,x_nose,y_nose,"
    "x_left_mouth,y_left_mouth,x_right_mouth,y_right_mouth"
)


def draw_scene(
    seed: int, index: int, height: int = HEIGHT, width: int = WIDTH
) -> tuple[NDArray[np.uint8], Array, Array]:
    """Scene `index` of the series `seed`, the same on every call.

    Returns the image, uint8 RGB (height, width, 3); boxes, float32 (G, 4) xyxy pixels, wholly inside; landmarks,
    float32 (G, 5, 2), at the centres of the drawn eyes, the tip of the nose and the ends of the mouth; G is 0 to 4.
    Raises SettingsError for a scene of less than 64 pixels a side, and for a negative seed or index.
    """
    heads = _place_heads(seed, index, height, width)
    return paint(heads, np.random.default_rng([seed, index, 1]), height, width), *_labels(heads)


def records(count: int, seed: int) -> list[ImageRecord]:
    """The labels of scenes 0 to `count` - 1; their paths name scenes, not files (`image_of` draws them)."""
    found = []
    for index in range(count):
        boxes, landmarks = _labels(_place_heads(seed, index, HEIGHT, WIDTH))
        found.append(ImageRecord(Path(f"synthetic/{seed}-{index:06d}"), boxes, landmarks))
    return found


def is_synthetic(path: Path) -> bool:
    """Whether `path` names a scene of `records` rather than a file."""
    return NAME.fullmatch(path.as_posix()) is not None


def image_of(path: Path) -> NDArray[np.uint8]:
    """The scene that `path` names, uint8 RGB (240, 320, 3). Raises SettingsError when it names none."""
    match = NAME.fullmatch(path.as_posix())
    if match is None:
        raise SettingsError(f"{path} is no drawn scene; expected synthetic/<seed>-<index of six digits>")
    return draw_scene(int(match[1]), int(match[2]))[0]


def write_folder(folder: Path, count: int, seed: int) -> None:
    """Writes `count` scenes as JPEG files with labels, to try everything that reads files without photos.

    `folder` gets the layout that `readers.read_source` knows: `wider/wider_face_train_bbx_gt.txt` with the scenes in
    `wider/train/images`, and `landmarks/faces_train.csv` with one row for each face, its points in the same scenes.
    """
    images = folder / "wider" / "train" / "images" / EVENT
    points = folder / "landmarks" / "faces_train.csv"
    images.mkdir(parents=True, exist_ok=True)
    points.parent.mkdir(exist_ok=True)
    wider: list[str] = []
    rows = [CSV_HEADER]
    for index in range(count):
        image, boxes, landmarks = draw_scene(seed, index)
        name = f"0_Drawn_{seed}_{index:06d}.jpg"
        save_image(images / name, image)
        wider += [f"{EVENT}/{name}", str(len(boxes)), *(_wider_row(box) for box in boxes)]
        wider += [] if len(boxes) else ["0 " * 10]
        for box, face in zip(boxes, landmarks, strict=True):
            values = ",".join(f"{value:.2f}" for value in (*box, *face.ravel()))
            rows.append(f"../wider/train/images/{EVENT}/{name},{values}")
    write_whole(folder / "wider" / "wider_face_train_bbx_gt.txt", "\n".join([*wider, ""]).encode())
    write_whole(points, "\n".join([*rows, ""]).encode())


def _wider_row(box: Array) -> str:
    x1, y1, x2, y2 = box
    return f"{x1:.2f} {y1:.2f} {x2 - x1:.2f} {y2 - y1:.2f} 0 0 0 0 0 0"


def _labels(heads: list[Head]) -> tuple[Array, Array]:
    boxes = np.array([head.box() for head in heads], np.float32).reshape(-1, 4)
    landmarks = np.array([head.at(head.features()) for head in heads], np.float32).reshape(-1, 5, 2)
    return boxes, landmarks


def _place_heads(seed: int, index: int, height: int, width: int) -> list[Head]:
    """Up to MAX_FACES heads that lie inside the image and hardly overlap; small ones are as frequent as large ones."""
    if min(height, width) < 64:
        raise SettingsError(f"a scene of {height} x {width} pixels; expected 64 or more a side")
    rng = np.random.default_rng([seed, index, 0])
    largest = min(FACE_HEIGHTS[1], 0.45 * min(height, width))
    heads: list[Head] = []
    for _ in range(int(rng.integers(0, MAX_FACES + 1))):
        for _ in range(10):  # a full scene has fewer
            head = _random_head(rng, largest, height, width)
            if not heads or ios(_grown(head), np.array([other.box() for other in heads])).max() < 0.1:
                heads.append(head)
                break
    return heads


def _grown(head: Head) -> Array:
    """The box (1, 4) with room for hair and neck, which could otherwise cover a neighbour."""
    x1, y1, x2, y2 = head.box()
    aside, up, down = 0.13 * (x2 - x1), 0.12 * (y2 - y1), 0.27 * (y2 - y1)
    return np.array([[x1 - aside, y1 - up, x2 + aside, y2 + down]])


def _random_head(rng: np.random.Generator, largest: float, height: int, width: int) -> Head:
    half_height = 0.5 * float(np.exp(rng.uniform(np.log(FACE_HEIGHTS[0]), np.log(largest))))
    half_width = half_height * float(rng.uniform(0.68, 0.86))
    margin = half_height + 1  # the longer half axis: inside at any tilt
    x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
    tilt = float(np.clip(rng.normal(0, 8), -20, 20))
    return Head(float(x), float(y), half_width, half_height, tilt, float(rng.uniform(-1, 1)))
