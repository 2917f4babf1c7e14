"""Detections of a comparison on disk, so that an interrupted or repeated run detects nothing twice."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.files.atomic_write import naming
from mtcnn.files.stamps import stamp_of
from mtcnn.metrics.detections import MakeDetector, detect_each
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider_detections import faces_to_rows
from mtcnn.workers import Workers

__all__ = ["cache_file", "detections"]

Rows = NDArray[np.float64]

CHUNK = 32  # photos between two writes


def cache_file(folder: Path, label: str, key: str) -> Path:
    """The file of a row's detections: `key` decides what is in it, `label` is for people."""
    plain = re.sub(r"[^\w.+@-]", "", label.replace("/", "-"))
    return folder / f"{plain[-80:]}-{key}.jsonl"


def detections(
    path: Path,
    photos: Mapping[str, Path],
    make: MakeDetector,
    workers: Workers,
    problems: Problems,
    bar: Any,
) -> dict[str, Rows]:
    """Detections of every readable photo, by name: float64 (N, 5) x y w h score.

    path  a file of JSON lines, one per photo, to which every chunk is appended. A photo whose file size or date differs
          from its line is detected again; a truncated last line is ignored.
    bar   its `update` is called with the number of photos done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = _read(path, photos)
    bar.update(len(known))
    left = {name: path for name, path in photos.items() if name not in known}
    stamps = {name: stamp_of(path) for name, path in left.items()}  # from before they are read
    found = detect_each(left, make, workers, problems) if left else iter(())
    while some := list(islice(found, CHUNK)):
        rows = {name: faces_to_rows(faces) for name, faces in some if faces is not None}
        _append(path, rows, stamps)
        known |= rows
        bar.update(len(some))
    return {name: known[name] for name in photos if name in known}


def _read(path: Path, photos: Mapping[str, Path]) -> dict[str, Rows]:
    known = {}
    for name, stamp, rows in _lines(path):
        if name in photos and stamp and stamp == stamp_of(photos[name]):
            known[name] = rows
    return known


def _lines(path: Path) -> Iterator[tuple[str, list[int], Rows]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        try:
            row = json.loads(line)
            rows = np.array(row["faces"], np.float64)
            whole = row.pop("crc", None) in (None, _checksum(row))  # lines of former versions have none
            if whole and isinstance(row["photo"], str) and (rows.shape[1:] == (5,) or row["faces"] == []):
                yield row["photo"], row["stamp"], rows.reshape(-1, 5)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # truncated by a kill or a full disk, or damaged


def _checksum(row: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(row).encode())


def _append(path: Path, found: Mapping[str, Rows], stamps: Mapping[str, list[int]]) -> None:
    rows = [{"photo": name, "stamp": stamps[name], "faces": faces.tolist()} for name, faces in found.items()]
    lines = [json.dumps({**row, "crc": _checksum(row)}) for row in rows]
    # A line break first, in case the last line was truncated. In one piece: another process may append too.
    with naming(path), path.open("ab", buffering=0) as file:
        file.write(("".join(f"\n{line}" for line in lines) + "\n").encode())
