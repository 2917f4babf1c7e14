"""Faces as WIDER FACE's folder of text files, which `mtcnn eval wider` reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from ...errors import MtcnnError, SettingsError
from ...metrics.wider_detections import faces_to_rows, write_detections
from ..items import Item
from ..places import Places, folded, safe_stem
from ..sources import Source, kind_of

__all__ = ["WiderFiles"]


class WiderFiles:
    """A sink that writes `<folder>/<event>/<image>.txt` for each item.

    The event is the folder that an image lies in; of a video, the event is its name and its frames are the images. A
    number keeps images of one name apart. An earlier file of detections is replaced, any other file is not.
    """

    def __init__(self, folder: Path, places: Places | Iterable[Source]) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"`wider` {folder} is a file; expected a folder")
        self.folder = folder
        self._names: dict[Source, str] = {}
        taken: set[str] = set()
        for source in Places.of(places).sources:
            names = chain([_wider_name(source)], (f"{_wider_name(source)}-{number}" for number in count(2)))
            self._names[source] = next(name for name in names if folded(name) not in taken)
            taken.add(folded(self._names[source]))

    def name(self, source: Source, frame: int | None = None) -> str:
        """ "<event>/<image>" of an image, or of a frame of a video; "<event>" of a whole video."""
        name = self._names[source]
        return name if frame is None else f"{name}/{name}-frame{frame:06d}"

    def write(self, item: Item) -> None:
        name = self.name(item.source, item.frame)
        path = self.folder / f"{name}.txt"
        if path.exists() and not _is_detections(path):
            raise MtcnnError(f"{path}: exists and holds no detections; expected another folder; name one in `wider`")
        write_detections(self.folder, {name: faces_to_rows(item.faces)})

    def close(self) -> None:
        """Nothing is left to do: each file is whole."""


def _wider_name(source: Source) -> str:
    if kind_of(source) != "image":
        return safe_stem(source)
    event = os.path.basename(os.path.dirname(os.path.abspath(source)))  # `..` is gone; links keep their names
    return f"{event or 'root'}/{safe_stem(source)}"


def _is_detections(path: Path) -> bool:
    """Whether a file has WIDER's form: a name, a count, and as many rows of five numbers."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError:
        return False
    rows = lines[2:]
    return len(lines) >= 2 and lines[1].strip() == str(len(rows)) and all(len(row.split()) == 5 for row in rows)
