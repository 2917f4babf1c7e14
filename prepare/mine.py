"""Hard example mining: detections of the nets trained so far, labelled against the ground truth.

Source: Zhang et al. 2016, section III-A; caps and thresholds are recipe settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.checkpoint import weights_path
from mtcnn.errors import SettingsError
from mtcnn.proposer import PNetProposer
from mtcnn.refiner import NetRefiner, touches
from mtcnn.settings import Settings, require, setting
from mtcnn.types import Faces

from .labels import IouBands, Kind, Labels, label
from .records import CropBatch, ImageRecord
from .sample import CropSettings, around, crops_of

__all__ = ["MineSettings", "MiningCascade", "load_cascade", "mine"]

SHIFT, SCALE = 0.05, 1.09  # how far a moved copy of a crop is shifted, and resized, over its side


@dataclass(frozen=True)
class MineSettings(Settings):
    """Settings of hard example mining (section [mine] of a recipe).

    thresholds      minimum scores of PNet and, for ONet's crops, RNet, for cnet's, ONet's first pass as well. Lower
                    ones give more hard examples.
    min_face_low    the smallest face to find is drawn for each image between this
    min_face_high   and this, pixels, so that pyramid scales vary.
    scale_factor    ratio of pyramid levels.
    max_*           maximum crops per image, by kind: negatives by highest score, the others at random.
    jitter          copies of each PART and POS crop, slightly moved and resized, beyond those maxima.
    """

    thresholds: tuple[float, ...] = (0.45, 0.1)
    min_face_low: float = setting(9.0, above=0)
    min_face_high: float = setting(15.0, above=0)
    scale_factor: float = setting(0.75, above=0, below=1)
    max_neg: int = setting(400, min=0)
    max_part: int = setting(150, min=0)
    max_pos: int = setting(150, min=0)
    jitter: int = setting(0, min=0, max=20, added=True)

    renamed: ClassVar[dict[str, str]] = {"most_neg": "max_neg", "most_part": "max_part", "most_pos": "max_pos"}

    def __post_init__(self) -> None:
        super().__post_init__()
        good = len(self.thresholds) > 0 and all(0 <= threshold <= 1 for threshold in self.thresholds)
        require(good, "thresholds", list(self.thresholds), "numbers from 0 to 1, one for each net")
        require(self.min_face_low <= self.min_face_high, "min_face_low", self.min_face_low, "at most min_face_high")


@dataclass
class MiningCascade:
    """The nets trained so far, as one proposer."""

    proposer: PNetProposer
    refiners: list[NetRefiner]

    def __call__(self, image: NDArray[np.uint8], min_face: float) -> Faces:
        self.proposer.min_face = min_face
        faces = self.proposer(image)
        for refine in self.refiners:
            faces = refine.candidates(image, faces).faces()  # without ONet's second pass, of which cnet is the net
        return faces[touches(faces.boxes, *image.shape[:2])] if self.fits else faces

    @property
    def fits(self) -> bool:
        """Whether the boxes are those of ONet, which have the shapes of faces; those before are of squares."""
        return bool(self.refiners) and self.refiners[-1].name == "onet"


def load_cascade(models: Path, names: tuple[str, ...], settings: MineSettings) -> MiningCascade:
    """PNet and the nets that follow it, from a models folder, for mining."""
    if len(settings.thresholds) < len(names):
        raise SettingsError(f"{len(settings.thresholds)} thresholds for {len(names)} nets ({', '.join(names)})")
    from mtcnn.nets import load_net  # imports torch, only in the processes that mine

    nets = [load_net(weights_path(models, name), name) for name in names]
    proposer = PNetProposer(
        nets[0], scale_factor=settings.scale_factor, threshold=settings.thresholds[0], per_level=1500
    )
    refiners = [
        NetRefiner(net, name, threshold)
        for net, name, threshold in zip(nets[1:], names[1:], settings.thresholds[1:], strict=False)
    ]
    return MiningCascade(proposer, refiners)


def mine(
    image: NDArray[np.uint8],
    record: ImageRecord,
    size: int,
    cascade: MiningCascade,
    settings: MineSettings,
    crops: CropSettings,
    bands: IouBands,
    rng: np.random.Generator,
) -> CropBatch:
    """Crops of the detections of `cascade` in one image: NEG by highest score, PART and POS at random, and their moved
    copies, of the same kind.

    The kind is that of the square around a detection, of ONet's that of its box.
    """
    faces = cascade(image, float(rng.uniform(settings.min_face_low, settings.min_face_high)))
    boxes = faces.boxes.astype(np.float64)  # (N, 4), by falling score
    windows = box.square(boxes)
    labels = label(boxes if cascade.fits else windows, record, bands, crops.min_face, fitting=cascade.fits)
    chosen = [np.flatnonzero(labels.kinds == Kind.NEG)[: settings.max_neg]]
    for kind, limit in ((Kind.PART, settings.max_part), (Kind.POS, settings.max_pos)):
        found = np.flatnonzero(labels.kinds == kind)
        chosen.append(found if len(found) <= limit else rng.choice(found, limit, replace=False))
    kept, copied = np.concatenate(chosen), np.repeat(np.concatenate(chosen[1:]), settings.jitter)
    rows = np.concatenate([kept, copied])
    windows = np.concatenate([windows[kept], around(windows[copied], (1 / SCALE, SCALE), SHIFT, rng)])
    return crops_of(image, windows, Labels(labels.kinds[rows], labels.faces[rows]), record, size, crops.context)
