"""Arrays from pickles of NumPy or joblib, without executing anything, see `safe_pickle`.

Source: `ndarray.__reduce__` of NumPy; `NumpyArrayWrapper` of joblib, where each array's bytes lie between two steps.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..files.safe_pickle import PickleReader, check_shape

__all__ = ["read_pickled"]

_FLOATS = {"f2", "f4", "f8"}


class _Unmade:
    """What a call in the file would have made: an array still without values, or a dtype."""

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind, self.args = kind, args


class _ArrayReader(PickleReader):
    # NumPy 2 has moved its core.
    names: ClassVar[dict[str, str]] = {
        "numpy ndarray": "array type",
        "numpy dtype": "dtype",
        "numpy.core.multiarray _reconstruct": "array",
        "numpy._core.multiarray _reconstruct": "array",
        "_codecs encode": "encode",
        "joblib.numpy_pickle NumpyArrayWrapper": "inline array",
    }

    def call(self, kind: str, args: tuple[Any, ...]) -> Any:
        if kind == "encode":  # how Python 3 pickles bytes for Python 2
            text, encoding = args
            if encoding != "latin1":
                raise ValueError(encoding)
            self.budget.spend(len(text))
            return text.encode("latin1")
        return _Unmade(kind, args)

    def build(self, made: Any, state: Any) -> Any:
        """With the values that the file gives it: for an array the array itself, for an array of objects a list."""
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
                self.stream.read(self.stream.read(1)[0])
            shape, dtype = state["shape"], state["dtype"]
            size = check_shape(*shape) * np.dtype(_float(dtype)).itemsize
            return _array(self.stream.read(size), shape, dtype, state["order"] == "F")
        raise ValueError(made.kind)


def read_pickled(data: bytes) -> Any:
    """Lists, dicts and float arrays from a pickle. Raises CheckpointError for anything else or a damaged file."""
    return _ArrayReader(BytesIO(data), len(data)).read()


def _float(dtype: _Unmade) -> str:
    if dtype.kind != "dtype" or dtype.args[0] not in _FLOATS:
        raise ValueError("no array of floats")
    return f"<{dtype.args[0]}"


def _array(values: bytes, shape: tuple[int, ...], dtype: _Unmade, columns_first: bool) -> NDArray[Any]:
    flat = np.frombuffer(values, _float(dtype))
    check_shape(*shape)
    return flat.reshape(shape, order="F" if columns_first else "C")
