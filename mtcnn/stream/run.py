"""Runs detection over all sources: decodes ahead, detects in batches, and passes results to sinks immediately."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2

from ..cascade import Detector
from ..engine.notice import compiling_announced
from ..errors import ImageError, SettingsError, WriteError
from ..images import MAX_PIXELS
from ..terminal import tell
from .addresses import Address
from .bars import bar_of, beside, expect
from .decoding import Read, SourceDecoder, batches, failure
from .detecting import detected, tracked
from .folders import PassedOver
from .interrupts import Interrupted, Interrupts
from .items import Item, Sink
from .places import Places, identity
from .resume import Done, read_listing, read_wider
from .sinks.listing import Listing, Style, columns, open_listing
from .sinks.pictures import Pictures
from .sinks.wider_files import WiderFiles
from .sources import Source, find_sources, kind_of
from .summary import Summary

__all__ = ["MakeSink", "Run"]

MakeSink = Callable[[Places, Detector], Sink]
"""Makes a sink from the places of a run and its detector; raises SettingsError if they do not fit its settings."""


@dataclass
class Run:
    """One run of `mtcnn detect`.

    named     names of the sources, see `sources.find_sources`.
    style     of the listing that goes to stdout, or to the file `out`.
    wider     a folder for WIDER FACE's text files, in place of the listing.
    draw      see `pictures.Pictures`.
    batch     images that are detected together.
    every     take each n-th frame of a video.
    detect_every  detect in each n-th of these frames; the faces of the others are interpolated.
    track     give the faces of a video ids, see `tracking.Tracker`.
    resume    skip what `out` or `wider` already has, and append the rest.
    settings  keyword arguments of Detector.
    sinks     makers of further sinks.
    outputs   the folders and files that these sinks write to, by setting.
    reads     other files that are read, which no output may replace.
    network   open the addresses in lists.
    max_pixels  the largest image to decode, see `images.MAX_PIXELS`.
    quiet     no bar, no notices and no summary; problems are still reported.
    verbose   report which engine computes each net.
    debug     an unexpected error of an image ends the run, with its traceback.

    worded    rewrites the message of a problem, for users who do not know the names of settings.

    Raises SettingsError for settings that make no sense, before anything is written.
    """

    named: Sequence[Source]
    style: Style = "text"
    out: Path | None = None
    wider: Path | None = None
    draw: Path | None = None
    batch: int = 8
    every: int = 1
    track: bool = False
    resume: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    sinks: Sequence[MakeSink] = ()
    outputs: dict[str, Path] = field(default_factory=dict)
    reads: Sequence[Path] = ()
    network: bool = False
    max_pixels: int | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    worded: Callable[[str], str] = str
    detect_every: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingsError(f"batch is {self.batch}; expected 1 or more")
        if self.every < 1:
            raise SettingsError(f"every is {self.every}; expected 1 or more")
        if self.detect_every < 1:
            raise SettingsError(f"detect_every is {self.detect_every}; expected 1 or more")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise SettingsError(f"max_pixels is {self.max_pixels}; expected 1 or more")
        if self.wider is not None and (self.style != "text" or self.out is not None):
            raise SettingsError("`wider` writes files of its own; expected no JSON, no CSV and no `out` beside it")
        if self.resume and self.out is None and self.wider is None:
            raise SettingsError(
                "`resume` reads what is done from the results; expected `out` FILE or `wider` DIR as well"
            )
        self._check_outputs()

    def __call__(self) -> bool:
        """Detect, and report problems on stderr, one line each. Returns True if there were none.

        Ctrl-C and SIGTERM raise Interrupted between two items, after closing all sinks; for a camera they are the usual
        end. Raises MtcnnError if an output cannot be written.
        """
        self._summary, began = Summary(), time.monotonic()
        self._last: Source | None = None  # of the last item
        with Interrupts() as interrupts:
            passed, folders = PassedOver(), [path for path in self._written().values() if path.is_dir()]
            sources, problems = find_sources(self.named, passed, folders, self.network)
            places = Places(sources)
            self._check(places)
            self._tell(problems)
            if not self.quiet:
                for line in passed.lines():
                    tell(line)
            if sources:
                self._run(places, interrupts)
            if not self.quiet:
                tell(self._summary.line(time.monotonic() - began))
        return self._summary.bad == 0

    def _run(self, places: Places, interrupts: Interrupts) -> None:
        # Of images of all sizes torch would keep the code that it compiles for each, several hundred megabytes; read
        # at the first convolution.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
        with ExitStack() as stack:
            stack.enter_context(compiling_announced((lambda line: None) if self.quiet else tell))
            detector = Detector(**self.settings)
            if self.verbose:
                for name, engine in detector.engines.items():
                    tell(f"{name}: {engine}")
            done, sinks = self._open(places, detector)
            stack.callback(_close, sinks, interrupts)
            left = [source for source in places.sources if source not in done.sources]
            self._summary.done_before = len(places.sources) - len(left)
            self._tell_network(left)
            bar = stack.enter_context(closing(bar_of(left, self.quiet)))
            decoder = SourceDecoder(
                self.every,
                2 * self.batch,
                done.first,
                self.max_pixels or MAX_PIXELS,
                lambda frames: expect(bar, frames),
            )
            try:
                self._detect(detector, stack.enter_context(closing(decoder.read(left))), sinks, bar, interrupts)
            except Interrupted:
                if self._last is None or kind_of(self._last) != "camera":
                    raise
            for sink in sinks:
                if isinstance(sink, Listing):
                    sink.finish()

    def _written(self) -> dict[str, Path]:
        """Setting -> file or folder that the run writes to."""
        own = {"out": self.out, "wider": self.wider, "draw": self.draw}
        return {**self.outputs, **{name: path for name, path in own.items() if path is not None}}

    def _check_outputs(self) -> None:
        """Raise SettingsError if one output would replace another.

        Drawn and anonymised pictures have the same names, and must not be confused.
        """
        written = self._written()
        for one, other in combinations(written, 2):
            apart = {one, other} == {"draw", "blur"} or {"out", "coco"} & {one, other}  # the latter are always files
            if apart and identity(written[one]) == identity(written[other]):
                raise SettingsError(f"`{one}` and `{other}` are both {written[one]}; expected two places; rename one")
        lists = [Path(str(name)[1:]) for name in self.named if str(name).startswith("@")]
        read = {identity(path) for path in (*lists, *self.reads)}
        for name, path in written.items():
            if identity(path) in read:
                raise SettingsError(f"`{name}` {path} is read by this command; expected another file")

    def _check(self, places: Places) -> None:
        """Raise SettingsError if the settings do not fit the sources."""
        kinds = {kind_of(source) for source in places.sources}
        if self.track and not kinds & {"video", "camera"}:
            raise SettingsError("`track` follows faces from frame to frame; expected a video or camera:N")
        if self.every > 1 and not kinds & {"video", "camera"}:
            raise SettingsError("`every` takes each n-th frame; expected a video or camera:N")
        if self.detect_every > 1 and not kinds & {"video", "camera"}:
            raise SettingsError("`detect_every` is for frames of a video; expected a video or camera:N")
        if self.resume and "camera" in kinds:
            raise SettingsError("`resume` cannot go back to what a camera saw; leave it out")
        if self.out is not None and places.is_input(self.out):
            raise SettingsError(f"`out` {self.out} is one of the images; expected another file")

    def _open(self, places: Places, detector: Detector) -> tuple[Done, list[Sink]]:
        """What is already done, and all sinks. The listing is last: its entries mean that all outputs are complete."""
        sinks = [make(places, detector) for make in self.sinks]
        if self.draw is not None:
            sinks.append(Pictures(self.draw, places))
        # Ids and videos cannot be taken up in the middle.
        whole_videos = self.track or self.detect_every > 1 or self.draw is not None or bool(self.sinks)
        if self.wider is not None:
            files = WiderFiles(self.wider, places)
            done = read_wider(files, places.sources, whole_videos) if self.resume else Done()
            return done, [*sinks, files]
        done, names = Done(), columns(places.sources, self.track)
        if self.resume and self.out is not None:
            done = read_listing(self.out, self.style, names, places.sources, whole_videos)
        return done, [*sinks, open_listing(self.out, self.style, names, done.keep)]

    def _detect(
        self, detector: Detector, results: Iterable[Read], sinks: Sequence[Sink], bar: Any, interrupts: Interrupts
    ) -> None:
        for item in self._followed(self._detected(detector, results)):
            if not isinstance(item, Item):
                begun = str(item).startswith(f"{self._last}: ")  # a truncated video
                self._tell([f"{item}" if begun else f"skipped {item}"])
            else:
                self._last = item.source
                if item.warning and not self.quiet:
                    tell(f"{item.source}: {item.warning}")
                with interrupts.delayed(), beside(bar):
                    self._write(item, sinks)
            bar.update()

    def _detected(self, detector: Detector, results: Iterable[Read]) -> Iterator[Read]:
        return detected(
            detector,
            batches(results, self.batch),
            self.debug,
            self.every * self.detect_every if self.detect_every > 1 else 1,
        )

    def _write(self, item: Item, sinks: Sequence[Sink]) -> None:
        self._summary.add(item)
        try:
            for sink in sinks:
                item = sink.write(item) or item
        except (ImageError, MemoryError, cv2.error) as error:  # affects this image only
            if isinstance(error, WriteError) or self.debug:
                raise
            self._tell([str(failure(item.source, error))])

    def _followed(self, results: Iterator[Read]) -> Iterator[Read]:
        return tracked(results) if self.track else results

    def _tell(self, problems: Iterable[str]) -> None:
        for problem in problems:
            tell(self.worded(problem))
            self._summary.bad += 1

    def _tell_network(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if isinstance(source, Address) and not self.quiet:
                tell(f"{source}: read over the network")


def _close(sinks: Sequence[Sink], interrupts: Interrupts) -> None:
    with interrupts.delayed(), ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
