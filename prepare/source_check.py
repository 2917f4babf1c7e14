"""Content and problems of a source: `mtcnn data check`.

Labels are compared with their photos as in training (`label_check`); every photo is decoded once, and its hash is
compared with those of the other photos and of evaluation photos (`photo_hashes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.errors import DataError, ImageError
from mtcnn.images import difference_hash

from . import synthetic
from .label_check import Fit, compare
from .photo_hashes import EvalHashes, PhotoHashes, near_pairs
from .photo_sizes import PhotoSizes
from .readers import form_of, read_source
from .records import ImageRecord, Note
from .sample import CropSettings

__all__ = ["SIZES", "SourceCheck", "check_sources", "smallest_learnt"]

SIZES = (0, 8, 16, 32, 64, 128, 256)  # lower ends of the bins of a face's longer side, pixels
SHOWN = 5  # files or problems of a kind in the text

MATCHED = 0.35  # IoU from which an anchor belongs to a face, in RetinaFace's recipe

Pair = tuple[Path, Path]


def smallest_learnt() -> dict[str, float]:
    """The longer side, in pixels of the photo as a training scales it, of the smallest faces that the nets with
    packaged weights learn: of the cascade's crops, and of a square that RetinaFace's smallest anchor matches."""
    decoder = DETECTORS["retinaface"].decoder
    assert isinstance(decoder, SsdCodes)
    anchor = min(size for level in decoder.layout for size in level.sizes)
    return {"mtcnn": CropSettings().min_face, "retinaface": round(anchor * MATCHED**0.5, 1)}


@dataclass
class SourceCheck:
    """The result for the source `spec`.

    form        format of the labels.    records  as read; empty if the source cannot be read.
    fault       why training would reject the source, or "".
    problems    rows and images that the reader skipped.    notes  its other messages.
    fit         labels compared with photos.
    turned      photos whose labels give width and height swapped, as before an EXIF turn.
    empty       photos of no bytes, which are among the unreadable ones.
    unreadable  photos that cannot be decoded, each with the reason.
    duplicates  pairs of near-duplicates within the source.
    between     pairs of near-duplicates, the first from an earlier source.
    evaluation  evaluation photos and near-duplicates of these.
    """

    spec: str
    form: str = ""
    records: Sequence[ImageRecord] = ()
    fault: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fit: Fit | None = None
    turned: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    duplicates: list[Pair] = field(default_factory=list)
    between: list[Pair] = field(default_factory=list)
    evaluation: list[Path] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether training uses all of its photos."""
        return not self.fault and not self.evaluation

    def photos(self) -> list[Path]:
        """The photos, each once, in order, without synthetic scenes."""
        paths = dict.fromkeys(record.path for record in self.records)
        return [path for path in paths if not synthetic.is_synthetic(path)]

    def sizes(self) -> dict[str, int]:
        """Number of faces by the longer side of their boxes, in the bins of SIZES."""
        sides = np.zeros(0) if self.fit is None else self.fit.sides
        counts = np.histogram(sides, [*SIZES, np.inf])[0].tolist()
        names = [f"{low}-{high}" for low, high in pairwise(SIZES)]
        return dict(zip([f"<{SIZES[1]}", *names[1:], f">={SIZES[-1]}"], counts, strict=True))

    def learnt(self) -> dict[str, int]:
        """Number of faces that are large enough for each net of `smallest_learnt`, without ignore regions."""
        sides = np.zeros(0) if self.fit is None else self.fit.sides[~self.fit.ignored]
        return {net: int((sides >= smallest).sum()) for net, smallest in smallest_learnt().items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        faces = 0 if self.fit is None else self.fit.faces
        ignored = 0 if self.fit is None else sum(int(record.ignore.sum()) for record in self.fit.records)
        points = [np.isfinite(record.landmarks).all(axis=(1, 2)).sum() for record in self.records]
        return {
            "source": self.spec, "format": self.form, "photos": len(self.records), "faces": faces, "ignored": ignored,
            "with_landmarks": int(sum(points)), "sizes": self.sizes(),
            "large_enough": self.learnt(), "turned": [str(path) for path in self.turned],
            "empty": [str(path) for path in self.empty],
            "incomplete": sum(not record.complete for record in self.records),
            "do_not_fit": {} if self.fit is None else self.fit.dropped, "unreadable": self.unreadable,
            "problems": self.problems, "notes": self.notes, "fault": self.fault,
            "near_duplicates": [[str(path) for path in pair] for pair in self.duplicates],
            "near_duplicates_of_earlier_sources": [[str(path) for path in pair] for pair in self.between],
            "evaluation_photos": [str(path) for path in self.evaluation],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The result as text; empty items are omitted."""
        found, said = self.to_dict(), [f"{self.spec}: {self.form or 'no format that is known'}"]
        if self.fit is not None:
            said.append(
                f"  {found['photos']:,} photos{self.fit.photos}, {found['incomplete']:,} of them not fully labelled"
            )
            said.append(
                f"  {found['faces']:,} faces, {found['ignored']:,} of them ignored, "
                f"{found['with_landmarks']:,} with landmarks"
            )
            if len(self.fit.sides):
                said.append("  longer sides: " + ", ".join(f"{size} px {n:,}" for size, n in found["sizes"].items()))
                limits = smallest_learnt().items()
                enough = [
                    f"{net} {n:,} from {low:g} px" for (net, low), n in zip(limits, self.learnt().values(), strict=True)
                ]
                rest = f"of {(~self.fit.ignored).sum():,} that fit" + (
                    ", not ignored" if self.fit.ignored.any() else ""
                )
                said.append(f"  large enough to learn: {', '.join(enough)}; {rest}")
            said += [f"  {count:,} boxes {reason}" for reason, count in self.fit.dropped.items()]
        said += [f"  {note}" for note in self.notes]
        said += _some("rows or images skipped", self.problems) + _some("photos cannot be read", self.unreadable)
        said += _some("photos of no bytes", self.empty)
        said += _some("photos turned by EXIF whose labels may not be: look at the sheet", self.turned)
        said += _some("pairs of photos nearly the same", [f"{a} = {b}" for a, b in self.duplicates])
        said += _some("photos nearly those of an earlier source", [f"{b} = {a}" for a, b in self.between])
        said += _some("photos of an evaluation, or nearly; a training leaves them out", self.evaluation)
        return [*said, f"  a training refuses it: {self.fault}"] if self.fault else said


def _some(what: str, items: Sequence[object]) -> list[str]:
    if not items:
        return []
    rest = [f"    ... and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    return [f"  {len(items):,} {what}", *(f"    {item}" for item in items[:SHOWN]), *rest]


def check_sources(
    specs: Sequence[str],
    evaluation: EvalHashes,
    photo_hashes: PhotoHashes,
    photo_sizes: PhotoSizes,
    quiet: bool = False,
) -> list[SourceCheck]:
    """Check sources, and compare the photos of each with the sources before it. Unreadable sources have a fault."""
    found = [_read(spec, photo_sizes) for spec in specs]
    hashes: dict[Path, int | None] = {}
    for check in found:
        photos = check.photos()
        hashes |= photo_hashes.of(photos, None if quiet else check.spec[-40:])
        check.unreadable = [_why(path) for path in photos if hashes[path] is None]
        near = evaluation.near([hashes[path] for path in photos])
        check.evaluation = [path for path, bad in zip(photos, near, strict=True) if bad]
    _compare_photos(found, hashes)
    return found


def _read(spec: str, photo_sizes: PhotoSizes) -> SourceCheck:
    check = SourceCheck(spec)
    try:
        check.form = form_of(spec)
        check.records, problems = read_source(spec)
    except DataError as error:
        check.fault = str(error)
        return check
    check.notes = [str(problem) for problem in problems if isinstance(problem, Note)]
    check.problems = [str(problem) for problem in problems if not isinstance(problem, Note)]
    check.fit = compare(check.records, photo_sizes)
    check.turned = _turned(check.records, photo_sizes)
    check.empty = [path for path in check.photos() if path.is_file() and not path.stat().st_size]
    check.fault = check.fit.fault(spec)
    if doubt := check.fit.doubt(spec):
        check.notes.append(doubt)
    return check


def _turned(records: Sequence[ImageRecord], photo_sizes: PhotoSizes) -> list[Path]:
    """Photos that are labelled at their size with width and height swapped."""
    labelled = {record.path: record.size for record in records if record.size is not None}
    sizes = photo_sizes.of(labelled)
    return [path for path, size in labelled.items() if (real := sizes[path]) and size != real and size == real[::-1]]


def _why(path: Path) -> str:
    try:
        difference_hash(path)
    except ImageError as error:
        return str(error)
    return f"{path}: could not be read a moment ago"


def _compare_photos(checks: Sequence[SourceCheck], hashes: dict[Path, int | None]) -> None:
    """Fill in `duplicates` and `between`: each photo with its earliest near-duplicate."""
    owners: dict[Path, int] = {}
    for number, check in enumerate(checks):
        for path in check.photos():
            if hashes[path] is not None:
                owners.setdefault(path, number)
    paths, seen = list(owners), set[Path]()
    for a, b in near_pairs(np.array([hashes[path] for path in paths], np.uint64)):
        first, second = paths[a], paths[b]
        if second in seen:
            continue
        seen.add(second)
        check = checks[owners[second]]
        (check.duplicates if owners[first] == owners[second] else check.between).append((first, second))
