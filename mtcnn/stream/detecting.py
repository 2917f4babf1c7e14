"""Adds faces, and the ids of tracked faces, to items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..cascade import Detector
from ..errors import SettingsError
from .decoding import Read, failure
from .items import Item
from .tracking import Tracker

__all__ = ["detected", "tracked"]


def detected(detector: Detector, runs: Iterable[Sequence[Read]], debug: bool = False) -> Iterator[Read]:
    """Items with faces, in the same order; an error in place of an image at which the detector fails.

    runs   batches of images to detect together.
    debug  raise unexpected errors instead.
    """
    for run in runs:
        yield from _with_faces(detector, run, debug)
        run = ()  # frees its images before the next are collected


def _with_faces(detector: Detector, run: Sequence[Read], debug: bool) -> Iterator[Read]:
    try:
        found = iter(detector.detect([item.image for item in run if isinstance(item, Item)]))
    except SettingsError:
        raise
    except Exception as error:
        if debug:
            raise
        if sum(isinstance(item, Item) for item in run) > 1:  # one by one: the others may be fine
            for item in run:
                yield from _with_faces(detector, [item], debug)
        else:
            yield from (failure(item.source, error) if isinstance(item, Item) else item for item in run)
        return
    yield from (replace(item, faces=next(found)) if isinstance(item, Item) else item for item in run)


def tracked(results: Iterable[Read]) -> Iterator[Read]:
    """Items with ids for the faces of videos, with one tracker per video."""
    tracker, of = Tracker(), None
    for item in results:
        if isinstance(item, Item) and item.frame is not None:
            if item.source != of:
                tracker, of = Tracker(), item.source
            item = replace(item, ids=tracker.update(item.faces))
        yield item
