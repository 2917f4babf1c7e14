"""Settings as frozen dataclasses whose fields declare the values they take.

    @dataclass(frozen=True)
    class Schedule(Settings):
        epochs: int = setting(60, min=1)
        lr: float = setting(2e-3, above=0)
        mode: str = setting("cosine", choices=("cosine", "constant"))

A dataclass is checked when it is made, so that a wrong value is reported before any work begins. A wrong value raises
SettingsError, which names the setting, the value and what was expected; any other ValueError is a bug.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .errors import SettingsError

__all__ = [
    "Range",
    "Settings",
    "as_path",
    "check",
    "check_flag",
    "is_finite",
    "is_one_of",
    "require",
    "setting",
    "shown",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The values that a setting takes: numbers between two bounds, or one of `choices`.

    min, max      bounds that belong to the range.        above, below  bounds that do not.
    whole         integers only.                          choices       the values themselves.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether `value` is in the range. Numbers must be finite; a bool is no number."""
        if self.choices:
            return is_one_of(value, self.choices)
        if isinstance(value, bool) or not _is_number(value) or not is_finite(value):
            return False
        if self.whole and value != int(value):
            return False
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        noun = "a whole number" if self.whole else "a number"
        if self.min is not None and self.max is not None:
            return f"{noun} from {self.min:g} to {self.max:g}"
        bounds = (("above", self.above), ("at least", self.min), ("below", self.below), ("at most", self.max))
        words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        if not words:
            return f"a finite {noun.removeprefix('a ')}"
        return f"{noun} {'of ' if words[0].startswith('at') else ''}{' and '.join(words)}"


def _is_number(value: Any) -> bool:
    """NumPy's numbers count, arrays and text that looks like a number do not."""
    if isinstance(value, type | str | bytes) or getattr(value, "ndim", 0) > 0:  # a class, or an array
        return False
    return hasattr(value, "__float__") and hasattr(value, "__lt__")


def is_one_of(value: Any, choices: Iterable[Any]) -> bool:
    """`value in choices`, which fails for an array: that is none of them."""
    return getattr(value, "ndim", 0) == 0 and value in tuple(choices)


def is_finite(number: Any) -> bool:
    """`math.isfinite`, which fails for an int beyond the floats; here that is not finite either."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def setting(
    default: T,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
    hashed: bool = True,
    added: bool = False,
) -> T:
    """A dataclass field with a default and a range, see `Range`. An int as the default asks for whole numbers; None as
    the default is in the range.

    hashed  False: results do not depend on it, so that no digest includes it, see `stages.recipes.digest`.
    added   True: the setting is younger than weights that were trained without it, and its default changes nothing.
            Digests include it only where it differs from the default, so that no older weights become stale.
    """
    values = Range(min, max, above, below, type(default) is int, choices)
    found: T = field(default=default, metadata={"range": values, "hashed": hashed, "added": added})
    return found


class Settings:
    """Base of a settings dataclass: checks the ranges of its fields when it is made.

    renamed  old name of a field -> its name now. `stages.recipes` reads both, and hashes values under the old name, so
             that a new name makes nothing stale that was made before.

    Raises SettingsError.
    """

    renamed: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):  # type: ignore[arg-type]  # only dataclasses derive from it
            values, value = each.metadata.get("range"), getattr(self, each.name)
            if values is not None and not (value is None and each.default is None):
                check(each.name, value, values)


def check(name: str, value: Any, values: Range) -> None:
    """Raise SettingsError unless `value` is in the range `values`."""
    require(values.holds(value), name, value, str(values))


def require(condition: bool, name: str, value: Any, expected: str) -> None:
    """Raise SettingsError, which says what the setting `name` is and what was expected, unless `condition` is met."""
    if not condition:
        raise SettingsError(f"{name} is {shown(value)}; expected {expected}")


def check_flag(name: str, value: Any) -> None:
    """Raise SettingsError unless `value` is a bool, or 0, 1 or None, which are taken for one."""
    require(is_one_of(value, (True, False, None)), name, value, "True or False")


def as_path(name: str, value: Any) -> Path:
    """The path that the setting `name` is. Raises SettingsError for what is none, and for an empty one, as of an unset
    variable: pathlib would turn it into ".", the current folder."""
    known = isinstance(value, str | os.PathLike) and os.fspath(value) != "" and "\0" not in str(value)
    require(known, name, value, "a path")
    return Path(value)


def shown(value: Any) -> str:
    """A value in a message, on one line: text in quotes, so that '20' is not mistaken for 20; what is long is cut."""
    text = repr(value) if isinstance(value, str | bytes) else " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
