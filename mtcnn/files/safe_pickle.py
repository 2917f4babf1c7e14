"""Pickles, of which nothing is run.

A pickle is a program that may call any function. This reader knows the few steps that lists, dicts, texts and numbers
need, and does them itself; for the rest a subclass says which names a file may call and what that means. It imports
nothing, calls nothing that a file names, and refuses any other step.

Source: `pickletools` for the steps.
"""

from __future__ import annotations

import pickletools
import struct
from typing import IO, Any, ClassVar, cast

from ..errors import CheckpointError

__all__ = ["PickleReader"]

_MARK = object()

_IGNORED = {"PROTO", "FRAME"}
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(str):
    """A value of `PickleReader.names`: something that the file means to call, or to name."""


class PickleReader:
    """Reads one pickle, by `read`. Subclasses say what names mean."""

    names: ClassVar[dict[str, str]] = {}
    """What a file may name, "module name", and what `call` knows it as."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def call(self, kind: str, args: tuple[Any, ...]) -> Any:
        """What calling a name would have made."""
        raise ValueError(kind)

    def build(self, made: Any, state: Any) -> Any:
        """`made`, which `call` gave, with the state that the file sets it to."""
        raise ValueError("state")

    def stored(self, key: Any) -> Any:
        """What the file keeps elsewhere, under this key."""
        raise CheckpointError("keeps a part elsewhere; expected nothing but arrays: do not trust it")

    def read(self) -> Any:
        """Lists, dicts, plain values and what `call` makes. Raises CheckpointError for anything else or damage."""
        try:
            return self._run()
        except (ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError, MemoryError) as error:
            raise CheckpointError(
                "is truncated or damaged, or holds more than lists of arrays; copy it again"
            ) from error

    def _run(self) -> Any:
        stack, memo = self._stack, self._memo
        for step, value, _ in pickletools.genops(self.stream):
            name, argument = step.name, cast(Any, value)
            if name == "STOP":
                return stack.pop()
            if name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name in _PLAIN:
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("EMPTY_LIST", "EMPTY_DICT"):
                stack.append([] if name == "EMPTY_LIST" else {})
            elif name not in _IGNORED:
                self._step(name, argument)
        raise ValueError("no end")

    def _step(self, name: str, argument: Any) -> None:
        """The steps that take from the stack."""
        stack = self._stack
        if name == "TUPLE" or name in _TUPLES:
            stack.append(tuple(self._taken(name == "TUPLE", _TUPLES.get(name, 0))))
        elif name in ("APPEND", "APPENDS"):
            parts = self._taken(name == "APPENDS", 1)
            stack[-1].extend(parts)
        elif name in ("SETITEM", "SETITEMS"):
            parts = self._taken(name == "SETITEMS", 2)
            stack[-1].update(zip(parts[::2], parts[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._named(argument if name == "GLOBAL" else " ".join(self._taken(False, 2))))
        elif name in ("REDUCE", "NEWOBJ"):
            kind, args = self._taken(False, 2)
            if not isinstance(kind, _Name) or not isinstance(args, tuple):
                raise CheckpointError("calls what is no name; expected nothing but arrays: do not trust it")
            stack.append(self.call(str(kind), args))
        elif name == "BUILD":
            made, state = self._taken(False, 2)
            stack.append(self.build(made, state))
        elif name == "BINPERSID":
            stack.append(self.stored(stack.pop()))
        else:
            raise CheckpointError(f"holds a step {name}; expected nothing but arrays: do not trust it")

    def _named(self, name: str) -> _Name:
        if name not in self.names:
            wanted = name.replace(" ", ".")[:60]
            raise CheckpointError(f"holds a {wanted}; expected nothing but arrays: do not trust it")
        return _Name(self.names[name])

    def _taken(self, to_mark: bool, count: int) -> list[Any]:
        """What lies above the last mark, or the last `count` values, taken off the stack."""
        stack = self._stack
        at = max(place for place, value in enumerate(stack) if value is _MARK) if to_mark else len(stack) - count
        if at < 0:
            raise IndexError("empty stack")
        parts = stack[at + to_mark :]
        del stack[at:]
        return parts
