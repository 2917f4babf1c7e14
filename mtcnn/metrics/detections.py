"""A detector run over many images, for an evaluation: in worker processes, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mtcnn.errors import DataError, ImageError
from mtcnn.images import SUFFIXES, read_image
from mtcnn.types import Faces
from mtcnn.workers import run_ordered

__all__ = ["detect_all", "event_photos"]


@dataclass
class _Detect:
    """Faces of one image, or the error that reading it gave; a picklable function for worker processes."""

    settings: dict[str, Any]
    _detector: Any = field(default=None, repr=False)

    def __call__(self, path: Path) -> Faces | ImageError:
        if self._detector is None:
            import torch

            from mtcnn.cascade import Detector

            torch.set_num_threads(1)
            self._detector = Detector(**self.settings)
        try:
            return self._detector.detect(read_image(path))  # type: ignore[no-any-return]
        except ImageError as error:
            return error


def detect_all(images: Mapping[str, Path], settings: dict[str, Any], workers: int = 2) -> dict[str, Faces]:
    """Faces of every image that can be read, by its name; what cannot be read is named on stderr and left out.

    settings  keyword arguments of Detector.
    """
    found = {}
    results = run_ordered(_Detect(settings), images.values(), workers)
    bar = tqdm(zip(images, results, strict=True), total=len(images), desc="detecting", unit="img", file=sys.stderr)
    for name, result in bar:
        if isinstance(result, ImageError):
            bar.write(f"skipped {result}", file=sys.stderr)
        else:
            found[name] = result
    return found


def event_photos(folder: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """Photos of a folder laid out as <event>/<image>: "<event>/<image stem>" -> path; all, or those of `names`.

    A name without a photo gets the path where a JPEG was expected, so that reading it reports it.
    Raises DataError when there is no photo at all.
    """
    every = {
        f"{path.parent.name}/{path.stem}": path
        for path in sorted(folder.glob("*/*"))
        if path.suffix.lower() in SUFFIXES
    }
    if not every:
        raise DataError(f"{folder}: no photos in it; expected <event>/<image>.jpg")
    return every if names is None else {name: every.get(name, folder / f"{name}.jpg") for name in names}
