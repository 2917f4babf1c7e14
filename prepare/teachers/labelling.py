"""`mtcnn label`: teachers look at photos, and label files are written of what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtcnn.errors import DataError, ImageError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.files.stamps import stamp_of
from mtcnn.images import read_photo
from mtcnn.progress import progress
from mtcnn.terminal import printable
from mtcnn.types import Faces, ImageSize
from mtcnn.workers import Workers

from ..build import image_of
from ..photo_names import common_folder, listed_name
from ..records import ImageRecord
from ..writers import WRITERS
from ..written_files import WrittenFiles
from .calibration import Calibration, fit_calibration
from .found import FoundFile, PhotoFaces
from .origins import origins_of
from .photo_labels import LabelSettings, PhotoLabels, labels_of
from .teacher import Teacher
from .written import NOTE

__all__ = ["Counts", "calibrate", "label_photos", "open_found", "read_labels", "write_labels"]

CALIBRATED_ON = 200  # photos at most, taken evenly


class Counts(NamedTuple):
    """Of one run: photos labelled, photos skipped, faces, doubtful regions, and regions that count as background."""

    photos: int = 0
    skipped: int = 0
    sure: int = 0
    doubtful: int = 0
    dropped: int = 0


@dataclass
class _Look:
    """What teachers find in one photo, by name; or the error of reading it. It pickles, for worker processes."""

    teachers: tuple[Teacher, ...]

    def __call__(self, record: ImageRecord) -> tuple[ImageSize, dict[str, Faces]] | ImageError:
        try:
            image = image_of(record) if not record.path.is_file() else read_photo(record.path).pixels
        except ImageError as error:
            return error
        return ImageSize(*image.shape[:2]), {teacher.name: teacher(image) for teacher in self.teachers}


def _looks(
    records: Sequence[ImageRecord], teachers: Sequence[Teacher], workers: Workers, name: str, quiet: bool
) -> Iterator[tuple[ImageRecord, tuple[ImageSize, dict[str, Faces]]]]:
    """Readable photos and what was found in them; the others are reported on stderr."""
    results = zip(records, workers.map(_Look(tuple(teachers)), records), strict=True)
    bar = progress(results, name=name, total=len(records), quiet=quiet)
    for record, found in bar:
        if isinstance(found, ImageError):
            bar.write(printable(f"skipped {found}"), file=sys.stderr)
        else:
            yield record, found


def calibrate(
    records: Sequence[ImageRecord], teachers: Sequence[Teacher], workers: Workers, quiet: bool = False
) -> Calibration:
    """A calibration of teachers on labelled photos: CALIBRATED_ON of those whose faces are all labelled.

    Raises DataError where there are none, or the labels and what is found say too little.
    """
    usable = [record for record in records if record.complete]
    if not usable:
        raise DataError(
            "no photo to calibrate on has all its faces labelled; expected some, such as those of WIDER FACE"
        )
    chosen = usable[:: -(-len(usable) // CALIBRATED_ON)]
    looked = _looks(chosen, teachers, workers, "calibrating", quiet)
    return fit_calibration([(found, record) for record, (_, found) in looked])


def open_found(folder: Path, teachers: Sequence[Teacher], calibration: Calibration) -> FoundFile:
    """The file in `folder` of what these teachers found, which need not exist.

    Raises DataError where the folder holds results of other teachers or another calibration.
    """
    key = {"teachers": [teacher.to_dict() for teacher in teachers], "calibration": asdict(calibration)}
    return FoundFile(folder / "found.jsonl", key)


def label_photos(
    records: Sequence[ImageRecord],
    teachers: Sequence[Teacher],
    calibration: Calibration,
    found: FoundFile,
    workers: Workers,
    quiet: bool = False,
) -> None:
    """Let teachers look at all photos that they have not looked at before; results are appended to `found`.

    Raises DataError where no photo can be read.
    """
    stamps = {record.path: stamp_of(record.path) for record in records if record.path not in found}
    left = [record for record in records if record.path in stamps]
    for record, (size, faces) in _looks(left, teachers, workers, "labelling", quiet):
        found.add(record.path, stamps[record.path], PhotoFaces(size, calibration(faces)))
    if not any(record.path in found for record in records):
        raise DataError("no photo can be read; expected image files; labels stay as they were")


def read_labels(
    found: FoundFile, photos: Sequence[Path], settings: LabelSettings, records: Mapping[Path, ImageRecord] | None = None
) -> Iterator[PhotoLabels]:
    """The labels of photos, in order; names are relative to the folder that holds them all.

    records  labels made by people, by path, see `labels_of`.
    """
    root = common_folder(photos)
    for path, (size, faces) in found.read(photos):
        yield labels_of(
            path, listed_name(path, root), size, faces, settings, None if records is None else records[path]
        )


def write_labels(
    labels: Iterable[PhotoLabels],
    form: str,
    written: WrittenFiles,
    teachers: Sequence[Teacher],
    settings: LabelSettings,
    calibration: Calibration,
    counts: Counts,
) -> tuple[Path, Counts]:
    """Write the labels in the format `form`, one of WRITERS, and a note about the teachers beside them. What is
    replaced should have been checked, see `WrittenFiles.check`.

    Returns the path of the labels, and `counts` with what was written added.
    """
    totals = np.zeros(4, int)

    def counted() -> Iterator[PhotoLabels]:
        for each in labels:
            totals[:] += [1, len(each.boxes), len(each.doubtful), len(each.dropped)]
            yield each

    path = WRITERS[form](counted(), written.folder, written.note)
    photos, sure, doubtful, dropped = totals.tolist()
    made = Counts(counts.photos + photos, counts.skipped, sure, doubtful, dropped)
    body: dict[str, Any] = {
        "format": 1, "labels": path.name,
        "teachers": [{**teacher.to_dict(), "weights": origins_of(teacher)} for teacher in teachers],
        **asdict(settings), "calibration": asdict(calibration), **made._asdict(),
    }  # fmt: skip
    with atomic_write(written.folder / NOTE, before=written.note) as draft:
        draft.write_text(json.dumps(body, indent=1), encoding="utf-8")
    return path, made
