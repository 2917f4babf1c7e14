"""What weights remember of the photos that they were trained on: sources, numbers, teachers of labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .readers import form_of, split_source
from .readers.places import place_of
from .records import ImageRecord

__all__ = ["SourceNote", "note_of"]

LARGEST = 1 << 20  # bytes of a note about teachers
_FIELDS = ("net", "sha256", "from", "licence", "terms")


@dataclass(frozen=True)
class SourceNote:
    """One source of images.

    name     format and name of the labels, without folders: cards are for others.
    photos   of it; `faces` are labelled in them, `scored` of these by teachers; `ignored` regions are not trained on.
    teachers  files of their weights, as `mtcnn label` wrote them beside the labels: net, sha256, from, licence, terms.
    """

    name: str
    photos: int
    faces: int
    scored: int
    ignored: int
    teachers: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "teachers": list(self.teachers)}


def note_of(spec: str, records: Sequence[ImageRecord]) -> SourceNote:
    """The note of a source, whose `records` were read from it."""
    _, path, _ = split_source(spec)
    name = spec if spec.startswith("synthetic:") else f"{form_of(spec)}:{Path(path).name}"
    faces = sum(int((~record.ignore).sum()) for record in records)
    ignored = sum(int(record.ignore.sum()) for record in records)
    scored = sum(int((record.scores < 1)[~record.ignore].sum()) for record in records if record.scores is not None)
    return SourceNote(name, len(records), faces, scored, ignored, _teachers(place_of(path)))


def _teachers(labels: Path) -> tuple[dict[str, str], ...]:
    """Those of `teachers.json` beside a file of labels, where it is about that file."""
    note = labels.with_name("teachers.json")
    try:
        if not labels.is_file() or note.stat().st_size > LARGEST:
            return ()
        body = json.loads(note.read_text("utf-8"))
        if body["labels"] != labels.name:
            return ()
        files = [file for teacher in body["teachers"] for file in teacher["weights"]]
        return tuple({field: str(file[field])[:300] for field in _FIELDS} for file in files)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ()
