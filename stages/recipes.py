"""Recipes: every setting of a net's data and training, as frozen dataclasses read from TOML.

A recipe is validated when read, an unknown key is an error, and it is stored with the weights it produced. This module
reads and hashes recipes, and defines what all trainings share; the two kinds are in `crops.recipe` and `photos.recipe`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Protocol, TypeVar, get_origin, get_type_hints

from mtcnn.checkpoint import weights_path
from mtcnn.errors import RecipeError, SettingsError
from mtcnn.settings import Settings, setting
from mtcnn.terminal import short
from mtcnn.weights import SIDES

__all__ = [
    "Schedule",
    "build",
    "check",
    "check_numbers",
    "digest",
    "load_recipe",
    "read_recipe",
    "read_text",
    "recipe_of",
    "recipe_path",
]


class NetRecipe(Protocol):
    """A recipe of whichever kind."""

    @property
    def net(self) -> str: ...


T = TypeVar("T")
R = TypeVar("R", bound=NetRecipe)

EXPECTED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text in quotes"}

LARGEST = 1 << 20  # bytes of a recipe
LARGEST_NUMBER = 1 << 63


@dataclass(frozen=True)
class Schedule(Settings):
    """Settings of every training: the shared part of section [train].

    epochs, steps  a checkpoint and a validation every `steps` batches.
    batch          samples per step, over all processes.
    lr             peak learning rate of AdamW; linear warm-up over `warmup` steps, then a cosine to 1 % of it.
    ema            decay of the moving average of the weights, which is validated and saved.
    mixed          convolutions in bfloat16 on a GPU or a CPU that supports it: several times faster.
    seed           of weights, order and augmentation.
    threshold      minimum score of a face by default, stored with the weights; None: as published. It is part of no
                   key: another one is written into weights that are there, of which None changes nothing.
    """

    epochs: int = setting(10, min=1)
    steps: int = setting(500, min=1)
    batch: int = setting(512, min=1, max=1 << 16)
    lr: float = setting(2e-3, above=0, max=1e30)
    warmup: int = setting(200, min=0)
    weight_decay: float = setting(1e-4, min=0, max=1e30)
    ema: float = setting(0.999, min=0, max=1)
    mixed: bool = False
    seed: int = setting(0, min=0)
    threshold: float | None = setting(None, min=0, max=1, hashed=False)

    renamed: ClassVar[dict[str, str]] = {"rate": "lr"}


def check(good: bool, name: str, value: Any, expected: str) -> None:
    """Raise RecipeError unless `good`, naming the key, its value and what was expected."""
    if not good:
        raise RecipeError(f"{name} is {value}; expected {expected}")


def digest(*parts: Any) -> str:
    """A short digest of plain values and dataclasses, nested ones too: equal content, equal digest."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(settings: Any) -> dict[str, Any]:
    """The hashed fields of a dataclass under their original names, so that a rename makes nothing stale; without those
    that were added later and have their default."""
    first = {new: old for old, new in getattr(settings, "renamed", {}).items()}
    return {
        first.get(each.name, each.name): getattr(settings, each.name)
        for each in dataclasses.fields(settings)
        if each.metadata.get("hashed", True)
        and not (each.metadata.get("added", False) and getattr(settings, each.name) == _default(each))
    }


def _default(each: dataclasses.Field[Any]) -> Any:
    return each.default if each.default_factory is dataclasses.MISSING else each.default_factory()


