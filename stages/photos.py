"""Training photos, decoded once and kept as raw pixels in one file, so that a crop costs no decoding.

An epoch takes one crop of each photo; decoding a photo for it costs several times what the crop does. The file is as
large as the pixels: 2 MB for a photo of 1024 x 768.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn.errors import DataError, ImageError
from mtcnn.resample import resample
from prepare.build import image_of
from prepare.records import ImageRecord, Problem

__all__ = ["Photos", "build_photos"]

FORMAT = 1


def build_photos(
    records: Sequence[ImageRecord], path: Path, key: str, longest: int = 1280, quiet: bool = False
) -> list[Problem]:
    """Write the pixels of `records` to `path`, and where each image lies to `path` with the suffix .json.

    longest  images with a longer side are shrunk to it, as nets are not trained on more pixels anyway.

    Nothing is done where the file is there for the same `key`. Returns the images that could not be read, which the
    file passes over.
    """
    index = path.with_suffix(".json")
    if path.is_file() and _index(index).get("key") == key:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    places: list[list[float] | None] = []
    problems: list[Problem] = []
    draft, start = path.with_name(f".{path.name}.{os.getpid()}"), 0
    with draft.open("wb") as file:
        for record in tqdm(records, desc=path.name, unit="img", disable=quiet, file=sys.stderr):
            try:
                image = image_of(record)
            except ImageError as error:
                problems.append(Problem(str(record.path), str(error).removeprefix(f"{record.path}: ")))
                places.append(None)
                continue
            small, scale = _shrunk(image, longest)
            file.write(small.data)
            places.append([start, *small.shape[:2], scale])
            start += small.size
    os.replace(draft, path)
    body = {"format": FORMAT, "key": key, "places": places, "problems": [str(problem) for problem in problems]}
    index.write_text(json.dumps(body))
    return problems


def _shrunk(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image), 1.0
    return resample(image, max(round(height * scale), 1), max(round(width * scale), 1)), scale


def _index(path: Path) -> dict[str, object]:
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) and body.get("format") == FORMAT else {}


class Photos:
    """What `build_photos` wrote, with the labels of the images: `records`, boxes and landmarks at the kept size.

    Raises DataError when the file is missing, or was made of other records.
    """

    def __init__(self, path: Path, records: Sequence[ImageRecord]) -> None:
        body = _index(path.with_suffix(".json"))
        places = body.get("places")
        if not isinstance(places, list) or len(places) != len(records):
            raise DataError(f"{path} holds no photos of these {len(records)} records; delete it and train again")
        kept = [i for i, place in enumerate(places) if place is not None]
        self.places = [(int(s), int(h), int(w)) for s, h, w, _ in (places[i] for i in kept)]
        self.records = [_scaled(records[i], places[i][3]) for i in kept]
        self.pixels = np.memmap(path, np.uint8, mode="r") if kept else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Pixels of image `index`, uint8 RGB (H, W, 3), read-only; they are read from the disk as they are used."""
        start, height, width = self.places[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def _scaled(record: ImageRecord, scale: float) -> ImageRecord:
    return record if scale == 1 else replace(record, boxes=record.boxes * scale, landmarks=record.landmarks * scale)
