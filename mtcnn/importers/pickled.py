"""Arrays out of pickles, of which nothing is run.

A pickle is a program that may call any function. This reader knows the few steps that lists, dicts, texts, numbers and
arrays of numbers need, and does them itself: it imports nothing, calls nothing that a file names, and refuses any other
step. joblib's form is understood too: each array's bytes lie between two steps.

Source: `pickletools` for the steps; `ndarray.__reduce__` of NumPy and `NumpyArrayWrapper` of joblib for the arrays.
"""

from __future__ import annotations

import math
import pickletools
import struct
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError

__all__ = ["read_pickled"]

# What a file may name, and what that means here. NumPy 2 has moved its core.
_NAMES = {
    "numpy ndarray": "array type",
    "numpy dtype": "dtype",
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray _reconstruct": "array",
    "_codecs encode": "encode",
    "joblib.numpy_pickle NumpyArrayWrapper": "inline array",
}
_FLOATS = {"f2", "f4", "f8"}
_MARK = object()

_IGNORED = {"PROTO", "FRAME"}
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES",
    "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(str):
    """A value of _NAMES: something that the file means to call."""


class _Made:
    """What a call in the file would have made: an array still without values, or a dtype."""

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind, self.args = kind, args


def read_pickled(stream: IO[bytes]) -> Any:
    """Lists, dicts and arrays of floats out of a pickle. Raises CheckpointError for anything else, and for damage."""
    try:
        return _run(stream)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError, MemoryError) as error:
        raise CheckpointError("is truncated or damaged, or holds more than lists of arrays; copy it again") from error


def _run(stream: IO[bytes]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for step, value, _ in pickletools.genops(stream):
        name, argument = step.name, cast(Any, value)
        if name == "STOP":
            return stack.pop()
        if name == "BUILD":
            state = stack.pop()
            stack.append(_build(stack.pop(), state, stream))
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name not in _IGNORED:
            _step(name, argument, stack)
    raise ValueError("no end")


def _step(name: str, argument: Any, stack: list[Any]) -> None:
    """The steps that only change the stack."""
    if name in _PLAIN:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("EMPTY_LIST", "EMPTY_DICT"):
        stack.append([] if name == "EMPTY_LIST" else {})
    elif name == "TUPLE" or name in _TUPLES:
        parts = _to_mark(stack) if name == "TUPLE" else [stack.pop() for _ in range(_TUPLES[name])][::-1]
        stack.append(tuple(parts))
    elif name in ("APPEND", "APPENDS"):
        parts = _to_mark(stack) if name == "APPENDS" else [stack.pop()]
        stack[-1].extend(parts)
    elif name in ("SETITEM", "SETITEMS"):
        parts = _to_mark(stack) if name == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
        stack[-1].update(zip(parts[::2], parts[1::2], strict=True))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        named = argument if name == "GLOBAL" else " ".join([stack.pop() for _ in range(2)][::-1])
        if named not in _NAMES:
            raise CheckpointError(
                f"holds a {named.replace(' ', '.')[:60]}; expected nothing but arrays: do not trust it"
            )
        stack.append(_Name(_NAMES[named]))
    elif name in ("REDUCE", "NEWOBJ"):
        args = stack.pop()
        stack.append(_call(stack.pop(), args))
    else:
        raise CheckpointError(f"holds a step {name}; expected nothing but arrays: do not trust it")


def _to_mark(stack: list[Any]) -> list[Any]:
    at = max(place for place, value in enumerate(stack) if value is _MARK)
    parts = stack[at + 1 :]
    del stack[at:]
    return parts


def _call(kind: Any, args: Any) -> Any:
    if not isinstance(kind, _Name) or not isinstance(args, tuple):
        raise CheckpointError("calls what is no name; expected nothing but arrays: do not trust it")
    if kind == "encode":  # how Python 3 writes bytes for Python 2
        text, encoding = args
        if encoding != "latin1":
            raise ValueError(encoding)
        return text.encode("latin1")
    return _Made(str(kind), args)


def _build(made: Any, state: Any, stream: IO[bytes]) -> Any:
    """`made` with the values that the file gives it: for an array the array itself, for an array of objects a list."""
    if made.kind == "dtype":
        if state[1] not in ("<", "|", "="):
            raise ValueError("byte order")
        return made
    if made.kind == "array":
        _, shape, dtype, columns_first, values = state
        if isinstance(values, list):
            return values
        return _array(values, shape, dtype, columns_first)
    if made.kind == "inline array":
        if "numpy_array_alignment_bytes" in state:  # joblib 1.2 and later
            stream.read(stream.read(1)[0])
        shape, dtype = state["shape"], state["dtype"]
        size = math.prod(shape) * np.dtype(_float(dtype)).itemsize
        return _array(stream.read(size), shape, dtype, state["order"] == "F")
    raise ValueError(made.kind)


def _float(dtype: _Made) -> str:
    if dtype.kind != "dtype" or dtype.args[0] not in _FLOATS:
        raise ValueError("no array of floats")
    return f"<{dtype.args[0]}"


def _array(values: bytes, shape: tuple[int, ...], dtype: _Made, columns_first: bool) -> NDArray[Any]:
    flat = np.frombuffer(values, _float(dtype))
    return flat.reshape(shape, order="F" if columns_first else "C")
