"""Finds out what an earlier run has finished, from its output files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from .sinks.listing import Style, name_of_csv, text_name
from .sinks.wider_files import WiderFiles
from .sources import Source, kind_of

__all__ = ["Done", "read_listing", "read_wider"]

_HEAD = re.compile(r"(\S.*?)(?: frame (\d+) \([\d.]+ s\))?: \d+ faces?\n")
_FACE = re.compile(r"  .* score [\d.]+(  id \d+)?\n")
_FRAME = re.compile(r".*-frame(\d+)\.txt")


@dataclass
class Done:
    """What need not be done again.

    sources  finished images and videos.
    first    unfinished videos -> the first missing frame.
    keep     bytes of the listing to keep; the rest is a partial line, or will be rewritten.
    """

    sources: set[Source] = field(default_factory=set)
    first: dict[Source, int] = field(default_factory=dict)
    keep: int = 0


class _Listed(NamedTuple):
    """An entry of a listing, of one image or frame: its name, and the number of lines up to its end."""

    name: str
    frame: int | None
    lines: int


def read_listing(
    out: Path, style: Style, names: Sequence[str], sources: Iterable[Source], whole_videos: bool = False
) -> Done:
    """What the listing `out` has of `sources`; nothing if the file does not exist.

    names         the columns of CSV, see `listing.columns`.
    whole_videos  restart the last video instead of continuing within it.

    The last entry of text and CSV may lack lines, so it is repeated. Images without faces leave no row in a CSV, and
    are repeated too. Raises DataError if the file is not such a listing, so that no other file is truncated.
    """
    try:
        data = out.read_bytes() if out.exists() else b""
    except OSError as error:
        raise DataError(f"{out}: cannot be read ({error.strerror}); expected results of an earlier run") from None
    lines = [f"{line}\n" for line in data.decode("utf-8", "surrogateescape").split("\n")[:-1]]
    readers = {"json": _read_json, "csv": _read_csv, "text": _read_text}
    entries: list[_Listed] = []
    try:
        for entry in readers[style](lines, names):
            if entries and style == "csv" and entry[:2] == entries[-1][:2]:  # another face of the same image
                entries.pop()
            entries.append(entry)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error):
        raise DataError(
            f"{out}: is no listing to continue with `resume`, expected {style} of these columns and options; "
            "name another file, or leave `resume` out to write it anew"
        ) from None
    if style != "json":
        entries = entries[:-1]
    ends = [0, *accumulate(len(line.encode("utf-8", "surrogateescape")) for line in lines)]
    label = text_name if style == "text" else str
    return _done(entries, {label(source): source for source in sources}, ends, style == "csv", whole_videos)


def _read_json(lines: Sequence[str], names: Sequence[str]) -> Iterator[_Listed]:
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        name, frame = row["image"], row.get("frame")
        if not isinstance(name, str) or not (frame is None or type(frame) is int):
            raise TypeError(line)
        yield _Listed(name, frame, number)


def _read_csv(lines: Sequence[str], names: Sequence[str]) -> Iterator[_Listed]:
    rows = csv.reader(lines)
    if lines and tuple(next(rows)) != tuple(names):
        raise ValueError(lines[0])
    for row in rows:
        if len(row) != len(names):
            if rows.line_num == len(lines):  # truncated within a name of several lines
                return
            raise ValueError(row)
        frame = row[names.index("frame")] if "frame" in names else ""
        yield _Listed(name_of_csv(row[0]), int(frame) if frame else None, rows.line_num)


def _read_text(lines: Sequence[str], names: Sequence[str]) -> Iterator[_Listed]:
    entry: _Listed | None = None
    for number, line in enumerate(lines, 1):
        if entry and _FACE.fullmatch(line):
            entry = entry._replace(lines=number)
            continue
        head = _HEAD.fullmatch(line)
        if head is None:
            raise ValueError(line)
        if entry:
            yield entry
        entry = _Listed(head[1], None if head[2] is None else int(head[2]), number)
    if entry:
        yield entry


def _done(
    entries: Sequence[_Listed], known: dict[str, Source], ends: Sequence[int], header: bool, whole_videos: bool
) -> Done:
    last = entries[-1] if entries else None
    in_video = last is not None and last.frame is not None
    if last and in_video and whole_videos:
        entries = [entry for entry in entries if entry.name != last.name]
    done = Done({known[entry.name] for entry in entries if entry.name in known})
    done.keep = ends[entries[-1].lines if entries else min(int(header), len(ends) - 1)]
    if last and last.frame is not None and last.name in known and not whole_videos:
        done.sources.discard(known[last.name])
        done.first[known[last.name]] = last.frame + 1
    return done


def read_wider(files: WiderFiles, sources: Iterable[Source], whole_videos: bool = False) -> Done:
    """What the files of a WIDER folder have of `sources`. Videos are continued: their length is unknown here."""
    done = Done()
    for source in sources:
        name = files.name(source)
        if kind_of(source) == "image":
            if (files.folder / f"{name}.txt").exists():
                done.sources.add(source)
        elif not whole_videos:
            frames = (_FRAME.fullmatch(path.name) for path in (files.folder / name).glob("*.txt"))
            done.first[source] = max((int(frame[1]) for frame in frames if frame), default=-1) + 1
    return done
