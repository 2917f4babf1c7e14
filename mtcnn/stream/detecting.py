"""Adds faces, and the ids of tracked faces, to items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..cascade import Detector
from ..errors import SettingsError
from .between import filled
from .decoding import Read, failure
from .items import Item
from .tracking import Tracker

__all__ = ["detected", "tracked"]


def detected(detector: Detector, runs: Iterable[Sequence[Read]], debug: bool = False, step: int = 1) -> Iterator[Read]:
    """Items with faces, in the same order; an error in place of an image at which the detector fails.

    runs   batches of images to detect together.
    debug  raise unexpected errors instead.
    step   look only at frames of videos whose number is a multiple of it; the others get faces from these.
    """
    if step > 1:
        yield from filled(_looked(detector, runs, debug, step))
        return
    for run in runs:
        yield from _with_faces(detector, run, debug)
        run = ()  # frees its images before the next are collected


def _looked(detector: Detector, runs: Iterable[Sequence[Read]], debug: bool, step: int) -> Iterator[tuple[Read, bool]]:
    """Items in order, with faces where their number is a multiple of `step`, and whether it is."""
    for run in runs:
        chosen = [isinstance(item, Item) and (item.frame or 0) % step == 0 for item in run]
        found = _with_faces(detector, [item for item, look in zip(run, chosen, strict=True) if look], debug)
        for item, look in zip(run, chosen, strict=True):
            yield (next(found) if look else item), look


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
