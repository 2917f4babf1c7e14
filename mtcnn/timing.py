"""Times the cascade: per image, per stage, per thread count.

A `StageClock` wraps a stage, so that the detector itself is timed. Thread counts alternate between rounds; a machine
that slows down would otherwise favour the first. Every round must give the same detections as the first. An image's
time is its median over the rounds, so that the spread is over images.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .cascade import Detector
from .errors import DataError, ImageError, MtcnnError
from .images import read_image
from .machine import describe, machine
from .metrics.tables import markdown_table
from .proposer import PNetProposer
from .refiner import NetRefiner
from .resample import resample
from .stream.sources import image_files
from .types import Faces, Refiner

__all__ = ["FDDB_SIDE", "Benchmark", "Photos", "StageClock", "Timing", "benchmark", "clocked", "load_photos", "to_side"]

Images = Sequence[NDArray[np.uint8]]
Array = NDArray[Any]

FDDB_SIDE = 450  # pixels: no FDDB photo has a longer side, and nearly all have one of this length
_FDDB_PATH = re.compile(r"\d{4}/\d\d/\d\d/big/img_\d+\.jpg$")  # 2002/08/11/big/img_591.jpg
_WARM_UP = 3  # warm-up images before each round: compilation, memory pools, new threads


@dataclass
class StageClock:
    """A stage that records, for each call, its seconds and its numbers of input and output faces.

    A proposer has no input faces; a refiner cuts one crop for each input face inside the image.
    """

    stage: Any
    name: str
    calls: list[tuple[float, int, int]] = field(default_factory=list)

    def __call__(self, image: NDArray[np.uint8], faces: Faces | None = None) -> Faces:
        start = time.perf_counter()
        found: Faces = self.stage(image) if faces is None else self.stage(image, faces)
        self.calls.append((time.perf_counter() - start, len(faces or ()), len(found)))
        return found


@contextmanager
def clocked(detector: Detector) -> Iterator[list[StageClock]]:
    """Clocks around the stages of a detector, first to last, removed at the end."""
    proposer, refiners = detector.proposer, detector.refiners
    clocks = [StageClock(stage, _stage_name(stage)) for stage in (proposer, *refiners)]
    detector.proposer, detector.refiners = clocks[0], list[Refiner](clocks[1:])
    try:
        yield clocks
    finally:
        detector.proposer, detector.refiners = proposer, refiners


def _stage_name(stage: object) -> str:
    if isinstance(stage, NetRefiner):
        return {"rnet": "RNet", "onet": "ONet"}[stage.name]
    return "pyramid + PNet" if isinstance(stage, PNetProposer) else type(stage).__name__


@dataclass(frozen=True, eq=False)
class Timing:
    """Measurements with one thread count. R rounds, N images, S stages.

    total   float64 (R, N) milliseconds.        stages      float64 (R, N, S) milliseconds.
    counts  int64 (N, S, 2): input and output faces of each stage.
    """

    total: Array
    stages: Array
    counts: Array

    @property
    def by_image(self) -> Array:
        """Milliseconds (N,) of each image, the median over the rounds."""
        return np.asarray(np.median(self.total, axis=0))

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        rounds = np.median(self.total, axis=1)
        stages = np.median(self.stages, axis=0)  # (N, S)
        return {
            **_spread(self.by_image),
            "ms_median_by_round": [round(float(value), 3) for value in rounds],
            "images_per_second": round(1000 / float(self.by_image.mean()), 2),
            "stages": {name: _spread(stages[:, k]) for k, name in enumerate(names)},
        }


def _spread(milliseconds: Array) -> dict[str, float]:
    """Over images (N,)."""
    values = {"median": np.median(milliseconds), "p95": np.percentile(milliseconds, 95), "mean": milliseconds.mean()}
    return {f"ms_{name}": round(float(value), 3) for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Photos:
    """Images to measure on, with a description. `fddb`: they are FDDB's photos, unscaled."""

    images: list[NDArray[np.uint8]]
    label: str
    fddb: bool = False
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The result of `benchmark`: a Timing per thread count, all with the stages `names`."""

    photos: Photos
    names: list[str]
    timings: dict[int, Timing]
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: milliseconds over images, faces per image by stage, machine, versions, commit."""
        timing = next(iter(self.timings.values()))
        means = timing.counts.mean(axis=0).round(2).tolist()  # (S, 2)
        sides = [max(image.shape[:2]) for image in self.photos.images]
        return {
            "benchmark": "fddb",
            "images": len(self.photos.images),
            "photos": self.photos.label,
            "fddb_photos": self.photos.fddb,
            "longest_sides": [min(sides), max(sides)],
            "rounds": len(timing.total),
            "settings": {
                name: str(value) if isinstance(value, Path) else value for name, value in self.settings.items()
            },
            "threads": {str(count): timing.to_dict(self.names) for count, timing in self.timings.items()},
            "faces_an_image": {
                name: {"given": given, "kept": kept} for name, (given, kept) in zip(self.names, means, strict=True)
            },
            "machine": machine(),
        }

    def table(self) -> str:
        """The result as text: a heading, then two markdown tables."""
        values = self.to_dict()
        times, counts = [], []
        for count, row in values["threads"].items():
            rounds = row["ms_median_by_round"]
            cells = [row["ms_median"], row["ms_p95"], *(row["stages"][name]["ms_median"] for name in self.names)]
            spread = f"{min(rounds):.1f} to {max(rounds):.1f}"
            times.append([count, *(f"{cell:.2f}" for cell in cells), f"{row['images_per_second']:.1f}", spread])
        for name, row in values["faces_an_image"].items():
            counts.append([name, f"{row['given']:.1f}" if name != self.names[0] else "", f"{row['kept']:.1f}"])
        rounds = f"{values['rounds']} round{'s' if values['rounds'] > 1 else ''}"
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        head = ["threads", "ms an image", "p95", *self.names, "images/s", "median by round"]
        return "\n".join([
            f"{values['photos']}; {rounds}; {settings}",
            describe(), "", markdown_table(head, times), "",
            markdown_table(["stage, faces an image", "given", "kept"], counts),
        ])  # fmt: skip


