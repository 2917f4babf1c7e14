"""Progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["progress"]


def progress(
    items: Iterable[Any] | None = None, *, name: str, total: int | None = None, unit: str = "img", quiet: bool = False,
    **settings: Any,
) -> Any:  # fmt: skip
    """A tqdm bar over `items`, or for `update` calls without them, shown if stderr is a terminal.

    In a file, all states of a bar would end up on one endless line.
    """
    hidden = quiet or not sys.stderr.isatty()
    return tqdm(
        items, total=total, desc=name, unit=unit, disable=hidden, file=sys.stderr, dynamic_ncols=True, **settings
    )
