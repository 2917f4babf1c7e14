"""The torch.save format before zips: a series of pickles, followed by the data of each storage.

Source: `_legacy_save` of `torch/serialization.py`, PyTorch 0.4 to 2.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from ..errors import CheckpointError
from ..files.safe_pickle import PickleReader
from ..files.torch_file import StorageSurvey, TensorReader

__all__ = ["read_old_saved"]

HEAD = 3  # pickles before the content: a magic number, the version of the protocol, facts of the machine


def read_old_saved(data: bytes) -> Any:
    """The saved object, with arrays instead of tensors.

    Raises CheckpointError if the file is damaged, or holds anything but arrays and plain values.
    """
    stream = BytesIO(data)
    facts = [PickleReader(stream, len(data)).read() for _ in range(HEAD)][-1]
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise CheckpointError("has its bytes in another order; expected little-endian ones")
    start = stream.tell()
    survey = StorageSurvey(stream, len(data))
    survey.read()
    names = PickleReader(stream, len(data)).read()
    storages = _storages(data, stream.tell(), names, survey.found)
    return TensorReader(BytesIO(data[start:]), len(data), lambda name, width: storages[name]).read()


def _storages(data: bytes, at: int, names: Any, found: dict[str, tuple[int, int]]) -> dict[str, bytes]:
    """The bytes of each storage; they are stored consecutively, each preceded by its length."""
    storages: dict[str, bytes] = {}
    try:
        for name in names:
            width, count = found[name]
            if struct.unpack_from("<q", data, at) != (count,) or not 0 <= count * width <= len(data) - at - 8:
                raise ValueError("count")
            at += 8
            storages[name] = data[at : at + count * width]
            at += count * width
    except (struct.error, ValueError, LookupError, TypeError) as error:
        raise CheckpointError("is truncated or damaged behind its table of tensors; copy it again") from error
    return storages
