"""The wire format of protocol buffers, as far as weights files need it.

Source: "Encoding" in the documentation of Protocol Buffers. A message is a series of fields, each with a number, a
wire type and a value; the numbers are defined in the .proto files of Caffe and ONNX, cited where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError

__all__ = ["Field", "Message", "fields"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # the wire types; 3 and 4, groups, are out of use

MAX_FIELDS = 1 << 20  # maximum per file: an ONet with 389,000 unpacked weights fits


class Field(NamedTuple):
    """The number of a field and its value: an int (varint), or bytes (a message, a text, or packed numbers)."""

    number: int
    value: int | bytes


class Message:
    """The fields of one message, by number.

    left  remaining fields allowed in the file, a list of one number shared by nested messages. A field of two bytes
          takes a hundred in memory; unpacked numbers are a field each.

    Raises CheckpointError if `data` is not a message, or has more fields.
    """

    def __init__(self, data: bytes, left: list[int] | None = None) -> None:
        self._left = [MAX_FIELDS] if left is None else left
        self._fields: list[Field] = []
        for field in fields(data):
            self._left[0] -= 1
            if self._left[0] < 0:
                raise CheckpointError(f"holds more than {MAX_FIELDS} fields; expected weights: do not trust it")
            self._fields.append(field)

    def parts(self, number: int) -> list[bytes]:
        """The values of a repeated field of messages, texts or packed numbers."""
        return [value for found, value in self._fields if found == number and isinstance(value, bytes)]

    def messages(self, number: int) -> list[Message]:
        return [Message(part, self._left) for part in self.parts(number)]

    def texts(self, number: int) -> list[str]:
        return [part.decode("utf-8", "replace") for part in self.parts(number)]

    def integers(self, number: int) -> list[int]:
        """A repeated field of int32 or int64, packed or not."""
        found: list[int] = []
        for field, value in self._fields:
            if field == number:
                found += [value] if isinstance(value, int) else _varints(value[:MAX_FIELDS])
        return found

    def floats(self, number: int) -> NDArray[np.float32]:
        """A repeated field of float, packed or not: float32 (N,)."""
        data = b"".join(self.parts(number))
        if len(data) % 4:
            raise _truncated()
        return np.frombuffer(data, "<f4")


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order. Raises CheckpointError if `data` is not a message, or is truncated."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield Field(number, value)
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise CheckpointError(f"holds a field of wire type {kind}; expected 0, 1, 2 or 5: no protocol buffer")
        if at + size > len(data):
            raise _truncated()
        yield Field(number, data[at : at + size])
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint, seven bits per byte, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _truncated()
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise CheckpointError("holds an integer of more than ten bytes: no protocol buffer")


def _varints(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _truncated() -> CheckpointError:
    return CheckpointError("ends in the middle of a value; copy it again")
