"""Faces as lines: text to read, CSV and JSON lines, to standard output or to a file."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TextIO

from ... import conversions
from ...errors import MtcnnError
from ...terminal import printable
from ..items import Item
from ..sources import Source, kind_of

__all__ = ["Listing", "Style", "columns", "csv_name", "name_of_csv", "open_listing", "text_name"]

Style = Literal["text", "csv", "json"]

COLUMNS = ("image", *conversions.COLUMNS)
SECONDS = 3  # decimals of a time

_LIKE_A_FRAME = re.compile(r" frame \d+ \([\d.]+ s\)$")
# Characters that JSON allows unescaped but that control a terminal; and undecodable parts of names.
_NOT_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = tuple("=+-@\t\r'")  # beginnings of a cell that spreadsheets compute; and the mark against it


def columns(sources: Iterable[Source], track: bool) -> tuple[str, ...]:
    """The header of the CSV of a run: frames and times when there is a video among its sources, ids when tracked."""
    videos = any(kind_of(source) != "image" for source in sources)
    return (*COLUMNS, *(("frame", "time") if videos else ()), *(("id",) if track else ()))


def text_name(source: Source) -> str:
    """A source in the text style, where one line is one image. No two have the same.

    A name with special characters is quoted, with escapes: "a\\rb.png".
    """
    name = str(source)
    plain = printable(name) == name and not name.startswith('"') and not name[:1].isspace()
    if plain and not _LIKE_A_FRAME.search(name):
        return name
    return printable(json.dumps(name, ensure_ascii=False))


def csv_name(source: Source) -> str:
    """A source as a CSV cell, prefixed with ' if a spreadsheet would compute it, see `name_of_csv`."""
    name = str(source)
    return f"'{name}" if name.startswith(_FORMULA) else name


def name_of_csv(cell: str) -> str:
    """The name in a cell that `csv_name` made."""
    return cell.removeprefix("'")


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
    text = json.dumps(found, ensure_ascii=False)
    return _NOT_IN_JSON.sub(lambda character: f"\\u{ord(character[0]):04x}", text) + "\n"


def _faces(item: Item) -> Iterator[dict[str, Any]]:
    """The faces as plain values, with their ids where they are tracked, and their crops where these are written."""
    for i, face in enumerate(item.faces.to_dicts()):
        number = {} if item.ids is None else {"id": item.ids[i]}
        crop = None if item.crops is None else item.crops[i]
        yield {**number, **face, **({} if crop is None else {"crop": str(crop)})}


def _csv(item: Item, names: Sequence[str], name: str) -> str:
    rows = []
    for face in _faces(item):
        points = (value for point in face.get("landmarks", ()) for value in point)
        row = dict(zip(COLUMNS, (name, *face["box"], face["score"], *points), strict=False))
        time = None if item.time is None else round(item.time, SECONDS)
        rows.append(_csv_row({**row, "frame": item.frame, "time": time, "id": face.get("id")}, names))
    return "".join(rows)


def _csv_row(row: dict[str, Any], names: Sequence[str]) -> str:
    line = io.StringIO()
    # The writer quotes a cell with a character of its line end in it, and to readers a lone \r is a line end.
    csv.DictWriter(line, names, lineterminator="\r\n", extrasaction="ignore").writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"


class Listing:
    """A sink that prints each item whole, as soon as it comes.

    stream  where to; `close` closes it when it is `owned`.
    names   the columns of CSV, see `columns`; its header is printed first, when it is not there yet (`begun`).
    keep    bytes of the stream that stay when the first item comes; the rest is cut off then. None cuts nothing.
    """

    def __init__(
        self,
        stream: TextIO,
        style: Style,
        names: Sequence[str] = COLUMNS,
        begun: bool = False,
        owned: bool = False,
        keep: int | None = None,
    ) -> None:
        self.stream, self.style, self.names, self.owned = stream, style, names, owned
        self._keep, self._header = keep, style == "csv" and not begun

    def write(self, item: Item) -> None:
        if self.style == "csv":
            name = csv_name(item.source)
            # Nobody reads a table back from a screen.
            self._print(_csv(item, self.names, printable(name) if self.stream.isatty() else name))
        else:
            self._print(_text(item) if self.style == "text" else _json(item))

    def finish(self) -> None:
        """The run is at its end: a table without any row has a header all the same."""
        self._print("")

    def _begun(self) -> str:
        """Cut off what is not kept, once the first item is there. Returns the header that has to go before it."""
        keep, self._keep = self._keep, None
        if keep is not None:
            self.stream.truncate(keep)
            self.stream.seek(0, io.SEEK_END)
        header, self._header = self._header, False
        return ",".join(self.names) + "\n" if header else ""

    def _print(self, text: str) -> None:
        try:
            self.stream.write(self._begun() + text)
            self.stream.flush()
        except BrokenPipeError:  # as with `| head`: the command ends silently
            raise
        except OSError as error:
            raise MtcnnError(f"results cannot be written ({error.strerror}); expected free disk space") from None

    def close(self) -> None:
        if self.owned:
            with suppress(OSError):  # `_print` has reported it
                self.stream.close()


def open_listing(out: Path | None, style: Style, names: Sequence[str], keep: int = 0) -> Listing:
    """A listing to the file `out`, after the first `keep` bytes that it holds, or to standard output.

    What the file holds behind these stays until the first item comes. Raises MtcnnError for a file that cannot be
    written.
    """
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8; a name that is no text goes out as it is stored
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        return Listing(sys.stdout, style, names)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        regular = out.is_file() or not out.exists()
        if regular:
            out.touch()
        stream = open(out, "r+" if regular else "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
    except OSError as error:
        raise MtcnnError(f"{out}: cannot be written ({error.strerror}); expected a path to a file") from None
    return Listing(stream, style, names, begun=keep > 0, owned=True, keep=keep if regular else None)
