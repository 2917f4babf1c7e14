"""Teachers: detectors with weights that find faces in photos at several scales."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import check_models, has_weights, packaged_weights, weights_path
from mtcnn.detector_settings import CASCADE
from mtcnn.detectors import DETECTORS
from mtcnn.errors import SettingsError
from mtcnn.metrics.scales import mirror, stretch
from mtcnn.resample import resample
from mtcnn.settings import Range, check
from mtcnn.types import Faces
from mtcnn.weights import SIDES, SIZES

__all__ = ["Teacher", "find_teachers"]

RGB = NDArray[np.uint8]

LOWEST = 0.02  # score of a face: what a teacher hardly believes may be doubtful, and mostly is background
CASCADE_MIN_FACE = 10.0  # pixels
FRONT = 0.5  # thresholds of the cascade's first two nets
SCALE = Range(min=0.1, max=8)
MAX_PIXELS = 1 << 25  # of an enlarged photo: beyond it memory runs to gigabytes


@dataclass(frozen=True)
class Teacher:
    """A detector that labels.

    name    of the detector, or "mtcnn" for the cascade.    models  folder of its weights; None: the packaged ones.
    scales  factors by which a photo is scaled before it looks.    flip  look at the mirror image too.
    sha256  of its files of weights, the cascade's in order.
    """

    name: str
    models: Path | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    sha256: tuple[str, ...] = ()
    _detector: list[Any] = field(default_factory=list, repr=False, compare=False)  # made at the first photo

    def __post_init__(self) -> None:
        for scale in self.scales:
            check("scales", scale, SCALE)
        if not self.scales:
            raise SettingsError("scales are empty; expected at least one factor, such as 1")

    def __call__(self, image: RGB) -> Faces:
        """Faces in an image (H, W, 3), of all looks, in its pixels; the same face may be there more than once."""
        looks = [
            self._look(image, scale, flip)
            for scale in self.scales
            for flip in ([False, True] if self.flip else [False])
        ]
        return Faces.concat([faces for faces in looks if len(faces)] or looks[:1])

    def to_dict(self) -> dict[str, Any]:
        """What its labels depend on, as plain values."""
        values = asdict(self)
        return {name: list(values[name]) if isinstance(values[name], tuple) else values[name]
                for name in ("name", "scales", "flip", "sha256")}  # fmt: skip

    def _look(self, image: RGB, scale: float, flip: bool) -> Faces:
        height, width = image.shape[:2]
        factor = min(scale, max(1.0, (MAX_PIXELS / (height * width)) ** 0.5)) if scale > 1 else scale
        sides = max(1, round(height * factor)), max(1, round(width * factor))
        pixels = image if sides == (height, width) else resample(image, *sides)
        faces: Faces = self._made().detect(np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels)
        faces = mirror(faces, sides[1]) if flip else faces
        return faces if sides == (height, width) else stretch(faces, width / sides[1], height / sides[0])

    def _made(self) -> Any:
        if not self._detector:
            from mtcnn.cascade import Detector  # torch takes seconds to import

            if self.name == CASCADE:
                found = Detector(self.models, min_face=CASCADE_MIN_FACE, thresholds=(FRONT, FRONT, LOWEST))
            else:
                found = Detector(self.models, detector=self.name, thresholds=LOWEST, coarse=False)
            self._detector.append(found)
        return self._detector[0]

    def __getstate__(self) -> dict[str, Any]:
        """Another process makes a detector of its own."""
        return {**vars(self), "_detector": []}


def find_teachers(
    names: Sequence[str], models: Path | None = None, scales: Sequence[str] = (), flip: bool = False
) -> list[Teacher]:
    """Teachers by name, the weights of each in `models`, or among the packaged ones where it has none there.

    names   of detectors with weights; the beginning of a name is enough, such as yunet for yunet-n.
    scales  "1,1.5" for all of them, "retinaface=1,1.5" for one; the beginning of a name that no other has is enough.

    Raises SettingsError for a name without weights, twice the same one, and scales that are none; CheckpointError for
    `models` that do not exist.
    """
    if models is not None:
        check_models(models)
    found = [_named(name, models) for name in names]
    if not found or len({name for name, _ in found}) < len(found):
        raise SettingsError(f"teachers are {', '.join(names) or 'none'}; expected different detectors, at least one")
    factors = _scales(scales, [name for name, _ in found])
    return [
        Teacher(name, folder, factors.get(name, factors.get("", (1.0,))), flip, _hashes(name, folder))
        for name, folder in found
    ]


def _named(name: str, models: Path | None) -> tuple[str, Path | None]:
    folders = [models, None] if models is not None else [None]
    known = (CASCADE, *DETECTORS)
    names = [name] if name in known else [each for each in known if name and each.startswith(name)]
    for each in names:
        for folder in folders:
            nets = list(SIZES) if each == CASCADE else [each]
            if all(has_weights(folder or packaged_weights(), net) for net in nets):
                return each, folder
    if not names:
        raise SettingsError(f"teacher is {name!r}; expected {CASCADE} or one of {', '.join(DETECTORS)}")
    where = f"in {models} or among those that ship" if models else "among those that ship"
    raise SettingsError(f"teacher is {name}, of which there are no weights {where}; import some, and name their folder "
                        "as `models`")  # fmt: skip


def _scales(given: Sequence[str], names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Factors by name; those of all others stand under ""."""
    found: dict[str, tuple[float, ...]] = {}
    for text in given:
        name, equals, factors = text.rpartition("=")
        matching = _matching(name, names) if equals or not name else []
        try:
            values = tuple(float(factor) for factor in factors.split(","))
        except ValueError:
            raise SettingsError(
                f"scales are {text!r}; expected factors such as 1,1.5 or retinaface=1,1.5 for one teacher"
            ) from None
        if not matching:
            raise SettingsError(f"scales are {text!r}; expected one of the teachers before =: {', '.join(names)}")
        if len(matching) > 1:
            raise SettingsError(
                f"scales are {text!r}; expected one teacher, not {' and '.join(matching)}; name it whole"
            )
        found[matching[0]] = values
    return found


def _matching(name: str, names: Sequence[str]) -> list[str]:
    """The teachers that `name` may mean: that of this very name, or those that begin with it; "" means all of them."""
    return [name] if not name or name in names else [each for each in names if each.startswith(name)]


def _hashes(name: str, models: Path | None) -> tuple[str, ...]:
    nets = list(SIDES) if name == CASCADE else [name]  # of those without weights there is none
    paths = [weights_path(models or packaged_weights(), net) for net in nets]
    files = [path if path.is_file() else path.with_suffix(".pt") for path in paths]  # of version 0.1
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file())
