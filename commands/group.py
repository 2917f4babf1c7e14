"""How commands fail and how groups find them: one line and an exit status, modules loaded when used."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from functools import update_wrapper
from importlib import import_module
from typing import Any

import click

from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.libraries import library_error
from mtcnn.terminal import printable

from .wording import as_options

__all__ = ["Group", "command", "debugging", "say"]

SIGPIPE = 13  # Windows has no such signal, and no name for it


def say(line: str) -> None:
    """A line for the user on stderr."""
    click.echo(printable(line), err=True)


def debugging() -> bool:
    """Whether the user asked for the traceback of any error."""
    return bool(click.get_current_context().find_root().params.get("debug"))


class Group(click.Group):
    """A group that loads a command when it is asked for, and turns an MtcnnError into one line and exit status 1.

    modules  name of a command -> "module:object" that defines it. Commands are listed in this order.
    """

    def __init__(self, *args: Any, modules: Mapping[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.modules = dict(modules or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.modules, *self.commands]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.modules:
            return super().get_command(ctx, name)
        module, _, attribute = self.modules[name].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*args, **settings)
        except OSError as error:  # of --help and --version, which write while the words are parsed
            if error.errno == errno.EPIPE:
                sys.exit(128 + SIGPIPE)
            if error.errno is None:
                raise
            say(f"mtcnn: {_unusable(error)}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MtcnnError as error:
            self._fail(ctx, error, str(error))
        except (ImportError, AttributeError) as error:
            if (fault := library_error(error)) is None:
                raise
            self._fail(ctx, error, str(fault))
        except OSError as error:  # of the disk or its permissions, wherever it shows
            if (fault := library_error(error)) is not None:
                self._fail(ctx, error, str(fault))
            if error.errno == errno.EPIPE:  # of `| head`, which has read enough, see mtcnn/__main__.py
                ctx.exit(128 + SIGPIPE)
            if error.errno is None:
                raise
            self._fail(ctx, error, _unusable(error))
        except click.UsageError as error:  # which may quote a name, of a file that a pattern of the shell found
            raise click.UsageError(printable(error.format_message()), error.ctx) from error
        except KeyboardInterrupt:
            say("mtcnn: interrupted; run the same command again to continue")
            ctx.exit(130)

    def _fail(self, ctx: click.Context, error: Exception, line: str) -> None:
        if debugging():
            raise error
        say(f"mtcnn: {line}")
        ctx.exit(1)


def _unusable(error: OSError) -> str:
    """What the user reads of an error of the system."""
    where = f"{error.filename}: " if error.filename else ""
    fix = "expected a place to read from and write to; check the path, its permissions, and free disk space"
    return f"{where}{error.strerror}; {fix}"


def _hush_libraries() -> None:
    """Libraries in C write to stderr about files that they do not name; what matters of it is reported in our words."""
    from mtcnn.hush import take_stderr

    take_stderr()


def _check_folder() -> None:
    """Raises MtcnnError where the current folder was deleted: relative paths lead nowhere, and torch ends the process
    when it is imported, without a word of the folder."""
    try:
        os.getcwd()
    except OSError as error:
        raise MtcnnError(
            f"the current folder cannot be used ({error.strerror}); expected one that exists; change to another folder"
        ) from None


def _check_not_empty(values: Mapping[str, Any]) -> None:
    """Raises SettingsError for an empty text, as an unset variable of the shell leaves it: paths, names, sources."""
    for name, value in values.items():
        if any(text == "" for text in (value if isinstance(value, tuple) else (value,))):
            raise SettingsError(f"`{name}` is empty; expected a name; is a variable of the shell unset?")


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().params["debug"] = True


_debug_option = click.option("--debug", is_flag=True, hidden=True, expose_value=False, callback=_set_debug)


class Command(click.Command):
    """A command whose options may have had other names: these work for a release, with a warning.

    renamed  old name of an option -> its name now.
    """

    renamed: Mapping[str, str] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [self._renamed(word) for word in args])

    def _renamed(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self.renamed:
            return word
        say(f"mtcnn: {name} is now called {self.renamed[name]}; the old name goes with the next release")
        return f"{self.renamed[name]}{equals}{value}"


def command(
    name: str, group: click.Group | None = None, renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """A `Command`, in `group` where one is given, that takes --debug as `mtcnn` does.

    The library's errors name settings (`min_face`); what the user reads are the options of the command (--min-face).
    A SettingsError becomes a usage error.
    """

    def wrap(function: Callable[..., Any]) -> click.Command:
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                _check_folder()
                _check_not_empty(kwargs)
                _hush_libraries()
                return function(*args, **kwargs)
            except MtcnnError as error:
                message = as_options(str(error), made.params)
                if isinstance(error, SettingsError):
                    raise click.UsageError(message) from error
                error.args = (message,)
                raise

        made: Command = click.command(name, cls=Command)(_debug_option(update_wrapper(checked, function)))
        made.renamed = renamed or {}
        if group is not None:
            group.add_command(made)
        return made

    return wrap
