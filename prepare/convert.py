"""Writes labelled photos in another format: `mtcnn data convert`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError, ImageError
from mtcnn.files.atomic_write import Before
from mtcnn.images import image_size
from mtcnn.progress import progress
from mtcnn.types import Faces, ImageSize

from . import synthetic
from .build import image_of
from .joined_records import label_scores, merged
from .label_check import compare
from .photo_names import Photos, common_root, names_of, place_photo
from .readers import split_names, split_source
from .readers.places import place_of
from .records import ImageRecord
from .teachers.photo_labels import PhotoLabels
from .whole_folder import is_free, written_whole
from .writers import FORMATS, Format

__all__ = ["Conversion", "check_target", "convert"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Conversion:
    """What was written.

    path    of the labels.    source  as `--data` takes it.    lost  what the format has no place for -> count.
    """

    path: Path
    source: str
    photos: int
    faces: int
    ignored: int
    lost: dict[str, int]
    unreadable: list[str]


def convert(
    records: Sequence[ImageRecord], form: str, folder: Path, photos: Photos = "copy", quiet: bool = True
) -> Conversion:
    """Write the photos of `records` and their labels to `folder`.

    folder  new or empty, or as a killed conversion left it, whose files are deleted.
    form    one of `writers.FORMATS`.
    photos  copy: into `folder`. link: symbolic links there. leave: where they are; labels alone are written.

    A photo that is not fully labelled gets an ignore region over all of it, which has the same effect in a training.
    Boxes are written as they are, fitting or not. Photos that cannot be opened are left out.
    Raises DataError if `folder` has other content, if hardly any box fits its photo, or without photos; WriteError for
    what cannot be written. Whatever is raised, KeyboardInterrupt included, `folder` is then as it was before.
    """
    if not is_free(folder):
        raise DataError(f"{folder}: exists and is not empty; expected a new folder, as nothing is replaced")
    every = merged(records)
    if fault := compare([record for record in every if not synthetic.is_synthetic(record.path)]).fault("the source"):
        raise DataError(fault)
    kind, counts, unreadable = FORMATS[form], _Tally(), list[str]()
    root = common_root([record.path for record in every])
    names = names_of([record.path for record in every], root, photos, kind.by_stem, form == "wider")

    def labels(before: Before) -> Iterator[PhotoLabels]:
        for record, name in progress(list(zip(every, names, strict=True)), name="converting", quiet=quiet, leave=False):
            try:
                size = _size(record)
            except ImageError as error:
                unreadable.append(str(error))
                continue
            path = place_photo(record, folder / kind.photos / name, photos, before)
            yield _labels(record, path, name, size, kind, counts)

    with written_whole(folder) as before:
        path = kind.write(labels(before), folder, before)
        if not counts.photos:
            why = f"; {unreadable[0]}" if unreadable else ""
            raise DataError(f"no photo can be opened; expected labelled photos{why}")
    source = str(folder) if photos != "leave" else _left(form, path, folder, root)
    return Conversion(path, source, counts.photos, counts.faces, counts.ignored, counts.lost, unreadable)


def check_target(sources: Sequence[str], folder: Path) -> None:
    """Raises DataError if `folder` lies in a source that is a folder: its photos would be found there twice."""
    for spec in sources:
        name, path, images = split_source(spec)
        for part in filter(None, (path, split_names(name, images)[0])):
            place = place_of(part)
            if place.is_dir() and folder.absolute().resolve().is_relative_to(place.resolve()):
                raise DataError(
                    f"{folder}: lies in the source {place}, where its photos would be found again; expected a folder "
                    "elsewhere"
                )


def _left(form: str, path: Path, folder: Path, root: Path) -> str:
    """The source of labels whose photos lie elsewhere."""
    if form in ("yolo", "labelme"):
        return str(folder)
    return f"{form}:{folder if form in ('voc', 'celeba') else path}:{root}"


class _Tally:
    """What was written, and what was lost."""

    def __init__(self) -> None:
        self.photos = self.faces = self.ignored = 0
        self.lost: dict[str, int] = {}

    def lose(self, what: str, count: int) -> None:
        if count:
            self.lost[what] = self.lost.get(what, 0) + count


def _size(record: ImageRecord) -> ImageSize:
    if synthetic.is_synthetic(record.path):
        height, width = image_of(record).shape[:2]
        return ImageSize(height, width)
    return image_size(record.path)


def _labels(record: ImageRecord, path: Path, name: str, size: ImageSize, kind: Format, counts: _Tally) -> PhotoLabels:
    boxed = np.isfinite(record.boxes).all(axis=1)
    faces, ignored = ~record.ignore & (boxed | kind.boxless), record.ignore & boxed
    counts.lose("faces without a box", int((~record.ignore & ~faces).sum()))
    boxes, doubtful = record.boxes[faces], record.boxes[ignored]
    landmarks, scores = record.landmarks[faces], label_scores(record)[faces]
    if not record.complete and kind.several:  # unlabelled faces may be anywhere
        doubtful = np.concatenate([doubtful, np.array([[0, 0, size.width, size.height]], np.float32)])
    if not kind.several:
        counts.lose("faces besides the largest of a photo", max(0, len(boxes) - 1))
        counts.lose("photos without a face", int(not len(boxes)))
    if not kind.ignored:
        counts.lose("ignore regions", len(doubtful))
    if not kind.landmarks:
        counts.lose("faces with landmarks", int(np.isfinite(landmarks).any(axis=(1, 2)).sum()))
    if not kind.scores:
        counts.lose("scores", int(np.isfinite(scores).sum()))
    counts.photos += 1
    counts.faces += len(boxes) if kind.several else min(1, len(boxes))
    counts.ignored += len(doubtful) if kind.ignored else 0
    none = np.zeros((0, 4), np.float32)
    return PhotoLabels(path, name, size, boxes, scores, landmarks, doubtful, none, Faces.empty())
