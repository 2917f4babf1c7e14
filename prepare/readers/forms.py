"""Detects the format of labels from their content."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from mtcnn.images import SUFFIXES

__all__ = ["find_format"]

LOOKED_AT = 1 << 16  # bytes of a file
_ELLIPSE = 6  # numbers of FDDB's rows


def find_format(path: Path) -> str | None:
    """The format of a label file, or of a folder of them; None if unknown.

    It is recognised by the head of a block and the number of values in the first row. Photos without labels have no
    format: only their owner knows whether they may show faces.
    """
    if path.is_dir():
        if any(path.glob("FDDB-fold-*-ellipseList.txt")):
            return "fddb"
        return "voc" if any(islice(path.rglob("*.xml"), 1)) else None
    if not path.is_file():
        return None
    if path.suffix.lower() == ".csv":
        return "points"
    try:
        with path.open("rb") as file:
            text = file.read(LOOKED_AT).decode("utf-8-sig", errors="replace")
    except OSError:
        return None
    return _of_rows([line.strip() for line in text.splitlines() if line.strip()][:3])


def _of_rows(rows: list[str]) -> str | None:
    if not rows:
        return None
    if rows[0].startswith("#"):
        return "labelv2" if re.fullmatch(r"#\s*\S.*\s\d+\s+\d+", rows[0]) else "retinaface"
    if len(rows) < 2 or not rows[1].isdigit():
        return None
    if rows[0].lower().endswith(SUFFIXES):
        return "wider"
    return "fddb" if len(rows) > 2 and len(rows[2].split()) == _ELLIPSE else None
