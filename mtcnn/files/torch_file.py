"""What torch.save wrote, read without torch: arrays, plain values, lists and dicts of them.

A file is a zip, with a pickle of all but the numbers, and the numbers of each storage in a member of its own. No code
in it is run, see `pickles`.

Source: `torch.save` and `torch._utils._rebuild_tensor_v2` of PyTorch 1.6 to 2.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .safe_pickle import PickleReader

__all__ = ["read_saved"]

Array = NDArray[Any]

_TYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
    "Byte": "u1", "Bool": "?",
}  # fmt: skip

# What zipfile raises for what is no zip, or a damaged one.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, RuntimeError, StopIteration,
)  # fmt: skip


class _TensorReader(PickleReader):
    names: ClassVar[dict[str, str]] = {
        "collections OrderedDict": "dict",
        "torch._utils _rebuild_tensor_v2": "tensor",
        "torch._utils _rebuild_parameter": "parameter",
        **{f"torch {name}Storage": kind for name, kind in _TYPES.items()},
    }

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Array] = {}

    def call(self, kind: str, args: tuple[Any, ...]) -> Any:
        if kind == "dict":
            return dict(*args)
        if kind == "tensor":
            return _tensor(*args[:4])
        if kind == "parameter":
            return args[0]
        raise ValueError(kind)

    def build(self, made: Any, state: Any) -> Any:
        """A state_dict has attributes, which tell the versions of its layers; they are of no use here."""
        if not isinstance(made, dict):
            raise ValueError("state")
        return made

    def stored(self, key: Any) -> Array:
        what, kind, name, _, count = key
        if what != "storage" or kind not in _TYPES.values():
            raise ValueError(what)
        if name not in self._storages:
            self._storages[name] = np.frombuffer(_member(self._archive, f"{self._folder}/data/{name}"), str(kind))
        if len(self._storages[name]) != count or self._storages[name].dtype != np.dtype(str(kind)):
            raise ValueError("size")
        return self._storages[name]


def read_saved(path: Path) -> Any:
    """What torch.save was given, with arrays in the place of tensors.

    Raises CheckpointError when the file is damaged, or holds anything but arrays and plain values; OSError when it
    cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickle = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = pickle.removesuffix("/data.pkl")
            order = f"{folder}/byteorder"  # since torch 2.1
            if order in archive.namelist() and _member(archive, order) != b"little":
                raise CheckpointError("has its bytes in another order; expected little-endian ones")
            return _TensorReader(BytesIO(_member(archive, pickle)), archive, folder).read()
    except _BROKEN as error:
        raise CheckpointError("is truncated or damaged, or was not written by torch.save; copy it again") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:  # torch compresses nothing
        raise ValueError("compressed")
    return archive.read(name)


def _tensor(storage: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The array of its own that a tensor is: a view of a storage, in steps of numbers."""
    if min((offset, *shape, *strides)) < 0 or math.prod(shape) > len(storage):  # no number is shown twice
        raise ValueError("tensor")
    if math.prod(shape) == 0:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if last >= len(storage):
        raise ValueError("tensor")
    steps = [step * storage.itemsize for step in strides]
    return np.array(np.lib.stride_tricks.as_strided(storage[offset:], shape, steps), order="C")