def to_side(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """image (H, W, 3) uint8 scaled, up or down, so that its longest side has FDDB_SIDE pixels."""
    height, width = (max(1, round(value * FDDB_SIDE / max(image.shape[:2]))) for value in image.shape[:2])
    return image if image.shape[:2] == (height, width) else resample(image, height, width)


def load_photos(folder: Path, limit: int = 200) -> Photos:
    """At most `limit` images of a folder, evenly spaced.

    FDDB's photos, recognised by their paths, are not scaled; any others are scaled to FDDB's longest side. Unreadable
    images are skipped and listed. Raises DataError if none is left.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; expected FDDB's originalPics, or any folder of images")
    files = list(image_files([folder]))
    files = files[:: max(1, -(-len(files) // limit))]
    fddb = bool(files) and all(_FDDB_PATH.search(path.as_posix()) for path in files)
    images, skipped = [], []
    for path in files:
        try:
            images.append(read_image(path) if fddb else to_side(read_image(path)))
        except ImageError as error:
            skipped.append(str(error))
    if not images:
        reason = f" ({skipped[0]})" if skipped else ""
        raise DataError(f"{folder}: no image that can be read{reason}; expected FDDB's originalPics, or any photos")
    label = f"{len(images)} of FDDB's photos"
    if not fddb:
        label = f"{len(images)} images, not FDDB's photos, scaled to their longest side, {FDDB_SIDE} pixels"
    return Photos(images, label, fddb, tuple(skipped))


def benchmark(
    detector: Detector,
    photos: Photos,
    threads: Sequence[int] = (1,),
    rounds: int = 5,
    settings: dict[str, Any] | None = None,
    progress: bool = False,
) -> Benchmark:
    """Times `detector` on every image, `rounds` times with each number of threads of the compiled engine and torch.

    settings  what to report the detector's settings as.
    Raises MtcnnError if a round finds another number of faces than the first with that thread count.
    """
    parts: dict[int, list[tuple[Array, Array, Array]]] = {count: [] for count in threads}
    before = torch.get_num_threads()
    runs = [count for number in range(rounds) for count in sorted(parts, reverse=bool(number % 2))]
    try:
        with clocked(detector) as clocks:
            for count in tqdm(runs, "timing", unit=" rounds", disable=not progress):
                torch.set_num_threads(count)
                parts[count].append(_round(detector, clocks, photos.images))
                if not np.array_equal(parts[count][0][2], parts[count][-1][2]):
                    raise MtcnnError(f"{count} threads: a round found other faces than the first; no time is given")
    finally:
        torch.set_num_threads(before)
    timings = {}
    for count, part in parts.items():
        total, stages, counts = zip(*part, strict=True)
        timings[count] = Timing(np.stack(total), np.stack(stages), counts[0])
    return Benchmark(photos, [clock.name for clock in clocks], timings, settings or {})


def _round(detector: Detector, clocks: list[StageClock], images: Images) -> tuple[Array, Array, Array]:
    """Milliseconds (N,), by stage (N, S), and counts (N, S, 2), of one pass over the images."""
    for image in images[:_WARM_UP]:
        detector.detect(image)
    for clock in clocks:
        clock.calls.clear()
    total = []
    for image in images:
        start = time.perf_counter()
        detector.detect(image)
        total.append(1000 * (time.perf_counter() - start))
    calls = np.array([clock.calls for clock in clocks]).transpose(1, 0, 2)  # (S, N, 3) -> (N, S, 3)
    return np.array(total), 1000 * calls[:, :, 0], calls[:, :, 1:].astype(np.int64)
