"""Arrays by name, with a record of plain values, as a safetensors file. No code in such a file can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import CheckpointError
from .torch_file import LARGEST

__all__ = ["read_record", "read_tensors", "write_tensors"]

Array = NDArray[Any]

# One key for all: with several, their order in the file would be another every time.
_KEY = "mtcnn"

# What reading a damaged file may raise.
_BROKEN = (
    SafetensorError, ArithmeticError, AttributeError, ImportError, LookupError, MemoryError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip


def write_tensors(path: Path, arrays: Mapping[str, Array], record: Mapping[str, Any]) -> None:
    """Write arrays and a record of plain values, which becomes JSON: tuples are lists when they are read.

    The same arrays and record make the same bytes. Raises TypeError for a record of more than plain values, OSError
    where the file cannot be written.
    """
    text = json.dumps({**record, "order": list(arrays)})
    # Not by save_file: its file is its owner's alone, whatever the umask says, and it writes to one of another name.
    path.write_bytes(save({name: np.array(value, order="C") for name, value in arrays.items()}, {_KEY: text}))


def read_record(path: Path) -> dict[str, Any]:
    """The record alone, which is in the header of the file. Raises what `read_tensors` does."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(json.loads((file.metadata() or {})[_KEY]))
    except _BROKEN as error:
        raise CheckpointError("is truncated or damaged, or another project's; copy it again") from error


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays, in the order that they were written in, and the record.

    Raises CheckpointError when the file is damaged, larger than LARGEST bytes, or has no record of this project;
    OSError when it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"has more than {LARGEST} bytes; expected weights of a detector")
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {})[_KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        order = record.pop("order")
        if len(order) != len(arrays) or set(order) != arrays.keys():
            raise ValueError("order")
        return {name: arrays[name] for name in order}, record
    except _BROKEN as error:
        raise CheckpointError("is truncated or damaged, or another project's; copy it again") from error
