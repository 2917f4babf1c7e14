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
            yield f"{name} = {toml_value(value)}"
    for name, value in tables.items():
        yield from _lines(value, f"{table}.{name}" if table else name)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or dataclasses.is_dataclass(value)


def toml_value(value: Any) -> str:
    """A value as TOML: JSON's text, numbers and lists are TOML's too, where letters beyond U+FFFF stay as they are."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return _ESCAPED.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)
