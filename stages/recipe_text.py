"""A recipe as the text of its file, for recipes that a program makes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["recipe_text", "toml_value"]

# What TOML takes in no text as it is; of surrogates, bytes of a name that are no text, it takes no escapes either.
_ESCAPED = re.compile("[\x7f\ud800-\udfff]")


def recipe_text(recipe: Any) -> str:
    """The TOML of a recipe: `recipes.read_recipe` returns an equal one. A value of None is left out."""
    return "\n".join(_lines(recipe, "")).lstrip("\n") + "\n"


def _lines(settings: Any, table: str) -> Iterator[str]:
    """The values of a table, then the tables in it, which must be last in TOML."""
    fields = settings if isinstance(settings, Mapping) else vars(settings)
    tables = {name: value for name, value in fields.items() if _is_table(value)}
    if table:
        yield f"\n[{table}]"
    for name, value in fields.items():
        if name not in tables and value is not None:
            yield f"{_key(name)} = {toml_value(value)}"
    for name, value in tables.items():
        yield from _lines(value, f"{table}.{_key(name)}" if table else _key(name))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or dataclasses.is_dataclass(value)


def _key(name: str) -> str:
    """A key as TOML: folders of `pictures.shares` may need quotes."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_value(value: Any) -> str:
    """A value as TOML: a number, a text, true, false, or a list of them."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    if isinstance(value, float):
        return float.__repr__(value)  # JSON has other words for infinity and NaN
    text = json.dumps(value, ensure_ascii=False)  # TOML's texts are JSON's but for pairs of escapes for one letter
    return _ESCAPED.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)