def build(kind: type[T], values: dict[str, Any], where: str, renames: list[str]) -> T:
    """A dataclass from a TOML table, recursively. Old names of keys are added to `renames`."""
    types = get_type_hints(kind)
    hints = {each.name: types[each.name] for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = _with_new_names(kind, values, where, renames)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise RecipeError(
            f"{where}{short(unknown[0])} is no key of a recipe; expected one of {', '.join(sorted(hints))}"
        )
    if "net" in hints and "net" not in values:
        raise RecipeError(f"{where}net is missing; expected the name of the net that the recipe is for")
    tables = getattr(kind, "tables", {})
    ready = {}
    for name, value in values.items():
        hint = _table_type(tables[name], value, f"{where}{name}.") if name in tables else hints[name]
        ready[name] = _value(hint, value, f"{where}{name}", renames)
    try:
        return kind(**ready)
    except (RecipeError, SettingsError) as error:
        raise RecipeError(f"{where}{error}") from error


def _with_new_names(kind: type[Any], values: dict[str, Any], where: str, renames: list[str]) -> dict[str, Any]:
    """`values` with the old names of fields replaced."""
    renamed = getattr(kind, "renamed", {})
    renames += [f"{where}{old} is {where}{renamed[old]}" for old in values if old in renamed]
    return {renamed.get(name, name): value for name, value in values.items()}


def _table_type(choose: Any, table: Any, where: str) -> Any:
    """The dataclass of a table whose content selects the class."""
    try:
        return choose(table if isinstance(table, dict) else {})
    except SettingsError as error:
        raise RecipeError(f"{where}{error}") from error


def _value(hint: Any, value: Any, where: str, renames: list[str]) -> Any:
    """`value` converted for a recipe's dataclass: a table, a list of numbers, or one value of the type `hint`."""
    tables: list[Any] = [option for option in getattr(hint, "__args__", (hint,)) if dataclasses.is_dataclass(option)]
    if tables:
        if not isinstance(value, dict):
            raise RecipeError(f"{where} is {_short(value)}; expected a table")
        return build(tables[0], value, f"{where}.", renames)
    if isinstance(hint, UnionType):  # a value that may be left out: TOML has no word for none
        hint = next(option for option in hint.__args__ if option is not NoneType)
    if get_origin(hint) is dict:  # free keys, checked by the user of the table
        if not isinstance(value, dict):
            raise RecipeError(f"{where} is {_short(value)}; expected a table")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{where} is {_short(value)}; expected numbers in brackets")
        return tuple(_value(float, each, where, renames) for each in value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise RecipeError(f"{where} is {_short(value)}; expected {EXPECTED[hint]}")
    return value


def check_numbers(value: Any, where: str) -> None:
    """Raise RecipeError for an integer of 64 bits or more, in tables with free keys too: one in hexadecimal digits may
    be too long to be printed in any message."""
    if type(value) is int and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
        raise RecipeError(f"{where} is a number of {value.bit_length()} bits; expected one of fewer than 64")
    if isinstance(value, dict):
        for name, each in value.items():
            check_numbers(each, f"{where}.{short(name)}" if where else short(name))
    elif isinstance(value, list):
        for each in value:
            check_numbers(each, where)


def _short(value: Any) -> str:
    """An unexpected value of a recipe, shortened: it may be deeply nested."""
    try:
        return repr(value)[:80]
    except RecursionError:
        return f"a {type(value).__name__}"


def read_recipe(kind: type[T], path: Path) -> T:
    """Read a recipe as the dataclass `kind`. Keys of version 0.1 are read too, with a FutureWarning.

    Raises RecipeError naming the file, the key and what was expected.
    """
    return parse_recipe(kind, read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a recipe's file, which is TOML. Raises RecipeError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        text = data.decode("utf-8-sig")  # editors of Windows put a mark before it
        check_numbers(tomllib.loads(text), "")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe at {path}; expected a TOML file; check the path") from error
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        raise RecipeError(f"{path} is not TOML: {str(error)[:200]}") from error
    return text


def parse_recipe(kind: type[T], text: str, path: Path) -> T:
    """`read_recipe` of the text of a file, which is TOML."""
    values = tomllib.loads(text)
    renames: list[str] = []
    upgraded = getattr(kind, "upgraded", None)
    if upgraded is not None:
        values = upgraded(values, renames)
    try:
        recipe = build(kind, values, "", renames)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    if renames:
        text = f"{path}: keys have new names: {', '.join(renames)}; the old ones work until version 0.3"
        warnings.warn(text, FutureWarning, stacklevel=2)
    return recipe


def recipe_path(folder: Path, net: str) -> Path:
    """Path of the recipe of `net` in a folder of models: beside its weights."""
    return weights_path(folder, net).with_name(f"recipe-{net}.toml" if net in SIDES else "recipe.toml")


def load_recipe(kind: type[R], folder: Path, net: str) -> R:
    """The recipe of `net`, of this kind, in a folder of models."""
    path = recipe_path(folder, net)
    return recipe_of(kind, net, read_text(path), path)


def recipe_of(kind: type[R], net: str, text: str, path: Path) -> R:
    """`load_recipe` of the text of a file."""
    recipe = parse_recipe(kind, text, path)
    check(recipe.net == net, f"{path}: net", recipe.net, f"{net}, as its path says")
    return recipe
