"""Weights files in the formats of other projects, made from our nets, for the importers to convert back.

Written from the other side, with none of the importers' code: the bytes of Caffe and joblib by hand, the rest by the
libraries that those projects used.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.nets import NETS

Array = NDArray[Any]

# Channels and side of the map in front of the first fully connected layer.
LAST_MAP = {"pnet": None, "rnet": (64, 3), "onet": (128, 3)}


class Part(NamedTuple):
    """A layer as another project has it. `slope` None: a head."""

    weight: Array
    bias: Array
    slope: Array | None


def random_state(net: str, seed: int = 0) -> dict[str, Tensor]:
    """Parameters of which none is zero or equal to another, and about half of the slopes negative."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {name: torch.randn_like(value) * 0.2 for name, value in NETS[net]().state_dict().items()}


def parts(net: str, swapped: bool, flattened: str) -> list[Part]:
    """The layers of `random_state(net)` for images with x and y swapped or not, and a map flattened in some order."""
    values = {name: value.numpy() for name, value in random_state(net).items()}
    found: list[Part] = []
    for name, value in values.items():
        if value.ndim == 1 and name.startswith("trunk") and name.endswith("weight"):
            found[-1] = found[-1]._replace(slope=value)
        elif value.ndim > 1:
            bias = values[name.replace("weight", "bias")]
            if name.startswith("landmarks"):  # x y x y ... to five x and five y
                value, bias = np.concatenate([value[::2], value[1::2]]), np.concatenate([bias[::2], bias[1::2]])
            found.append(Part(_turned(net, value, swapped, flattened), bias, None))
    return found


def _turned(net: str, weight: Array, swapped: bool, flattened: str) -> Array:
    if weight.ndim == 4:
        return weight.swapaxes(2, 3) if swapped else weight
    shape = LAST_MAP[net]
    if shape is None or weight.shape[1] != shape[0] * shape[1] ** 2:
        return weight
    channels, side = shape
    letters = {"c": 1, "y": 2, "x": 3}
    cube = weight.reshape(-1, channels, side, side)  # (out, in) -> (out, c, y, x)
    return cube.transpose(0, *(letters[letter] for letter in flattened)).reshape(len(weight), -1)


# ---- facenet-pytorch


