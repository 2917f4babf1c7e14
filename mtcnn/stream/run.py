"""Detection over whatever the user names: decoded ahead, detected in batches, handed to sinks as it comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..cascade import Detector
from ..engine.notice import compiling_told
from ..errors import SettingsError
from .decoding import Decoder, Read, batches
from .interrupts import Interrupted, Interrupts
from .items import Item, Sink, real
from .resume import Done, read_listing, read_wider
from .sinks.listing import Style, WiderFiles, columns, open_listing
from .sinks.pictures import Pictures
from .sources import find_sources, kind_of
from .tracking import Tracker

__all__ = ["MakeSink", "Run"]

MakeSink = Callable[[Sequence[Path], Detector], Sink]
"""Makes a sink from all sources of a run and its detector; raises SettingsError when they do not fit its settings."""


@dataclass
class Run:
    """One run of `mtcnn detect`.

    named     what the user names, see `sources.find_sources`.
    style     of the listing that goes to stdout, or to the file `out`.
    wider     a folder for WIDER FACE's text files, in place of the listing.
    draw      see `pictures.Pictures`.
    batch     images that are detected together.
    every     take each n-th frame of a video.
    track     give the faces of a video ids, see `track.Tracker`.
    resume    leave out what `out` or `wider` has already, and go on behind it.
    settings  keyword arguments of Detector.
    sinks     makers of further sinks.

    Raises SettingsError for settings that make no sense, before anything is written.
    """

    named: Sequence[Path]
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

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingsError(f"batch is {self.batch}; expected 1 or more")
        if self.every < 1:
            raise SettingsError(f"every is {self.every}; expected 1 or more")
        if self.wider is not None and (self.style != "text" or self.out is not None):
            raise SettingsError("`wider` writes files of its own; expected no `style` and no `out` beside it")
        if self.resume and self.out is None and self.wider is None:
            raise SettingsError(
                "`resume` reads what is done from the results; expected `out` FILE or `wider` DIR as well"
            )

    def __call__(self) -> bool:
        """Detect; problems go to stderr, a line each. True when there were none.

        Ctrl-C and SIGTERM raise Interrupted between two items, with all sinks closed; they are the usual end of a
        camera. Raises MtcnnError where an output cannot be written.
        """
        sources, problems = find_sources(self.named)
        self._check(sources)
        self._bad = 0
        self._last: Path | None = None  # source of the last item
        self._tell(problems)
        # Of images of all sizes torch would keep the code that it compiles for each, several hundred megabytes; read
        # at the first convolution.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
        with Interrupts() as interrupts, ExitStack() as stack:
            stack.enter_context(compiling_told(lambda line: tqdm.write(f"mtcnn: {line}", file=sys.stderr)))
            detector = Detector(**self.settings)
            done, sinks = self._open(sources, detector)
            stack.callback(_close, sinks, interrupts)
            left = [source for source in sources if source not in done.sources]
            bar = stack.enter_context(closing(_bar(left)))
            decoder = Decoder(self.every, 2 * self.batch, done.first, lambda frames: _expect(bar, frames))
            try:
                self._detect(detector, stack.enter_context(closing(decoder.read(left))), sinks, bar, interrupts)
            except Interrupted:
                if self._last is None or kind_of(self._last) != "camera":
                    raise
        return self._bad == 0

    def _check(self, sources: Sequence[Path]) -> None:
        """Raises SettingsError when the settings do not fit the sources."""
        kinds = {kind_of(source) for source in sources}
        if self.track and not kinds & {"video", "camera"}:
            raise SettingsError("`track` follows faces from frame to frame; expected a video or camera:N")
        if self.resume and "camera" in kinds:
            raise SettingsError("`resume` cannot go back to what a camera saw; leave it out")
        if self.out is not None and real(self.out) in {real(source) for source in sources}:
            raise SettingsError(f"`out` {self.out} is one of the images; expected another file")

    def _open(self, sources: Sequence[Path], detector: Detector) -> tuple[Done, list[Sink]]:
        """What is done already, and all sinks. The listing comes last: what it tells of is whole everywhere."""
        sinks = [make(sources, detector) for make in self.sinks]
        if self.draw is not None:
            sinks.append(Pictures(self.draw, sources))
        # Ids and videos cannot be taken up in the middle.
        whole_videos = self.track or self.draw is not None or bool(self.sinks)
        if self.wider is not None:
            files = WiderFiles(self.wider, sources)
            done = read_wider(files, sources, whole_videos) if self.resume else Done()
            return done, [*sinks, files]
        done, names = Done(), columns(sources, self.track)
        if self.resume and self.out is not None:
            done = read_listing(self.out, self.style, names, sources, whole_videos)
        return done, [*sinks, open_listing(self.out, self.style, names, done.keep)]

    def _detect(
        self, detector: Detector, results: Iterable[Read], sinks: Sequence[Sink], bar: Any, interrupts: Interrupts
    ) -> None:
        for item in self._tracked(_detected(detector, batches(results, self.batch))):
            if not isinstance(item, Item):
                begun = str(item).startswith(f"{self._last}: ")  # a video that broke off
                self._tell([f"{item}" if begun else f"skipped {item}"])
            else:
                self._last = item.source
                with interrupts.held(), _beside(bar):
                    for sink in sinks:
                        sink.write(item)
            bar.update()

    def _tracked(self, results: Iterable[Read]) -> Iterator[Read]:
        tracker, of = Tracker(), None
        for item in results:
            if self.track and isinstance(item, Item) and item.frame is not None:
                if item.source != of:
                    tracker, of = Tracker(), item.source
                item = replace(item, ids=tracker.update(item.faces))
            yield item

    def _tell(self, problems: Iterable[str]) -> None:
        for problem in problems:
            tqdm.write(f"mtcnn: {problem}", file=sys.stderr)
            self._bad += 1


def _detected(detector: Detector, runs: Iterable[Sequence[Read]]) -> Iterator[Read]:
    """The same in the same order, with faces."""
    for run in runs:
        found = iter(detector.detect([item.image for item in run if isinstance(item, Item)]))
        yield from (replace(item, faces=next(found)) if isinstance(item, Item) else item for item in run)
        run = ()  # so that its images are gone before the next are gathered


def _close(sinks: Sequence[Sink], interrupts: Interrupts) -> None:
    with interrupts.held(), ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)


def _bar(sources: Sequence[Path]) -> Any:
    """Progress on a terminal: images and frames, how many a second, and the time that is left."""
    many = len(sources) > 1 or any(kind_of(source) != "image" for source in sources)
    return tqdm(total=len(sources), unit="img", disable=not many or not sys.stderr.isatty(), dynamic_ncols=True)


def _expect(bar: Any, frames: int | None) -> None:
    """A video has been opened: it counts as so many images."""
    bar.total = None if frames is None or bar.total is None else bar.total + frames - 1


def _beside(bar: Any) -> Any:
    """A context in which printing does not run into the bar, where both are on one terminal."""
    return nullcontext() if bar.disable or not sys.stdout.isatty() else bar.external_write_mode()
