"""Recipes of single-stage detectors."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtcnn.detectors import PROPOSERS

from ..objectives.matching import MatchSettings
from ..objectives.sampling import SampleSettings
from ..recipes import check
from .crops import PictureSettings

__all__ = ["DetectorRecipe", "DetectorSettings"]


@dataclass(frozen=True)
class DetectorSettings:
    """Section [train] of a detector's recipe.

    epochs, steps     a checkpoint, and a look at the held part, every `steps` batches.
    batch             pictures a step, over all processes, of the first of the sizes.
    rate              peak learning rate of AdamW; linear warm-up over `warmup` steps, then a cosine to 1 % of it.
    face box landmark weights of the three losses.
    clip              largest norm of the gradient.
    ema               decay of the moving average of the weights, which is what is kept.
    held              percent of the images that are kept to judge by.
    mixed             convolutions in bfloat16 on a GPU, or a processor that has it: several times faster.
    seed              of weights, order and augmentation.
    """

    epochs: int = 60
    steps: int = 100
    batch: int = 16
    rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 5e-4
    face: float = 1.0
    box: float = 2.0
    landmark: float = 1.0
    clip: float = 10.0
    ema: float = 0.999
    held: float = 3.0
    mixed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")
        for name in ("warmup", "weight_decay", "face", "box", "landmark", "seed"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("rate", "clip"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        check(0 <= self.ema <= 1, "ema", self.ema, "a number from 0 to 1")
        check(0 <= self.held <= 50, "held", self.held, "a number from 0 to 50")


@dataclass(frozen=True)
class DetectorRecipe:
    """All that makes one detector: its pictures, its matching, which anchors it learns from, and how.

    width  multiplies the numbers of channels of the net; 1 is the published one.
    """

    net: str
    width: float = 1.0
    pictures: PictureSettings = field(default_factory=PictureSettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    train: DetectorSettings = field(default_factory=DetectorSettings)

    def __post_init__(self) -> None:
        check(self.net in PROPOSERS, "net", self.net, f"one of {', '.join(PROPOSERS)}")
        check(0 < self.width <= 4, "width", self.width, "a number above 0, at most 4")
