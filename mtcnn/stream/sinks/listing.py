"""Faces as lines: text to read, CSV, JSON lines; and as WIDER FACE's folder of text files."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, TextIO

from ...errors import MtcnnError, SettingsError
from ...metrics.wider_detections import faces_to_rows, write_detections
from ..items import Item
from ..sources import kind_of

__all__ = ["Listing", "Style", "WiderFiles", "columns", "open_listing", "text_name"]

Style = Literal["text", "csv", "json"]

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("image", "x1", "y1", "x2", "y2", "score", *(f"{axis}_{point}" for point in POINTS for axis in "xy"))
SECONDS = 3  # decimals of a time


def columns(sources: Iterable[Path], track: bool) -> tuple[str, ...]:
    """The header of the CSV of a run: frames and times when there is a video among its sources, ids when tracked."""
    videos = any(kind_of(source) != "image" for source in sources)
    return (*COLUMNS, *(("frame", "time") if videos else ()), *(("id",) if track else ()))


def text_name(source: Path) -> str:
    """A source in the text style, where one line is one image."""
    return str(source).replace("\r", "\\r").replace("\n", "\\n")


def _text(item: Item) -> str:
    where = "" if item.frame is None else f" frame {item.frame} ({item.time:.{SECONDS}f} s)"
    lines = [f"{text_name(item.source)}{where}: {len(item.faces)} face{'' if len(item.faces) == 1 else 's'}"]
    for face in _faces(item):
        x1, y1, x2, y2 = face["box"]
        number = f"  id {face['id']}" if "id" in face else ""
        lines.append(f"  {x1:8.1f} {y1:8.1f} {x2:8.1f} {y2:8.1f}  score {face['score']:.3f}{number}")
    return "\n".join(lines) + "\n"


def _json(item: Item) -> str:
    height, width = item.image.shape[:2]
    found: dict[str, Any] = {"image": str(item.source)}
    if item.frame is not None and item.time is not None:
        found.update(frame=item.frame, time=round(item.time, SECONDS))
    found.update(width=width, height=height, faces=list(_faces(item)))
    return json.dumps(found, ensure_ascii=False) + "\n"


def _faces(item: Item) -> Iterator[dict[str, Any]]:
    """The faces as plain values, with their ids where they are tracked."""
    for i, face in enumerate(item.faces.to_dicts()):
        yield face if item.ids is None else {"id": item.ids[i], **face}


def _csv(item: Item, names: Sequence[str]) -> str:
    table = io.StringIO()
    rows = csv.DictWriter(table, names, lineterminator="\n", extrasaction="ignore")
    for face in _faces(item):
        points = (value for point in face.get("landmarks", ()) for value in point)
        row = dict(zip(COLUMNS, (str(item.source), *face["box"], face["score"], *points), strict=False))
        time = None if item.time is None else round(item.time, SECONDS)
        rows.writerow({**row, "frame": item.frame, "time": time, "id": face.get("id")})
    return table.getvalue()


class Listing:
    """A sink that prints each item whole, as soon as it comes.

    stream  where to; `close` closes it when it is `owned`.
    names   the columns of CSV, see `columns`; its header is printed at once, when it is not there yet (`begun`).
    """

    def __init__(
        self, stream: TextIO, style: Style, names: Sequence[str] = COLUMNS, begun: bool = False, owned: bool = False
    ) -> None:
        self.stream, self.style, self.names, self.owned = stream, style, names, owned
        if style == "csv" and not begun:
            self._print(",".join(names) + "\n")

    def write(self, item: Item) -> None:
        texts = {"text": _text, "json": _json}
        self._print(_csv(item, self.names) if self.style == "csv" else texts[self.style](item))

    def _print(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:  # of `| head`, which has read enough: the command ends without a word
            raise
        except OSError as error:
            raise MtcnnError(f"results cannot be written ({error.strerror}); expected room on the disk") from None

    def close(self) -> None:
        if self.owned:
            with suppress(OSError):  # of what `_print` has told already
                self.stream.close()


def open_listing(out: Path | None, style: Style, names: Sequence[str], keep: int = 0) -> Listing:
    """A listing to the file `out`, after the first `keep` bytes that it holds, or to standard output.

    Raises MtcnnError for a file that cannot be written.
    """
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8; a name that is no text goes out as it is stored
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        return Listing(sys.stdout, style, names)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stream = open(out, "r+" if keep else "w", encoding="utf-8", errors="surrogateescape", newline="\n")  # noqa: SIM115
        if keep:
            stream.truncate(keep)
            stream.seek(0, io.SEEK_END)
    except OSError as error:
        raise MtcnnError(f"{out}: cannot be written ({error.strerror}); expected a path to a file") from None
    return Listing(stream, style, names, begun=keep > 0, owned=True)


class WiderFiles:
    """A sink that writes `<folder>/<event>/<image>.txt` for each item, as `mtcnn eval wider` reads them.

    The event is the folder that an image lies in; of a video, the event is its name and its frames are the images. A
    number keeps images of one name apart.
    """

    def __init__(self, folder: Path, sources: Iterable[Path]) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"`wider` {folder} is a file; expected a folder")
        self.folder = folder
        self._names: dict[Path, str] = {}
        taken: set[str] = set()
        for source in dict.fromkeys(sources):
            names = chain([_wider_name(source)], (f"{_wider_name(source)}-{number}" for number in count(2)))
            self._names[source] = next(name for name in names if name not in taken)
            taken.add(self._names[source])

    def name(self, source: Path, frame: int | None = None) -> str:
        """ "<event>/<image>" of an image, or of a frame of a video; "<event>" of a whole video."""
        name = self._names[source]
        return name if frame is None else f"{name}/{name}-frame{frame:06d}"

    def write(self, item: Item) -> None:
        write_detections(self.folder, {self.name(item.source, item.frame): faces_to_rows(item.faces)})

    def close(self) -> None:
        """Nothing is left to do: each file is whole."""


def _wider_name(source: Path) -> str:
    if kind_of(source) != "image":
        return source.stem.replace(":", "-")
    return f"{source.absolute().parent.name or 'root'}/{source.stem}"
