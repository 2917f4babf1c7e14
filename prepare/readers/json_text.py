"""Label files in JSON, read with the care that foreign files need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtcnn.errors import DataError
from mtcnn.files.text import read_text

from .label_file import LARGEST

__all__ = ["number_list", "read_json", "whole"]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such label file; give the path of an existing one")
    try:
        found = json.loads(read_text(path, "utf-8-sig", longest=None))
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        raise DataError(f"{path}: is no JSON ({str(error)[:80]}); expected a label file") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: is a JSON {type(found).__name__}, expected an object")
    return found


def number_list(value: Any, what: str, count: int | None = None) -> list[float]:
    """A list of numbers within the range of pixels. Raises ValueError for anything else, or another length."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise ValueError(f"{what} is {str(value)[:40]}, expected {wanted}")
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float) or not abs(each) <= LARGEST:  # NaN fails too
            raise ValueError(f"{str(each)[:40]!r} in {what} is no number of pixels")
    return [float(each) for each in value]


def whole(value: Any) -> int:
    """A positive whole number, or 0 for anything else."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9 else 0
