"""Runs a detector on many images for an evaluation: in worker processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn.detector_settings import DetectorSettings
from mtcnn.errors import DataError, ImageError
from mtcnn.files.outputs import written_in
from mtcnn.images import SUFFIXES, read_photo
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.scales import ScaledDetector, check_scale
from mtcnn.settings import check_flag
from mtcnn.types import Faces
from mtcnn.workers import Workers

__all__ = ["DetectorMaker", "MakeDetector", "detect_all", "detect_each", "event_photos"]

MakeDetector = Callable[[], Callable[[NDArray[np.uint8]], Faces]]
"""Makes a detector, a function from an image, uint8 RGB (H, W, 3), to Faces. Picklable: each worker creates its own."""


@dataclass(frozen=True)
class DetectorMaker:
    """Makes a detector of this project: the cascade, or a single-stage one.

    settings  keyword arguments of Detector. `coarse` is False unless given: figures are quoted at a stated scale, of
              one look at each image.
    scale, flip  see `scales.ScaledDetector`.
    Raises SettingsError for an unknown scale.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    scale: str = "original"
    flip: bool = False

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_flag("flip", self.flip)
        chosen = DetectorSettings(**self.settings)  # raises now, not after the labels have been read
        if chosen.stage1 != "pnet" and self.settings.get("coarse") is None:
            object.__setattr__(self, "settings", {**self.settings, "coarse": False})

    def __call__(self) -> ScaledDetector:
        from mtcnn.cascade import Detector  # torch takes seconds to import

        return ScaledDetector(Detector(**self.settings).detect, self.scale, self.flip)

    @property
    def title(self) -> str:
        """See `DetectorSettings.title`."""
        return DetectorSettings(**self.settings).title

    def to_dict(self) -> dict[str, Any]:
        """The settings that results depend on, as plain values for JSON."""
        return {**DetectorSettings(**self.settings).to_dict(), "scale": self.scale, "flip": self.flip}


@dataclass
class _Detect:
    """Faces of one image and messages about it, or the error from reading it.

    A picklable function for worker processes.
    """

    make: MakeDetector
    _detector: Any = field(default=None, repr=False)

    def __call__(self, path: Path) -> tuple[Faces, str] | ImageError:
        if self._detector is None:
            self._detector = self.make()
        try:
            pixels, warning = read_photo(path)
            return self._detector(pixels), warning
        except ImageError as error:
            return error


def detect_all(
    images: Mapping[str, Path],
    make: MakeDetector,
    workers: Workers,
    problems: Problems | None = None,
    progress: bool = False,
) -> dict[str, Faces]:
    """Faces of every readable image, by name; unreadable ones are reported as problems and skipped."""
    found = detect_each(images, make, workers, Problems.default(problems))
    every = dict(tqdm(found, "detecting", len(images), unit=" images", disable=not progress))
    return {name: faces for name, faces in every.items() if faces is not None}


def detect_each(
    images: Mapping[str, Path], make: MakeDetector, workers: Workers, problems: Problems
) -> Iterator[tuple[str, Faces | None]]:
    """Name and faces of one image after the other, as they are found; None for an unreadable one."""
    results = workers.map(_Detect(make), images.values())
    for (name, path), result in zip(images.items(), results, strict=True):
        if isinstance(result, ImageError):
            problems.add(path, str(result).removeprefix(f"{path}: "))
            yield name, None
        else:
            faces, warning = result
            if warning:
                problems.add(path, warning)
            yield name, faces


def event_photos(folder: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """Photos of a folder laid out as <event>/<image>: "<event>/<image stem>" -> path; all, or those of `names`.

    A name without a photo gets the path of the expected JPEG, so that reading reports it. Raises DataError without any
    photo.
    """
    every = {}
    for event in sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")):
        written = written_in(event)
        for path in sorted(event.iterdir()):
            hidden = path.name.startswith(".") or path.name in written
            if path.suffix.lower() in SUFFIXES and not hidden:
                every[f"{event.name}/{path.stem}"] = path
    if not every:
        raise DataError(f"{folder}: no photos in it; expected <event>/<image>.jpg")
    return every if names is None else {name: every.get(name, folder / f"{name}.jpg") for name in names}
