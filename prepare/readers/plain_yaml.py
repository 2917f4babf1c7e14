"""The part of YAML that `data.yaml` files are written in: keys, plain values, lists and one level of mappings."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["parse_yaml"]

Value = Any  # str, list of str, or dict of str


def parse_yaml(text: str) -> dict[str, Value]:
    """Key -> text, list of texts, or mapping of texts, of the lines that are understood; others are passed over.

    Numbers stay text. A list stands in brackets or as `- item` lines, a mapping in braces or as indented `key: item`.
    """
    found: dict[str, Value] = {}
    key = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        line = _without_comment(line)
        if not line.strip() or line.startswith("---"):
            continue
        inner = line[0].isspace() or line.lstrip().startswith("- ")
        if inner and key:
            _add_inner(found, key, line.strip())
        elif match := re.match(r"([^\s:\[\]{}\"']+|\"[^\"]*\"|'[^']*')\s*:(?:\s+(.*)|$)", line.strip()):
            key = _plain(match[1])
            found[key] = _value((match[2] or "").strip())
    return found


def _add_inner(found: dict[str, Value], key: str, text: str) -> None:
    if text.startswith("- "):
        if not isinstance(found[key], list):
            found[key] = []
        found[key].append(_plain(text[2:].strip()))
    elif match := re.match(r"([^:]+):\s*(.*)$", text):
        if not isinstance(found[key], dict):
            found[key] = {}
        found[key][_plain(match[1].strip())] = _plain(match[2].strip())


def _value(text: str) -> Value:
    if text.startswith("[") and text.endswith("]"):
        return [_plain(part) for part in _parts(text[1:-1])]
    if text.startswith("{") and text.endswith("}"):
        pairs = [part.partition(":") for part in _parts(text[1:-1])]
        return {_plain(name): _plain(value) for name, _, value in pairs}
    return _plain(text)


def _parts(text: str) -> list[str]:
    """Split at commas outside of quotes."""
    return [part.strip() for part in re.findall(r"(?:\"[^\"]*\"|'[^']*'|[^,])+", text) if part.strip()]


def _plain(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text[1:-1].replace("''", "'") if len(text) > 1 and text[0] == text[-1] == "'" else text


def _without_comment(line: str) -> str:
    """A # begins a comment at the start of a line or behind white space, outside of quotes."""
    quote = ""
    for i, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i].rstrip()
    return line.rstrip()
