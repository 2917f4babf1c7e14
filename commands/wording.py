"""Replaces names of settings in the library's error messages by the options of a command."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

__all__ = ["as_options"]

_SETTING = re.compile(r"`(\w+)`|^(\w+)(?= (?:is|are) )")


def as_options(message: str, params: Sequence[click.Parameter] | None = None) -> str:
    """A message of the library with the options of a command: the current one, or one with these parameters.

        "`models` is no folder" -> "--models is no folder"        "min_face is 0; ..." -> "--min-face is 0; ..."

    A setting is in backticks, or the first word before "is" or "are". An argument is written in capitals, as in the
    help. A name that the command does not have is left unchanged.
    """
    known = click.get_current_context().command.params if params is None else params
    options = {param.name: _shown(param) for param in known}

    def option(match: re.Match[str]) -> str:
        return options.get(match[1] or match[2], match[0])

    return _SETTING.sub(option, message)


def _shown(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.name or "").upper()
