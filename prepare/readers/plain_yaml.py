"""The part of YAML that `data.yaml` files are written in: keys, plain values, lists and one level of mappings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mtcnn.errors import DataError

__all__ = ["parse_yaml"]

CLOSES = {"[": "]", "{": "}"}
LONGEST = 1 << 16  # letters of a value, as of a line
Value = Any  # str, list of str, or dict of str


def parse_yaml(text: str) -> dict[str, Value]:
    """Key -> text, list of texts, or mapping of texts, of the lines that are understood; others are passed over.

    Numbers stay text. A list stands in brackets or as `- item` lines, a mapping in braces or as indented `key: item`.
    Brackets and braces may go on over several lines. Raises DataError for some that never close.
    """
    found: dict[str, Value] = {}
    key = ""
    lines = map(_without_comment, text.replace("\r\n", "\n").split("\n"))
    for line in lines:
        if not line.strip() or line.startswith("---"):
            continue
        inner = line[0].isspace() or line.lstrip().startswith("- ")
        if inner and key and found[key] == "" and line.strip()[0] in "[{":
            found[key] = _value(_whole(key, line.strip(), lines))
        elif inner and key:
            _add_inner(found, key, line.strip())
        elif match := re.match(r"([^\s:\[\]{}\"']+|\"[^\"]*\"|'[^']*')\s*:(?:\s+(.*)|$)", line.strip()):
            key = _plain(match[1])
            found[key] = _value(_whole(key, (match[2] or "").strip(), lines))
    return found


def _whole(key: str, text: str, lines: Iterator[str]) -> str:
    """`text`, which begins the value of `key`, with the lines up to the end of its brackets, if it has any."""
    if not text.startswith(("[", "{")):
        return text
    parts, depth, length = [text], _depth(text), len(text)
    while depth > 0:
        line = next(lines, None)
        length += len(line or "") + 1
        if line is None or length > LONGEST:
            raise DataError(f"{key[:40]!r} begins with {text[:40]!r}, which never closes; expected {CLOSES[text[0]]!r}")
        parts.append(line.strip())
        depth += _depth(parts[-1])
    return " ".join(parts)


def _depth(text: str) -> int:
    """Brackets and braces that open less those that close, outside of quotes, which begin where a value does."""
    bare = re.sub(r"(?:(?<=[\[{,:\s])|^)(?:\"[^\"]*\"|'[^']*')", "", text)
    return sum((letter in "[{") - (letter in "]}") for letter in bare)


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
