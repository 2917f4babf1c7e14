"""Recipes: every setting of a net's data and training, as frozen dataclasses read from TOML.

A recipe is checked whole when it is read, an unknown key is an error, and it is stored with the weights it made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_origin, get_type_hints

from mtcnn.checkpoint import weights_path
from mtcnn.errors import RecipeError
from mtcnn.scoring import Scoring
from mtcnn.weights import SIZES
from prepare.labels import IouBands, Kind
from prepare.mine import MineSettings
from prepare.sample import CropSettings

__all__ = ["Mix", "Recipe", "TrainSettings", "check", "digest", "load_recipe", "read_recipe", "recipe_path"]


class NetRecipe(Protocol):
    """A recipe of whichever kind."""

    @property
    def net(self) -> str: ...


T = TypeVar("T")
R = TypeVar("R", bound=NetRecipe)

EXPECTED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text in quotes"}


@dataclass(frozen=True)
class Mix:
    """Shares of a batch by kind of crop; they need not add up to 1. The paper's for three tasks is 3 : 1 : 1 : 2."""

    neg: float = 3.0
    part: float = 1.0
    pos: float = 1.0
    landmark: float = 0.0

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            check(share >= 0, name, share, "a share of 0 or more")
        for name in ("neg", "pos"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a share above 0")

    def counts(self, batch: int) -> dict[Kind, int]:
        """Crops of each kind in a batch of `batch`; what rounding leaves over is background."""
        total = self.neg + self.part + self.pos + self.landmark
        counts = {Kind[name.upper()]: round(batch * share / total) for name, share in vars(self).items()}
        counts[Kind.NEG] += batch - sum(counts.values())
        return counts


@dataclass(frozen=True)
class TrainSettings:
    """Section [train] of a recipe.

    epochs, steps     a checkpoint, and a look at the held part, every `steps` batches.
    batch             crops a step, over all processes.
    rate              peak learning rate of AdamW; linear warm-up over `warmup` steps, then a cosine to 1 % of it.
    mix               kinds of crops in a batch.
    hard              share of the face losses that count: the hardest (online hard example mining).
    face box landmark weights of the three losses.
    ema               decay of the moving average of the weights, which is what is kept.
    colour            strength of random brightness, contrast and saturation, 0 for none.
    blur              share of crops that are halved in size and enlarged again.
    recall            after training the face bias is moved so that this share of held faces scores 0.5 or more; 0 for
                      no change. Training on hard examples makes all scores low; this puts them back in place. The score
                      is the net's own here: a net that counts what was before it takes less of it.
    score             how RNet's and ONet's scores count what the stage before them knew; travels with the weights.
    mixed             convolutions in bfloat16 on a GPU, or a processor that has it: several times faster.
    seed              of weights, order and augmentation.
    """

    epochs: int = 10
    steps: int = 500
    batch: int = 512
    rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    mix: Mix = field(default_factory=Mix)
    hard: float = 0.7
    face: float = 1.0
    box: float = 0.5
    landmark: float = 0.5
    ema: float = 0.999
    colour: float = 0.3
    blur: float = 0.0
    recall: float = 0.0
    score: Scoring = field(default_factory=Scoring)
    mixed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")
        for name in ("warmup", "weight_decay", "face", "box", "landmark", "seed"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("rate", "hard"):
            check(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        for name in ("hard", "ema", "colour", "blur", "recall"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a number from 0 to 1")
        counts = self.mix.counts(self.batch)
        check(min(counts.values()) >= 0 and counts[Kind.NEG] > 0 and counts[Kind.POS] > 0, "batch", self.batch,
               "one large enough for some neg and some pos crops of the mix")  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """All that makes one net: how its crops are drawn and mined, and how it is trained.

    draft  a shorter training whose net mines the hard examples of the real one: PNet, which has no net before it, finds
           its own false alarms this way. None for no draft.
    """

    net: str
    seed: int = 0
    bands: IouBands = field(default_factory=IouBands)
    crops: CropSettings = field(default_factory=CropSettings)
    mine: MineSettings | None = None
    draft: TrainSettings | None = None
    train: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        check(self.net in SIZES, "net", self.net, f"one of {', '.join(SIZES)}")
        check(self.seed >= 0, "seed", self.seed, "0 or more")
        check(self.draft is None or (self.net == "pnet" and self.mine is not None), "draft", "given",
               "it for pnet alone, together with [mine]")  # fmt: skip
        for name in ("draft", "train"):
            settings = getattr(self, name)
            wants = settings is not None and settings.mix.landmark > 0
            check(not wants or self.net == "onet", f"{name}.mix.landmark", "above 0", "0: only onet has landmarks")
            check(not wants or self.crops.landmarks > 0, "crops.landmarks", 0, "1 or more, as the mix wants some")
            own = settings is None or settings.score == Scoring()
            check(own or self.net != "pnet", f"{name}.score", "given", "none: there is no stage before pnet")


def check(good: bool, name: str, value: Any, expected: str) -> None:
    """Raise RecipeError unless `good`, naming the key, its value and what was expected."""
    if not good:
        raise RecipeError(f"{name} is {value}; expected {expected}")


def digest(*parts: Any) -> str:
    """A short name for plain values and dataclasses, in lists too: equal content, equal name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dataclasses.asdict).encode()).hexdigest()[:16]


def build(kind: type[T], values: dict[str, Any], where: str) -> T:
    """A dataclass from a TOML table, tables within becoming dataclasses too."""
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise RecipeError(f"{where}{unknown[0]} is no key of a recipe; expected one of {', '.join(sorted(hints))}")
    if "net" in hints and "net" not in values:
        raise RecipeError(f"{where}net is missing; expected the name of the net that the recipe is for")
    ready = {name: _value(hints[name], value, f"{where}{name}") for name, value in values.items()}
    try:
        return kind(**ready)
    except (RecipeError, ValueError) as error:
        raise RecipeError(f"{where}{error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as a recipe's dataclass wants it: a table, numbers in a row, or one value of the type `hint`."""
    tables: list[Any] = [option for option in getattr(hint, "__args__", (hint,)) if dataclasses.is_dataclass(option)]
    if tables:
        if not isinstance(value, dict):
            raise RecipeError(f"{where} is {value!r}; expected a table")
        return build(tables[0], value, f"{where}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{where} is {value!r}; expected numbers in brackets")
        return tuple(_value(float, each, where) for each in value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise RecipeError(f"{where} is {value!r}; expected {EXPECTED[hint]}")
    return value


def read_recipe(kind: type[T], path: Path) -> T:
    """Read a recipe as the dataclass `kind`. Raises RecipeError naming the file, the key and what was expected."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    try:
        return build(kind, values, "")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def recipe_path(folder: Path, net: str) -> Path:
    """Where the recipe of `net` lies below a folder that holds models-12, models-24 and models-48: by its weights."""
    return weights_path(folder, net).with_name(f"recipe-{net}.toml")


def load_recipe(kind: type[R], folder: Path, net: str) -> R:
    """The recipe of `net`, which is of this kind, below such a folder."""
    path = recipe_path(folder, net)
    recipe = read_recipe(kind, path)
    check(recipe.net == net, f"{path}: net", recipe.net, f"{net}, as the file name says")
    return recipe