def facenet_state(net: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    layers = parts(net, swapped=False, flattened="xyc")
    for number, part in enumerate(layers, 1):
        kind = "conv" if part.weight.ndim == 4 else "dense"
        trunk = sum(other.slope is not None for other in layers)
        name = f"{number}" if part.slope is not None else f"{trunk + 1}_{number - trunk}"
        state[f"{kind}{name}.weight"] = torch.from_numpy(part.weight.copy())
        state[f"{kind}{name}.bias"] = torch.from_numpy(part.bias.copy())
        if part.slope is not None:
            state[f"prelu{name}.weight"] = torch.from_numpy(part.slope.copy())
    return state


def facenet(net: str, zipped: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(facenet_state(net), stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


# ---- ipazc's mtcnn


def keras_weights(net: str, swapped: bool) -> list[Array]:
    found: list[Array] = []
    for part in parts(net, swapped, "xyc"):
        found += [part.weight.transpose(2, 3, 1, 0) if part.weight.ndim == 4 else part.weight.T, part.bias]
        if part.slope is not None:
            found.append(part.slope.reshape(1, 1, -1) if part.weight.ndim == 4 else part.slope)
    return [np.ascontiguousarray(array) for array in found]


def npy(protocol: int = 2) -> bytes:
    """All three nets in one file, by pickle protocol 2 as in the published file, or 4 as NumPy writes today."""
    table: Any = {net: keras_weights(net, swapped=True) for net in NETS}
    stream = io.BytesIO()
    if protocol != 2:
        np.save(stream, table, allow_pickle=True)
        return stream.getvalue()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(np.array(table, object), stream, protocol=2)
    return stream.getvalue()


_DTYPE = (
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNN"
    + (b"J" + b"\xff" * 4) * 2
    + b"K\x00tb"
)


def joblib(arrays: Sequence[Array], named: bytes = b"joblib.numpy_pickle\nNumpyArrayWrapper\n") -> bytes:
    """A list of arrays as joblib writes it: the bytes of each lie in the pickle, right behind its description."""
    out = bytearray(b"\x80\x04](")
    for array in arrays:
        shape = b"(" + b"".join(b"M" + struct.pack("<H", side) for side in array.shape) + b"t"
        state = {b"shape": shape, b"order": _text(b"C"), b"dtype": _DTYPE, b"numpy_array_alignment_bytes": b"K\x10"}
        items = b"".join(_text(key) + value for key, value in state.items())
        out += b"c" + named + b")\x81}(" + items + b"ub"
        out += b"\x03\xff\xff\xff" + array.astype("<f4").tobytes()
    return bytes(out + b"e.")


def _text(text: bytes) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text


def lz4(data: bytes, block: int = 65536) -> bytes:
    """An LZ4 frame of blocks that are literals only, or stored as they are, in turn."""
    out = bytearray(b"\x04\x22\x4d\x18\x40\x40\xc0")
    for number, start in enumerate(range(0, len(data), block)):
        piece = data[start : start + block]
        if number % 2:
            out += struct.pack("<I", len(piece) | 1 << 31) + piece
            continue
        rest = len(piece) - 15
        head = bytes([len(piece) << 4]) if rest < 0 else b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255])
        out += struct.pack("<I", len(head) + len(piece)) + head + piece
    return bytes(out + bytes(4))


def ipazc(net: str) -> bytes:
    return lz4(joblib(keras_weights(net, swapped=False)))


# ---- protocol buffers


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _blob(values: Array) -> bytes:
    dims = b"".join(varint(side) for side in values.shape)
    return field(7, field(5, values.astype("<f4").tobytes()) + field(7, field(1, dims)))


def caffe_layer(kind: bytes, *values: Array) -> bytes:
    return field(100, field(1, b"a layer") + field(2, kind) + b"".join(map(_blob, values)))


def caffe(net: str) -> bytes:
    """With what the published files have besides: other layers, and in RNet a head for landmarks, never trained."""
    out = field(1, b"12Net") + field(100, field(1, b"data12") + field(2, b"HDF5Data"))
    for part in parts(net, swapped=True, flattened="cxy"):
        out += caffe_layer(b"Convolution" if part.weight.ndim == 4 else b"InnerProduct", part.weight, part.bias)
        if part.slope is not None:
            out += caffe_layer(b"PReLU", part.slope) + field(100, field(1, b"pool") + field(2, b"Pooling"))
    return out + caffe_layer(b"InnerProduct", np.ones((10, 128)), np.ones(10)) if net == "rnet" else out


def onnx(net: str, raw: bool) -> bytes:
    """Heads multiply first and add later, as keras2onnx wrote them."""
    import onnx as library
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    later: list[Any] = []
    tensors: list[Any] = []

    def tensor(name: str, values: Array) -> str:
        if raw:
            content: Any = helper.make_tensor(
                name, TensorProto.FLOAT, values.shape, values.astype("<f4").tobytes(), raw=True
            )
        else:
            content = helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.ravel().tolist())
        tensors.append(content)
        return name

    tensors.append(helper.make_tensor("shape", TensorProto.INT64, [1], [-1]))
    now = "input"
    for i, part in enumerate(parts(net, swapped=True, flattened="xyc")):
        bias = tensor(f"bias{i}", part.bias)
        if part.weight.ndim == 4:
            nodes.append(helper.make_node("Conv", [now, tensor(f"kernel{i}", part.weight), bias], [f"x{i}"]))
        else:
            nodes.append(helper.make_node("MatMul", [now, tensor(f"kernel{i}", part.weight.T.copy())], [f"m{i}"]))
            add = helper.make_node("Add", [f"m{i}", bias], [f"x{i}"])
            (later if part.slope is None else nodes).append(add)
        if part.slope is not None:
            slope = part.slope.reshape(1, -1, 1, 1) if part.weight.ndim == 4 else part.slope
            now = f"y{i}"
            nodes.append(helper.make_node("PRelu", [f"x{i}", tensor(f"slope{i}", slope)], [now]))
    graph = helper.make_graph([*nodes, *later], net, [], [], tensors)
    return bytes(library.ModelProto(ir_version=7, producer_name="keras2onnx", graph=graph).SerializeToString())


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
