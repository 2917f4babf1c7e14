"""Reads torch.save files without torch: arrays, plain values, lists and dicts of them.

A file is a zip, with a pickle of everything but the tensor data, and a member for the data of each storage. No code in
it is executed, and a small file cannot take much memory, see `safe_pickle`.

Source: `torch.save` and `torch._utils._rebuild_tensor_v2` of PyTorch 1.6 to 2.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .safe_pickle import ENTRY, Budget, PickleReader, check_shape

__all__ = ["LARGEST", "StateDict", "StorageSurvey", "TensorReader", "check_saved", "read_saved"]

Array = NDArray[Any]

LARGEST = 1 << 30
"""Bytes of a file. VGG-16 has 138 million parameters; what is much larger is something else, and is not read."""

_TYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
    "Byte": "u1", "Bool": "?", "BFloat16": "bfloat16",
}  # fmt: skip

# What zipfile raises for what is no zip, or a damaged one.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, RuntimeError, StopIteration,
)  # fmt: skip


class StateDict(dict[Any, Any]):
    """Arrays by name, and `metadata`: name of a module -> what torch, or the module itself, records about it."""

    def __init__(self, arrays: dict[Any, Any], metadata: dict[Any, Any]) -> None:
        super().__init__(arrays)
        self.metadata = metadata


class TensorReader(PickleReader):
    """Tensors as arrays of their own.

    storage  gives the bytes of the numbers that the file has under a name, each of a width in bytes.
    """

    names: ClassVar[dict[str, str]] = {
        "collections OrderedDict": "dict",
        "collections Counter": "dict",
        "torch._utils _rebuild_tensor_v2": "tensor",
        "torch._utils _rebuild_parameter": "parameter",
        "torch Size": "plain",
        "torch device": "plain",
        **{f"torch {name}": name for name in ("float16", "bfloat16", "float32", "float64")},
        **{f"torch {name}Storage": kind for name, kind in _TYPES.items()},
    }

    def __init__(self, stream: IO[bytes], size: int, storage: Callable[[str, int], bytes]) -> None:
        super().__init__(stream, size)
        self._storage = storage
        self._storages: dict[str, tuple[str, Array]] = {}

    def call(self, kind: str, args: tuple[Any, ...]) -> Any:
        if kind == "dict":
            return self.table(*args)
        if kind == "tensor":
            return _tensor(self.budget, *args[:4])
        if kind in ("parameter", "plain"):
            return args[0]
        raise ValueError(kind)

    def build(self, made: Any, state: Any) -> Any:
        """A state_dict has an attribute that records something about each module, such as its version."""
        if not isinstance(made, dict):
            raise ValueError("state")
        metadata = state.get("_metadata") if isinstance(state, dict) else None
        if not isinstance(metadata, dict):
            return made
        self.budget.spend(ENTRY * len(made))  # which is copied
        return StateDict(made, metadata)

    def stored(self, key: Any) -> Array:
        what, kind, name, _, count = key[:5]
        if what != "storage" or kind not in _TYPES.values() or not isinstance(name, str):
            raise ValueError("storage")
        if name not in self._storages:
            self._storages[name] = str(kind), self._numbers(name, str(kind))
        known, numbers = self._storages[name]
        if len(numbers) != count or known != kind:
            raise ValueError("size")
        return numbers

    def _numbers(self, name: str, kind: str) -> Array:
        if kind != "bfloat16":
            return np.frombuffer(self._storage(name, np.dtype(kind).itemsize), kind)
        upper = np.frombuffer(self._storage(name, 2), "<u2")
        return (upper.astype("<u4") << 16).view("<f4")  # NumPy has no bfloat16, which is the upper half of float32


class StorageSurvey(TensorReader):
    """Reads which storages there are, and none of them: `found` is name -> bytes a number, how many numbers."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        super().__init__(stream, size, lambda name, width: b"")
        self.found: dict[str, tuple[int, int]] = {}

    def call(self, kind: str, args: tuple[Any, ...]) -> Any:
        return None if kind == "tensor" else super().call(kind, args)

    def stored(self, key: Any) -> Array:
        what, kind, name, _, count, *view = key  # None for no view, in old files
        if what != "storage" or any(view) or kind not in _TYPES.values() or not isinstance(name, str):
            raise ValueError("storage")
        self.found[name] = 2 if kind == "bfloat16" else np.dtype(str(kind)).itemsize, count
        return np.zeros(0)


class _Members:
    """The members of a file of `size` bytes. Together they have no more: none lies on another."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive, self._left = archive, size
        self.names = archive.namelist()
        self._folder = next(name for name in self.names if name.endswith("/data.pkl")).removesuffix("data.pkl")

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}{name}" in self.names

    def check(self) -> None:
        """Raises ValueError for a member that differs from its checksum."""
        if self._archive.testzip() is not None:
            raise ValueError("checksum")

    def read(self, name: str) -> bytes:
        info = self._archive.getinfo(f"{self._folder}{name}")
        self._left -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or self._left < 0:  # torch compresses nothing
            raise ValueError("compressed, or one on another")
        return self._archive.read(info)


def read_saved(source: str | PathLike[str] | bytes) -> Any:
    """The saved object, with arrays instead of tensors.

    source  a path, or the bytes of a file.

    Raises CheckpointError when the file is damaged, or holds anything but arrays and plain values; OSError when it
    cannot be read.
    """
    size = _size(source)
    if size > LARGEST:
        raise CheckpointError(f"has {size} bytes; expected weights of a detector, at most {LARGEST}")

    def read(members: _Members) -> Any:
        if "byteorder" in members and members.read("byteorder") != b"little":  # since torch 2.1
            raise CheckpointError("has its bytes in another order; expected little-endian ones")
        pickle = BytesIO(members.read("data.pkl"))
        return TensorReader(pickle, size, lambda name, width: members.read(f"data/{name}")).read()

    return _of_members(source, size, read)


def check_saved(source: str | PathLike[str] | bytes, data: bool = False) -> None:
    """Raises CheckpointError unless a file, of any size, holds nothing but tensors and plain values.

    data  whether tensor data are compared with their checksums.

    For files that torch then loads: nested tuples can crash its reader, and the process. Raises OSError when the file
    cannot be read.
    """
    size = _size(source)

    def survey(members: _Members) -> None:
        StorageSurvey(BytesIO(members.read("data.pkl")), size).read()
        if data:
            members.check()

    _of_members(source, size, survey)


def _size(source: str | PathLike[str] | bytes) -> int:
    return len(source) if isinstance(source, bytes) else Path(source).stat().st_size


def _of_members(source: str | PathLike[str] | bytes, size: int, read: Callable[[_Members], Any]) -> Any:
    try:
        with zipfile.ZipFile(BytesIO(source) if isinstance(source, bytes) else source) as archive:
            return read(_Members(archive, size))
    except _BROKEN as error:
        raise CheckpointError("is truncated or damaged, or was not written by torch.save; copy it again") from error


def _tensor(budget: Budget, storage: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The array of its own that a tensor is: a view of a storage, in steps of numbers."""
    count = check_shape(*shape)
    if count > len(storage) or len(shape) != len(strides):  # no number is shown twice
        raise ValueError("tensor")
    check_shape(offset, *(() if count == 0 else strides))
    if count == 0:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if last >= len(storage):
        raise ValueError("tensor")
    budget.spend(count * storage.itemsize)
    steps = [step * storage.itemsize for step in strides]
    return np.array(np.lib.stride_tricks.as_strided(storage[offset:], shape, steps), order="C")
