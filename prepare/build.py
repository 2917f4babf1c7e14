"""Images in, crop store out: the loop of `mtcnn prepare`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import ImageError
from mtcnn.files.atomic_write import naming
from mtcnn.images import read_photo
from mtcnn.progress import progress
from mtcnn.terminal import printable
from mtcnn.workers import Workers

from . import synthetic
from .labels import IouBands, Kind
from .mine import MineSettings, MiningCascade, load_cascades, mine
from .points import landmark_crops, wild_faces
from .records import CropBatch, ImageRecord, Problem
from .sample import CropSettings, sample
from .store import CropWriter

__all__ = ["CropMaker", "Made", "build", "image_of"]


class Made(NamedTuple):
    """The crops of one image, and what was skipped."""

    batch: CropBatch
    problem: Problem | None


def image_of(record: ImageRecord) -> NDArray[np.uint8]:
    """The pixels of a record, uint8 RGB (H, W, 3): read from its file, or rendered if it is a synthetic scene.

    Raises ImageError as `read_photo` does, and for a truncated photo: it may lack some of the labelled faces.
    """
    if synthetic.is_synthetic(record.path):
        return synthetic.image_of(record.path)
    pixels, warning = read_photo(record.path)
    if warning:
        raise ImageError(f"{record.path}: {warning}; expected a whole photo to train on; download it again")
    return pixels


@dataclass
class CropMaker:
    """Makes the crops of one image; a picklable function for worker processes.

    size      side of the crops.      seed    with the item's number, the only source of randomness.
    crops     what to sample, if `sampled` is set: stores of mined crops have no others.
    mining    how to mine, or None.    nets, models   the cascade to mine with, and its folder.
    """

    size: int
    seed: int
    bands: IouBands
    crops: CropSettings
    sampled: bool = True
    mining: MineSettings | None = None
    nets: tuple[str, ...] = ()
    models: Path = Path()
    _cascades: list[MiningCascade] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cascades": None}

    def __call__(self, task: tuple[int, ImageRecord]) -> Made:
        index, record = task
        if not record.complete and not (self.sampled and self.crops.landmarks):
            return Made(CropBatch.empty(self.size), None)  # no crops to cut
        try:
            image = image_of(record)
        except ImageError as error:
            why = str(error).removeprefix(f"{record.path}: ")
            return Made(CropBatch.empty(self.size), Problem(str(record.path), why))
        rng = np.random.default_rng([self.seed, self.size, index])
        return Made(CropBatch.concat(self._parts(image, record, rng)), self._doubtful(image, record))

    def _doubtful(self, image: NDArray[np.uint8], record: ImageRecord) -> Problem | None:
        wild = wild_faces(record, *image.shape[:2]) if self.sampled and self.crops.landmarks else ()
        if not len(wild):
            return None
        faces = ", ".join(str(face + 1) for face in wild)
        return Problem(str(record.path), f"landmarks of face {faces} left out: in one place, too far apart, or outside")

    def _parts(self, image: NDArray[np.uint8], record: ImageRecord, rng: np.random.Generator) -> list[CropBatch]:
        parts = [CropBatch.empty(self.size)]
        if self.sampled:
            if record.complete:
                parts.append(sample(image, record, self.size, self.crops, self.bands, rng))
            parts.append(landmark_crops(image, record, self.size, self.crops, rng))
        if self.mining is not None and record.complete:
            for cascade in self._trained():
                parts.append(mine(image, record, self.size, cascade, self.mining, self.crops, self.bands, rng))
        return parts

    def _trained(self) -> list[MiningCascade]:
        if self._cascades is None:
            assert self.mining is not None
            self._cascades = load_cascades(self.models, self.nets, self.mining)
        return self._cascades


def _note(path: Path, problem: Problem) -> None:
    """Append a line to the list of skipped images, unless an interrupted run already has."""
    line = os.fsencode(f"{printable(str(problem))}\n")  # a name that is not UTF-8 as it is
    if not path.is_file() or not path.read_bytes().endswith(line):
        with naming(path), path.open("ab") as file:
            file.write(line)


def build(
    records: Sequence[ImageRecord], make: CropMaker, path: Path, key: str, workers: Workers, quiet: bool = False
) -> list[Problem]:
    """Write the crops of `records` to the store at `path`; resume from an interrupted run with the same `key`.

    Returns what this run skipped; skipped-<name of the store>.txt beside the store lists all runs. The same records,
    seed and key give the same rows for any number of workers and interruptions.
    """
    problems: list[Problem] = []
    skipped = path.with_name(f"skipped-{path.stem}.txt")
    scored = any(record.is_scored for record in records)
    with CropWriter(path, make.size, key, scored) as writer:
        if writer.complete:
            return problems
        if writer.done == 0:
            skipped.unlink(missing_ok=True)
        tasks = list(enumerate(records))[writer.done :]
        bar = progress(name=path.name, total=len(records), initial=writer.done, quiet=quiet)
        counts = np.zeros(len(Kind), np.int64)
        with bar:
            for (_, record), made in zip(tasks, workers.map(make, tasks), strict=True):
                if made.problem is not None:
                    problems.append(made.problem)
                    _note(skipped, made.problem)
                    bar.write(printable(f"skipped {made.problem}"), file=sys.stderr)
                writer.append(made.batch, val=record.is_val(make.crops.val))
                counts += np.bincount(made.batch.kinds, minlength=len(Kind))
                bar.set_postfix({kind.name.lower(): int(counts[kind]) for kind in Kind}, refresh=False)
                bar.update()
        writer.finish()
    return problems
