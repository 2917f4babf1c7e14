"""Changes of single values in the text of a recipe, whose comments and order stay."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

from mtcnn.errors import RecipeError, SettingsError
from mtcnn.terminal import short

from .recipe_text import toml_value
from .recipes import check_numbers

__all__ = ["parsed_changes", "with_changes"]

KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")


def parsed_changes(given: Iterable[str]) -> dict[str, Any]:
    """Changes by key, from texts such as "train.epochs=8". A value is one of TOML, or a text without its quotes.

    Raises SettingsError for a text of another form.
    """
    found = {}
    for each in given:
        key, equals, text = (part.strip() for part in each.partition("="))
        if not equals or not KEY.fullmatch(key) or not text or "\n" in text:
            raise SettingsError(f"`changes` has {short(each)}; expected KEY=VALUE, as train.epochs=8")
        try:
            found[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = text
        except (ValueError, RecursionError):  # thousands of digits, or of brackets
            raise SettingsError(f"`changes` has {short(each)}; expected a number of fewer than 64 bits") from None
    return found


def with_changes(text: str, changes: Mapping[str, Any], where: str) -> str:
    """The TOML `text` with other values: changes by key, dotted for those in tables.

    where  names the recipe in errors. Raises RecipeError for a key inside of a value that is no table, and where the
    value has a form that only a person can edit.
    """
    plain = changed = text.replace("\r\n", "\n")
    for key, value in changes.items():
        check_numbers(value, f"{where}: {key}")
        changed = _with_change(changed, key, value, where)
    if changed == plain:
        return text
    return changed.replace("\n", "\r\n") if "\r\n" in text else changed


def _with_change(text: str, key: str, value: Any, where: str) -> str:
    table, _, name = key.rpartition(".")
    items = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(item, bool | int | float | str) for item in items):
        raise RecipeError(
            f"{where}: {key} is {short(str(value))}; expected a number, a text, true, false, or a list of them"
        )
    wanted = _expected(text, key, list(value) if isinstance(value, tuple) else value, where)
    if _says(text, wanted):
        return text
    lines = text.removesuffix("\n").split("\n")  # no other line ends: a comment may hold any character
    section = _section(lines, table)
    line = f"{name} = {toml_value(value)}"
    if section is None:
        return _checked([*lines, "", f"[{table}]", line], wanted) or _refuse(key, where)
    begin, end = section
    at = next((i for i in range(begin, end) if re.match(rf"\s*{re.escape(name)}\s*=", lines[i])), None)
    if at is None:
        return _checked([*lines[:begin], line, *lines[begin:]], wanted) or _refuse(key, where)
    line += _comment(lines[at])
    for last in range(at + 1, end + 1):  # a list may go on for several lines
        found = _checked([*lines[:at], line, *lines[last:]], wanted)
        if found:
            return found
    return _refuse(key, where)


def _expected(text: str, key: str, value: Any, where: str) -> dict[str, Any]:
    """What the new text is to say."""
    values = copy.deepcopy(tomllib.loads(text))
    *tables, name = key.split(".")
    table = values
    for each in tables:
        table = table.setdefault(each, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{where}: {key} is no key, as {each} is no table; expected a key of the recipe")
    table[name] = value
    return values


def _section(lines: list[str], table: str) -> tuple[int, int] | None:
    """The first line in a table and the first one behind it; of the values before all tables for ""."""
    headers = [(i, found[1].replace(" ", "")) for i, line in enumerate(lines) if (found := HEADER.fullmatch(line))]
    starts = [(-1, ""), *headers, (len(lines), "")]
    for (at, name), (following, _) in pairwise(starts):
        if name == table:
            return at + 1, following
    return None


def _comment(line: str) -> str:
    """The comment behind the value of a line, with the spaces before it: from the first # that is in no text."""
    for found in re.finditer(r"\s*#", line):
        with suppress(tomllib.TOMLDecodeError):
            tomllib.loads(line[: found.start()])
            return line[found.start() :]
    return ""


def _checked(lines: list[str], wanted: dict[str, Any]) -> str | None:
    """The lines as a text, if it says what it is to say."""
    text = "\n".join(lines).lstrip("\n") + "\n"
    return text if _says(text, wanted) else None


def _says(text: str, wanted: dict[str, Any]) -> bool:
    """Whether a text is TOML for these values, of the same types: true is not 1, and NaN is NaN."""
    try:
        text.encode()
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeEncodeError):
        return False
    return _plain(found) == _plain(wanted)


def _plain(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=repr)  # dates too


def _refuse(key: str, where: str) -> str:
    raise RecipeError(f"{where}: {key} cannot be changed by a program as it is written there; edit it by hand")
