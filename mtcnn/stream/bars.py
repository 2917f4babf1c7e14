"""The progress bar of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from tqdm import tqdm

from .sources import Source, kind_of

__all__ = ["bar_of", "beside", "expect"]


def bar_of(sources: Sequence[Source], quiet: bool) -> Any:
    """Progress on a terminal: images and frames, how many a second, and the time that is left."""
    many = len(sources) > 1 or any(kind_of(source) != "image" for source in sources)
    hidden = quiet or not many or not sys.stderr.isatty()
    return tqdm(total=len(sources), unit="img", disable=hidden, dynamic_ncols=True)


def expect(bar: Any, frames: int | None) -> None:
    """A video has been opened: it counts as so many images."""
    bar.total = None if frames is None or bar.total is None else bar.total + frames - 1


def beside(bar: Any) -> Any:
    """A context in which printing does not run into the bar, where both are on one terminal."""
    return nullcontext() if bar.disable or not sys.stdout.isatty() else bar.external_write_mode()
