"""The image sources of a work folder, stored so that later commands need not repeat them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.terminal import printable

from .joined_records import joined_sources
from .label_check import fit
from .photo_hashes import EvalHashes, PhotoHashes
from .photo_sizes import PhotoSizes
from .readers import read_source, split_names, split_source
from .readers.places import place_of
from .records import ImageRecord, Note
from .source_notes import SourceNote, note_of

__all__ = ["Refused", "are_noted", "read_sources", "remember_sources", "remembered_sources"]

NAME = "sources.json"
SHOWN = 5  # problems of labels printed one by one
EVALUATED = 0.5  # share of photos of an evaluation above which a source is that of the evaluation


class Refused:
    """Photos of an evaluation, which no training may see.

    evaluation  their hashes.    photo_hashes  remembers those of other photos.
    """

    def __init__(self, evaluation: EvalHashes, photo_hashes: PhotoHashes) -> None:
        self.evaluation, self.photo_hashes = evaluation, photo_hashes

    def without(self, records: Sequence[ImageRecord], spec: str, quiet: bool = False) -> list[ImageRecord]:
        """The records of a source without evaluation photos, which are reported in one line on stderr.

        Raises DataError if none is left, or if most are evaluation photos.
        """
        hashes = self.photo_hashes.of((record.path for record in records), None if quiet else "photos compared")
        near = self.evaluation.near([hashes[record.path] for record in records])
        if not near.any():
            return list(records)
        lost = list(dict.fromkeys(record.path for record, bad in zip(records, near, strict=True) if bad))
        line = f"{spec}: {len(lost)} photos are photos of an evaluation, or nearly, such as {lost[0]}"
        if near.mean() > EVALUATED:
            raise DataError(f"{line}; expected photos that no evaluation uses; see `mtcnn data check`")
        print(printable(f"{line}; left out"), file=sys.stderr)
        return [record for record, bad in zip(records, near, strict=True) if not bad]


def _absolute(spec: str) -> str:
    """`spec` with its paths made absolute, so that it means the same from another folder."""
    name, path, images = split_source(spec)
    if name == "synthetic":
        return spec
    images, names = split_names(name, images)
    path, images = (str(place_of(part).resolve()) if part else "" for part in (path, images))
    parts = [name, path, images, names] if name else [path]
    return ":".join(parts).rstrip(":")


def remember_sources(work: Path, specs: Sequence[str]) -> None:
    """Store the sources of a work folder."""
    with atomic_write(work / NAME) as draft:
        draft.write_text(json.dumps([_absolute(spec) for spec in specs], indent=1))


def are_noted(work: Path, specs: Sequence[str] | None = None) -> bool:
    """Whether a work folder has stored sources, and if `specs` are given, these."""
    if specs is None or not (work / NAME).is_file():
        return (work / NAME).is_file()
    try:
        return _noted(work / NAME) == [_absolute(spec) for spec in specs]
    except DataError:  # of a damaged file
        return False


def remembered_sources(work: Path) -> list[str]:
    """The sources stored in `work`, else MTCNN_DATA. Raises DataError if there is neither."""
    if are_noted(work):
        return _noted(work / NAME)
    if os.environ.get("MTCNN_DATA"):
        return [os.environ["MTCNN_DATA"]]
    raise DataError(
        f"{work} has no stored sources; name them once with `sources` FOLDER or `sources` FORMAT:PATH, "
        "or try `sources` synthetic:500 for drawn faces"
    )


def _noted(path: Path) -> list[str]:
    try:
        specs = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        specs = None
    if not isinstance(specs, list) or not specs or not all(isinstance(spec, str) for spec in specs):
        raise DataError(f'{path} is no list of sources; expected JSON such as ["/data"]; name `sources` again')
    return specs


def read_sources(
    specs: Sequence[str],
    seed: int = 0,
    quiet: bool = False,
    photo_sizes: PhotoSizes | None = None,
    refused: Refused | None = None,
    notes: list[SourceNote] | None = None,
    fitted: bool = True,
) -> list[ImageRecord]:
    """All records of `specs`, in order; labels that do not fit their photos are ignored, see `fit`.

    photo_sizes  remembers the sizes of the photos; None opens every photo.
    refused      finds photos that no training may see; None: every photo is taken.
    notes        a list to which a note for each source is added.
    fitted       compare labels with their photos; False returns them as they are.

    The labels of a photo in several sources are joined: as records of their own they would take the faces of each other
    for background.

    Problems with labels are skipped and reported on stderr, with a line per source unless it has no problem and the run
    is `quiet`. Raises DataError for a source of which hardly any box fits.
    """
    sources: list[list[ImageRecord]] = []
    for spec in specs:
        found, problems = read_source(spec, seed)
        for note in problems:
            if isinstance(note, Note):
                print(printable(str(note)), file=sys.stderr)
        problems = [problem for problem in problems if not isinstance(problem, Note)]
        for problem in problems[:SHOWN]:
            print(printable(f"skipped {problem}"), file=sys.stderr)
        if len(problems) > SHOWN:
            print(printable(f"skipped {len(problems) - SHOWN} more rows or images of {spec}"), file=sys.stderr)
        if refused is not None:
            found = refused.without(found, spec, quiet)
        if not fitted:
            sources.append(found)
            continue
        result = fit(found, spec, photo_sizes)
        if result.dropped or not quiet:
            print(printable(f"{spec}: {result.line}"), file=sys.stderr)
        if doubt := result.doubt(spec):
            print(printable(f"warning: {spec}: {doubt}"), file=sys.stderr)
        sources.append(result.records)
        if notes is not None:
            notes.append(note_of(spec, result.records))
    records, repeated = joined_sources(sources)
    if repeated and not quiet:
        print(f"{repeated} photos are in more than one source; their labels are joined", file=sys.stderr)
    return records
