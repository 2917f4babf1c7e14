"""The weights of ipazc's mtcnn: pnet.lz4, rnet.lz4 and onet.lz4 of version 1, mtcnn_weights.npy of version 0.1.

Both are the list of arrays that Keras calls the weights of a net: kernel, bias, slopes, kernel, bias, slopes, ...
Version 1 has its kernels transposed for upright images, version 0.1 exchanges x and y of the image instead.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ..errors import CheckpointError
from . import lz4
from .layers import Found, LayerArrays, Orientation
from .pickled import read_pickled

__all__ = ["read_joblib", "read_npy"]

VERSION_1 = Orientation(swapped=False, flattened="xyc")
VERSION_0 = Orientation(swapped=True, flattened="xyc")

LONGEST_HEADER = 10_000  # bytes: NumPy's own limit; longer headers can crash Python's parser


def read_joblib(data: bytes) -> list[Found]:
    """The layers of the net in a joblib file, LZ4-compressed or not. Raises CheckpointError if damaged."""
    content = lz4.decompress(data) if data.startswith(lz4.MAGIC) else data
    return [Found(_layers(read_pickled(content)), VERSION_1)]


def read_npy(data: bytes) -> list[Found]:
    """The layers of the three nets in a .npy file. Raises CheckpointError if it is damaged or holds other arrays."""
    start = _objects_start(data)
    nets = read_pickled(data[start:])
    if isinstance(nets, list) and len(nets) == 1:
        nets = nets[0]
    if not isinstance(nets, dict) or not {"pnet", "rnet", "onet"} <= nets.keys():
        raise CheckpointError("holds no table of pnet, rnet and onet; expected mtcnn_weights.npy")
    return [Found(_layers(nets[net]), VERSION_0) for net in ("pnet", "rnet", "onet")]


def _objects_start(data: bytes) -> int:
    """Where the objects of a .npy file begin. Source: numpy.lib.format, "Format Version 1.0" and 2.0."""
    wide = 2 if data[6:7] == b"\x01" else 4  # bytes of the header's length
    start = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
    try:
        if start > LONGEST_HEADER:
            raise ValueError("header")
        header = ast.literal_eval(data[8 + wide : start].decode("latin1").strip())
        kind = header["descr"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise CheckpointError("has no header of NumPy; copy it again") from None
    if kind != "|O":
        raise CheckpointError(f"holds an array of type {str(kind)[:20]}; expected objects, as in mtcnn_weights.npy")
    return start


def _layers(arrays: Any) -> Sequence[LayerArrays]:
    if not isinstance(arrays, list) or not all(hasattr(array, "ndim") for array in arrays):
        raise CheckpointError("holds no list of arrays; expected the weights of a Keras net")
    layers: list[LayerArrays] = []
    kernel: NDArray[Any] | None = None
    for array in arrays:
        if array.ndim in (2, 4):
            kernel = (
                array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            )  # inputs before outputs -> outputs first
        elif kernel is not None:
            layers.append(LayerArrays(kernel, array))
            kernel = None
        elif layers:  # after the bias: slopes, (1, 1, C) behind a convolution
            layers[-1] = layers[-1]._replace(slope=array.reshape(-1))
    return layers
