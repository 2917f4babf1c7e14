"""Hard examples: what the cascade trained so far takes for a face, labelled by what is there.

Source: Zhang et al. 2016, section III-A; caps and thresholds are recipe settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.cascade import NetRefiner, PNetProposer
from mtcnn.checkpoint import load_net, weights_path
from mtcnn.errors import SettingsError
from mtcnn.types import Faces

from .labels import IouBands, Kind, Labels, label
from .records import CropBatch, ImageRecord
from .sample import CropSettings, crops_of

__all__ = ["Cascade", "MineSettings", "load_cascade", "mine"]


@dataclass(frozen=True)
class MineSettings:
    """How hard examples are found (section [mine] of a recipe).

    thresholds      least scores of PNet and, for ONet's crops, RNet. Low ones show the next net more of its work.
    min_face_low    the smallest face to look for is drawn for each image between this
    min_face_high   and this, pixels, so that the levels of the pyramid fall differently.
    scale_factor    ratio of pyramid levels.
    most_*          crops kept of one image, by kind: the negatives by score, the others at random.
    """

    thresholds: tuple[float, ...] = (0.45, 0.1)
    min_face_low: float = 9.0
    min_face_high: float = 15.0
    scale_factor: float = 0.75
    most_neg: int = 400
    most_part: int = 150
    most_pos: int = 150

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise SettingsError(
                f"thresholds is {list(self.thresholds)}; expected numbers from 0 to 1, one for each net"
            )
        if not 0 < self.min_face_low <= self.min_face_high:
            raise SettingsError(f"min_face_low is {self.min_face_low}; expected above 0 and at most min_face_high")
        if not 0 < self.scale_factor < 1:
            raise SettingsError(f"scale_factor is {self.scale_factor}; expected a number between 0 and 1")
        for name in ("most_neg", "most_part", "most_pos"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; expected 0 or more")


@dataclass
class Cascade:
    """The nets trained so far, as one proposer."""

    proposer: PNetProposer
    refiners: list[NetRefiner]

    def __call__(self, image: NDArray[np.uint8], min_face: float) -> Faces:
        self.proposer.min_face = min_face
        faces = self.proposer(image)
        for refine in self.refiners:
            faces = refine(image, faces)
        return faces


def load_cascade(models: Path, names: tuple[str, ...], settings: MineSettings) -> Cascade:
    """PNet and the nets behind it from a models folder, for mining."""
    if len(settings.thresholds) < len(names):
        raise SettingsError(f"{len(settings.thresholds)} thresholds for {len(names)} nets ({', '.join(names)})")
    nets = [load_net(weights_path(models, name), name) for name in names]
    proposer = PNetProposer(
        nets[0], scale_factor=settings.scale_factor, threshold=settings.thresholds[0], per_level=1500
    )
    refiners = [
        NetRefiner(net, name, threshold)
        for net, name, threshold in zip(nets[1:], names[1:], settings.thresholds[1:], strict=False)
    ]
    return Cascade(proposer, refiners)


def mine(
    image: NDArray[np.uint8],
    record: ImageRecord,
    size: int,
    cascade: Cascade,
    settings: MineSettings,
    crops: CropSettings,
    bands: IouBands,
    rng: np.random.Generator,
) -> CropBatch:
    """Crops of what `cascade` finds in one image: NEG with the best scores, PART and POS drawn at random."""
    faces = cascade(image, float(rng.uniform(settings.min_face_low, settings.min_face_high)))
    windows = box.square(faces.boxes.astype(np.float64))  # (N, 4), by falling score
    labels = label(windows, record, bands, crops.min_face)
    chosen = [np.flatnonzero(labels.kinds == Kind.NEG)[: settings.most_neg]]
    for kind, most in ((Kind.PART, settings.most_part), (Kind.POS, settings.most_pos)):
        found = np.flatnonzero(labels.kinds == kind)
        chosen.append(found if len(found) <= most else rng.choice(found, most, replace=False))
    kept = np.concatenate(chosen)
    return crops_of(image, windows[kept], Labels(labels.kinds[kept], labels.faces[kept]), record, size)
