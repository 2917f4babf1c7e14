"""Recipes of single-stage detectors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from mtcnn.errors import RecipeError
from mtcnn.proposers import PROPOSERS

from .assigners import MatchSettings
from .recipe import _build, _check
from .square_crops import PictureSettings

__all__ = ["DetectorRecipe", "DetectorSettings", "read_detector_recipe"]


@dataclass(frozen=True)
class DetectorSettings:
    """Section [train] of a detector's recipe.

    epochs, steps     a checkpoint, and a look at the held part, every `steps` batches.
    batch             pictures a step, over all processes, of the first of the sizes.
    rate              peak learning rate of AdamW; linear warm-up over `warmup` steps, then a cosine to 1 % of it.
    negatives         hard negatives for each face anchor of an image; `least` for an image without faces.
    face box landmark weights of the three losses.
    clip              largest norm of the gradient.
    ema               decay of the moving average of the weights, which is what is kept.
    held              percent of the images that are kept to judge by.
    seed              of weights, order and augmentation.
    """

    epochs: int = 60
    steps: int = 100
    batch: int = 16
    rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 5e-4
    negatives: float = 7.0
    least: int = 8
    face: float = 1.0
    box: float = 2.0
    landmark: float = 1.0
    clip: float = 10.0
    ema: float = 0.999
    held: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch", "least"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")
        for name in ("warmup", "weight_decay", "negatives", "face", "box", "landmark", "seed"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("rate", "clip"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        _check(0 <= self.ema <= 1, "ema", self.ema, "a number from 0 to 1")
        _check(0 <= self.held <= 50, "held", self.held, "a number from 0 to 50")


@dataclass(frozen=True)
class DetectorRecipe:
    """All that makes one detector: its pictures, its matching, and how it is trained."""

    net: str
    pictures: PictureSettings = field(default_factory=PictureSettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    train: DetectorSettings = field(default_factory=DetectorSettings)

    def __post_init__(self) -> None:
        _check(self.net in PROPOSERS, "net", self.net, f"one of {', '.join(PROPOSERS)}")


def read_detector_recipe(path: Path) -> DetectorRecipe:
    """Read a recipe. Raises RecipeError naming the file, the key and what was expected."""
    try:
        return _build(DetectorRecipe, tomllib.loads(path.read_text("utf-8")), "")
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
