"""Training photos, decoded once and stored as raw pixels in one file, so that crops need no decoding.

An epoch takes one crop per photo; decoding the photo costs several times as much as the crop. The file is as large as
the pixels: 2 MB for a photo of 1024 x 768.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError, ImageError
from mtcnn.files.atomic_write import atomic_write, write_whole
from mtcnn.progress import progress
from mtcnn.resample import resample
from mtcnn.terminal import printable
from prepare.build import image_of
from prepare.records import ImageRecord, Problem

__all__ = ["PhotoStore", "build_photos", "photos_key"]

FORMAT = 1

Place = tuple[int, int, int, float]  # first byte, height, width, and what the photo was scaled by


def build_photos(
    records: Sequence[ImageRecord], path: Path, key: str, longest: int = 1280, quiet: bool = False
) -> list[Problem]:
    """Write the pixels of `records` to `path`, and where each image lies to `path` with the suffix .json.

    key      identifies the images; `photos_key` reads it.
    longest  images with a longer side are shrunk to it, since training never uses more pixels.

    Returns the images that could not be read and are skipped; skipped-<name>.txt beside the file lists them.
    """
    index = path.with_suffix(".json")
    with atomic_write(path) as draft, draft.open("wb") as file:
        places, problems = _write(records, file, path.name, longest, quiet)
        index.unlink(missing_ok=True)  # that of other pixels
    skipped = "".join(f"{printable(str(problem))}\n" for problem in problems)
    write_whole(path.with_name(f"skipped-{path.stem}.txt"), os.fsencode(skipped))  # names that are not UTF-8 too
    write_whole(index, json.dumps({"format": FORMAT, "key": key, "places": places}).encode())  # last: it has the key
    return problems


def _write(
    records: Sequence[ImageRecord], file: BinaryIO, name: str, longest: int, quiet: bool
) -> tuple[list[Place | None], list[Problem]]:
    """Where each image lies in `file`, None for an unreadable one, and the errors."""
    places: list[Place | None] = []
    problems: list[Problem] = []
    bar, start = progress(records, name=name, quiet=quiet), 0
    for record in bar:
        try:
            small, scale = _shrunk(image_of(record), longest)
        except ImageError as error:
            problems.append(Problem(str(record.path), str(error).removeprefix(f"{record.path}: ")))
            bar.write(printable(f"skipped {problems[-1]}"), file=sys.stderr)
            places.append(None)
            continue
        file.write(small.data)
        places.append((start, *small.shape[:2], scale))
        start += small.size
    return places, problems


def photos_key(path: Path) -> str | None:
    """The key of the photos at `path`, None if missing, incomplete or damaged."""
    body = _index(path.with_suffix(".json")) if path.is_file() else {}
    places = _places(body)
    if places is None:
        return None
    starts = [start for start, *_ in filter(None, places)]
    ends = list(accumulate(height * width * 3 for _, height, width, _ in filter(None, places)))
    if [*starts, path.stat().st_size] != [0, *ends]:
        return None
    return None if body.get("key") is None else str(body["key"])


def _shrunk(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image), 1.0
    return resample(image, max(round(height * scale), 1), max(round(width * scale), 1)), scale


def _index(path: Path) -> dict[str, object]:
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) and body.get("format") == FORMAT else {}


def _places(body: Mapping[str, object]) -> list[Place | None] | None:
    """Where each image lies, by an index; None if the index is damaged."""
    places = body.get("places")
    return places if isinstance(places, list) and all(each is None or _is_place(each) for each in places) else None


def _is_place(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 4 or not all(type(number) is int for number in row[:3]):
        return False
    return row[0] >= 0 and min(row[1:3]) > 0 and isinstance(row[3], int | float) and 0 < row[3] <= 1


class PhotoStore:
    """What `build_photos` wrote, with the labels of the images: `records`, boxes and landmarks at the stored size.

    Raises DataError if the file is missing, or was made from other records.
    """

    def __init__(self, path: Path, records: Sequence[ImageRecord]) -> None:
        places = _places(_index(path.with_suffix(".json")))
        if photos_key(path) is None or places is None or len(places) != len(records):
            raise DataError(f"{path} holds no photos of these {len(records)} records; delete it and train again")
        kept = [(place, record) for place, record in zip(places, records, strict=True) if place is not None]
        self.places = [(start, height, width) for (start, height, width, _), _ in kept]
        self.records = [_scaled(record, place[3]) for place, record in kept]
        self.pixels = np.memmap(path, np.uint8, mode="r") if kept else np.zeros(0, np.uint8)
        self._made_of = (path, records)

    def __reduce__(self) -> tuple[type[PhotoStore], tuple[Path, Sequence[ImageRecord]]]:
        """Another process, or a copy, maps the file for itself: its pixels may be gigabytes."""
        return PhotoStore, self._made_of

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Pixels of image `index`, uint8 RGB (H, W, 3), read-only, memory-mapped."""
        start, height, width = self.places[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def _scaled(record: ImageRecord, scale: float) -> ImageRecord:
    return record if scale == 1 else replace(record, boxes=record.boxes * scale, landmarks=record.landmarks * scale)
