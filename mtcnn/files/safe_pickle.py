"""Reads pickles without executing anything.

A pickle is a program that may call any function. This reader implements only the few opcodes for lists, dicts, text and
numbers; subclasses define which names a file may call, and their meaning. It imports nothing, calls nothing that a file
names, and rejects any other opcode.

A small file cannot cost much either: keys are plain values, nesting and the number of values are limited, and memory is
limited by the size of the file (`Budget`).

Source: `pickletools` for the steps.
"""

from __future__ import annotations

import math
import pickletools
import struct
from typing import IO, Any, ClassVar, cast

from ..errors import CheckpointError

__all__ = ["ENTRY", "MAX_DIMS", "Budget", "PickleReader", "check_shape"]

MAX_DEPTH = 32  # of lists, tuples and dicts within each other; a training's checkpoint has five
MAX_STEPS = 1 << 21  # of the program; a state_dict of 1,000 tensors takes 30,000, a training's checkpoint five times
MAX_DIMS = 8
MAX_SIDE = 1 << 31  # of one dimension
SHARING = 8  # how often the same bytes may be shown: tied weights show them twice
SPARE = 1 << 16  # bytes that a file of any size may take
ENTRY = 64  # bytes that an entry of a copied list or dict takes

_IGNORED = {"PROTO", "FRAME"}
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Budget:
    """Memory budget, in bytes, of a file of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.left = SHARING * size + SPARE

    def spend(self, count: int) -> None:
        """Raises CheckpointError when more than the budget is spent."""
        self.left -= count
        if self.left < 0:
            raise CheckpointError("unfolds to far more bytes than it has; expected weights: do not trust it")


def check_shape(*numbers: Any) -> int:
    """The number of values in an array of this shape. Raises ValueError for what is no shape."""
    if len(numbers) > MAX_DIMS or not all(type(side) is int and 0 <= side < MAX_SIDE for side in numbers):
        raise ValueError("shape")
    return math.prod(numbers)


class _Name(str):
    """A value of `PickleReader.names`: something that the file means to call, or to name."""


class PickleReader:
    """Reads one pickle, by `read`. Subclasses say what names mean.

    size    bytes of the file, which bound the memory that is taken.
    """

    names: ClassVar[dict[str, str]] = {}
    """What a file may name, "module name", and what `call` knows it as."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.budget = Budget(size)
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._depths: dict[int, int] = {}  # of tuples by their id; all of them live as long as this does
        self._tuples: list[tuple[Any, ...]] = []

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
            found = self._run()
            _check_nesting(found)
        except (
            ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError, MemoryError,
            RecursionError,
        ) as error:  # fmt: skip
            raise CheckpointError(
                "is truncated or damaged, or holds more than lists of arrays; copy it again"
            ) from error
        return found

    def _run(self) -> Any:
        stack, memo = self._stack, self._memo
        for count, (step, value, _) in enumerate(pickletools.genops(self.stream)):
            name, argument = step.name, cast(Any, value)
            if count > MAX_STEPS:
                raise CheckpointError(f"holds more than {MAX_STEPS} values; expected weights: do not trust it")
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
            elif name == "MARK":
                self._marks.append(len(stack))
            elif name in ("EMPTY_LIST", "EMPTY_DICT"):
                stack.append([] if name == "EMPTY_LIST" else {})
            elif name not in _IGNORED:
                self._step(name, argument)
        raise ValueError("no end")

    def _step(self, name: str, argument: Any) -> None:
        """The steps that take from the stack."""
        stack = self._stack
        if name == "TUPLE" or name in _TUPLES:
            stack.append(self._tuple(self._taken(name == "TUPLE", _TUPLES.get(name, 0))))
        elif name in ("APPEND", "APPENDS"):
            parts = self._taken(name == "APPENDS", 1)
            cast("list[Any]", _of(list, stack[-1])).extend(parts)
        elif name in ("SETITEM", "SETITEMS"):
            parts = self._taken(name == "SETITEMS", 2)
            keys, values = parts[::2], parts[1::2]
            cast("dict[Any, Any]", _of(dict, stack[-1])).update(zip(map(_key, keys), values, strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = [argument] if name == "GLOBAL" else [_of(str, word) for word in self._taken(False, 2)]
            stack.append(self._named(" ".join(words)))
        elif name in ("REDUCE", "NEWOBJ"):
            kind, args = self._taken(False, 2)
            if not isinstance(kind, _Name) or not isinstance(args, tuple):
                raise CheckpointError("calls what is no name; expected nothing but arrays: do not trust it")
            stack.append(self.call(str(kind), args))
        elif name == "BUILD":
            made, state = self._taken(False, 2)
            stack.append(self.build(made, state))
        elif name == "BINPERSID":
            stack.append(self.stored(self._taken(False, 1)[0]))
        else:
            raise CheckpointError(f"holds a step {name}; expected nothing but arrays: do not trust it")

    def table(self, *pairs: Any) -> dict[Any, Any]:
        """dict(*pairs), of pairs that the file gives, with keys that are plain."""
        if not pairs:
            return {}
        (rows,) = pairs
        rows = list(rows.items()) if isinstance(rows, dict) else _of(list, rows)
        self.budget.spend(ENTRY * len(rows))
        return {_key(key): value for key, value in rows}

    def _tuple(self, parts: list[Any]) -> tuple[Any, ...]:
        """A tuple of `parts`. Hashing and comparing go down all tuples in it, on the processor's stack."""
        made = tuple(parts)
        depth = 1 + max((self._depths.get(id(part), 0) for part in made), default=0)
        if depth > MAX_DEPTH:
            raise CheckpointError(f"is nested deeper than {MAX_DEPTH}; expected weights: do not trust it")
        self._depths[id(made)] = depth
        self._tuples.append(made)
        return made

    def _named(self, name: str) -> _Name:
        if name not in self.names:
            wanted = name.replace(" ", ".")[:60]
            raise CheckpointError(f"holds a {wanted}; expected nothing but arrays: do not trust it")
        return _Name(self.names[name])

    def _taken(self, to_mark: bool, count: int) -> list[Any]:
        """What lies above the last mark, or the last `count` values above it, taken off the stack."""
        stack, floor = self._stack, self._marks[-1] if self._marks else 0
        at = self._marks.pop() if to_mark else len(stack) - count
        if at < floor:
            raise IndexError("empty stack")
        parts = stack[at:]
        del stack[at:]
        return parts


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"no {kind.__name__}")
    return value


def _key(value: Any) -> Any:
    """A key of a dict, if it is plain."""
    if value is not None and type(value) not in (str, int, float, bool, bytes):
        raise CheckpointError(f"has a {type(value).__name__} for a key; expected names or numbers: do not trust it")
    return value


def _check_nesting(found: Any) -> None:
    """Raises CheckpointError for lists, tuples and dicts that whoever walks through them would not come to the end of.

    A list may hold itself, or hold another ten times that holds a third ten times.
    """
    left = [iter((found,))]
    for _ in range(MAX_STEPS):
        value = next(left[-1], left)
        if value is left:  # the end of this one
            left.pop()
            if not left:
                return
        elif isinstance(value, list | tuple | dict):
            left.append(iter(value.values() if isinstance(value, dict) else value))
            if len(left) > MAX_DEPTH + 1:
                raise CheckpointError(f"is nested deeper than {MAX_DEPTH}; expected weights: do not trust it")
    raise CheckpointError(f"holds more than {MAX_STEPS} values; expected weights: do not trust it")
