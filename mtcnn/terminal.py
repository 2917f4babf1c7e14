"""Untrusted text on a terminal: names and metadata may contain control sequences."""

from __future__ import annotations

import re
import sys

__all__ = ["printable", "short", "tell"]

# Control characters (C0, DEL, C1), line separators, and bidirectional marks.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """The text on one line, with escapes such as \\x1b for what a terminal would obey instead of showing it."""
    return _OBEYED.sub(lambda found: _SHORT.get(found[0]) or _escape(found[0]), text)


def short(text: str, length: int = 160) -> str:
    """`printable` text of at most so many characters, for names that a file gives: they may have any length."""
    shown = printable(text)
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def tell(line: str) -> None:
    """A line for the user on stderr, beside a progress bar where there is one."""
    from tqdm import tqdm

    tqdm.write(f"mtcnn: {printable(line)}", file=sys.stderr)
