"""Hard example mining: detections of the nets trained so far, labelled against the ground truth.

Source: Zhang et al. 2016, section III-A; caps and thresholds are recipe settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtcnn import boxes as box
from mtcnn.checkpoint import has_weights, packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector
from mtcnn.errors import SettingsError
from mtcnn.proposer import PNetProposer
from mtcnn.refiner import NetRefiner, touches
from mtcnn.settings import Settings, require, setting
from mtcnn.types import Faces, Proposer

from .labels import IouBands, Kind, Labels, label
from .records import CropBatch, ImageRecord
from .sample import CropSettings, around, crops_of

__all__ = ["MineSettings", "MiningCascade", "copies", "detector_folder", "load_cascades", "mine"]

SHIFT, SCALE = 0.05, 1.09  # how far a moved copy of a crop is shifted, and resized, over its side
TYPICAL, MOST_BALANCE = 20.0, 10.0  # pixels of a face of which `balance` changes nothing, and how much it may do


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
    balance         above 0, the copies of a crop are times (side of the face / 20)^balance, at most 10, over the root
                    of the number of its face's crops: more of the large faces, and of those that are seldom found.
    detector        a single-stage detector whose faces go through RNet and ONet, and are mined, too: its weights of
                    the folder, or those that ship.
    detector_thresholds  minimum scores of the detector and, as above, of the nets after PNet.
    """

    thresholds: tuple[float, ...] = (0.45, 0.1)
    min_face_low: float = setting(9.0, above=0)
    min_face_high: float = setting(15.0, above=0)
    scale_factor: float = setting(0.75, above=0, below=1)
    max_neg: int = setting(400, min=0)
    max_part: int = setting(150, min=0)
    max_pos: int = setting(150, min=0)
    jitter: int = setting(0, min=0, max=20, added=True)
    balance: float = setting(0.0, min=0, max=2, added=True)
    detector: str = setting("", choices=("", *DETECTORS), added=True)
    detector_thresholds: tuple[float, ...] = field(default=(0.04, 0.02, 0.03), metadata={"added": True})

    renamed: ClassVar[dict[str, str]] = {"most_neg": "max_neg", "most_part": "max_part", "most_pos": "max_pos"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("thresholds", "detector_thresholds"):
            given = getattr(self, name)
            good = len(given) > 0 and all(0 <= threshold <= 1 for threshold in given)
            require(good, name, list(given), "numbers from 0 to 1, one for each net")
        require(self.min_face_low <= self.min_face_high, "min_face_low", self.min_face_low, "at most min_face_high")


@dataclass
class MiningCascade:
    """The nets trained so far, as one proposer; or a single-stage detector and those of them that refine."""

    proposer: Proposer
    refiners: list[NetRefiner]

    def __call__(self, image: NDArray[np.uint8], min_face: float) -> Faces:
        """The faces by falling score; `min_face` is for PNet."""
        if isinstance(self.proposer, PNetProposer):
            self.proposer.min_face = min_face
        faces = self.proposer(image)
        for refine in self.refiners:
            faces = refine.candidates(image, faces).faces()  # without ONet's second pass, of which cnet is the net
        return faces[touches(faces.boxes, *image.shape[:2])] if self.fits else faces

    @property
    def fits(self) -> bool:
        """Whether the boxes are those of ONet, which have the shapes of faces; those before are of squares."""
        return bool(self.refiners) and self.refiners[-1].name == "onet"


def load_cascades(models: Path, names: tuple[str, ...], settings: MineSettings) -> list[MiningCascade]:
    """PNet and the nets that follow it, from a models folder, for mining; and the detector followed by them, if the
    settings name one."""
    _check_count("thresholds", settings.thresholds, names)
    from mtcnn.nets import load_net  # imports torch, only in the processes that mine

    def refiners(thresholds: Sequence[float], behind_detector: bool) -> list[NetRefiner]:
        later = zip(names[1:], thresholds[1:], strict=False)
        return [NetRefiner(nets[net], net, least, behind_detector=behind_detector) for net, least in later]

    nets = {name: load_net(weights_path(models, name), name) for name in names}
    first = PNetProposer(
        nets["pnet"], scale_factor=settings.scale_factor, threshold=settings.thresholds[0], per_level=1500
    )
    found = [MiningCascade(first, refiners(settings.thresholds, behind_detector=False))]
    if settings.detector:
        thresholds = settings.detector_thresholds
        _check_count("detector_thresholds", thresholds, (settings.detector, *names[1:]))
        detector = load_detector(settings.detector, detector_folder(models, settings.detector), thresholds[0])
        found.append(MiningCascade(detector, refiners(thresholds, behind_detector=True)))
    return found


def detector_folder(models: Path, detector: str) -> Path:
    """Where the weights of a detector that mines are: the folder itself, or that of the packaged ones."""
    return models if has_weights(models, detector) else packaged_weights()


def _check_count(name: str, thresholds: Sequence[float], nets: Sequence[str]) -> None:
    if len(thresholds) < len(nets):
        raise SettingsError(f"{name} are {len(thresholds)}; expected one for each of {', '.join(nets)}")


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
    kept, fitted = np.concatenate(chosen), np.concatenate(chosen[1:])
    copied = np.repeat(fitted, copies(labels.faces[fitted], record, settings, rng))
    rows = np.concatenate([kept, copied])
    windows = np.concatenate([windows[kept], around(windows[copied], (1 / SCALE, SCALE), SHIFT, rng)])
    return crops_of(image, windows, Labels(labels.kinds[rows], labels.faces[rows]), record, size, crops.context)


def copies(
    faces: NDArray[np.int64], record: ImageRecord, settings: MineSettings, rng: np.random.Generator
) -> NDArray[np.int64]:
    """How many copies (N,) to make of crops of these faces (N,); a fraction of a copy is a chance."""
    if not settings.balance:
        return np.full(len(faces), settings.jitter)
    boxes = record.boxes[faces]
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    own = np.bincount(faces, minlength=len(record.boxes))[faces]  # crops of the same face
    share = np.minimum((side / TYPICAL) ** settings.balance, MOST_BALANCE) / np.sqrt(own)
    found: NDArray[np.int64] = np.floor(settings.jitter * share + rng.random(len(faces))).astype(np.int64)
    return found
