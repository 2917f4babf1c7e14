"""SCRFD's .onnx as InsightFace publishes it, made of a net of ours: batch norms folded and numbered, group norms taken
apart, equal arrays stored once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from published_weights import field, varint
from torch import Tensor, nn

from mtcnn.detectors.scrfd import SCRFD

_NECK = ("lateral_convs.0", "lateral_convs.1", "lateral_convs.2", "fpn_convs.0", "fpn_convs.1", "fpn_convs.2",
         "downsample_convs.0", "downsample_convs.1", "pafpn_convs.0", "pafpn_convs.1")  # fmt: skip
_OURS = ("lateral.0", "lateral.1", "lateral.2", "merge.0", "merge.1", "merge.2", "halve.0", "halve.1", "smooth.0",
         "smooth.1")  # fmt: skip


class OnnxFile:
    """The nodes of a graph, and its arrays by name; numbers are names where none is given."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.arrays: dict[str, NDArray[np.float32]] = {}

    def add(self, operator: str, *values: Tensor, names: tuple[str, ...] = ()) -> None:
        inputs = ["x"]
        for i, value in enumerate(values):
            name = names[i] if names else str(500 + len(self.arrays))
            array = value.detach().numpy()
            equal = (other for other, earlier in self.arrays.items() if np.array_equal(earlier, array))
            inputs.append(next(equal, name) if names else name)
            self.arrays.setdefault(inputs[-1], array)
        fields = b"".join(field(1, name.encode()) for name in inputs) + field(2, b"y")
        self.nodes.append(fields + field(4, operator.encode()))

    def content(self) -> bytes:
        """The bytes of the file, its arrays sorted by name."""
        graph = b"".join(field(1, node) for node in self.nodes)
        graph += b"".join(field(5, _tensor(name, self.arrays[name])) for name in sorted(self.arrays))
        return b"\x08\x06" + field(2, b"pytorch") + field(7, graph)


def scrfd_onnx(net: SCRFD) -> bytes:
    """The file of a net."""
    file = OnnxFile()
    for block in _blocks(net.trunk):
        _normed(file, block, "")
    for ours, theirs in zip(_OURS, _NECK, strict=True):
        _plain(file, net.neck.get_submodule(ours)[0], f"neck.{theirs}.conv")  # type: ignore[index]
    for level, stride in enumerate((8, 16, 32)):
        shared = len(net.heads) == 1
        head: Any = net.heads[0 if shared else level]
        for number, block in enumerate(_blocks(head.body)):
            _normed(file, block, f"bbox_head.cls_stride_convs.0.{number}.conv")
        for ours, theirs in (("logits", "cls"), ("distances", "reg"), ("landmarks", "kps")):
            if ours in head.predict:
                _plain(file, head.predict[ours], f"bbox_head.stride_{theirs}.{0 if shared else (stride, stride)}")
            if ours == "distances" and len(net.scales):
                file.add("Mul", net.scales[level], names=(f"bbox_head.scales.{level}.scale",))
    return file.content()


def _blocks(part: nn.Module) -> Iterator[nn.Sequential]:
    """Convolutions with a norm behind them, in order."""
    for layer in part.modules():
        if isinstance(layer, nn.Sequential) and len(layer) > 1 and isinstance(layer[0], nn.Conv2d):
            yield layer


def _plain(file: OnnxFile, layer: nn.Module, name: str) -> None:
    file.add("Conv", layer.weight, layer.bias, names=(f"{name}.weight", f"{name}.bias"))  # type: ignore[arg-type]


def _normed(file: OnnxFile, block: nn.Sequential, name: str) -> None:
    kernel: Any = block[0].weight
    norm: Any = block[1]
    if isinstance(norm, nn.BatchNorm2d):
        variance: Any = norm.running_var
        gain: Any = norm.weight / torch.sqrt(variance + norm.eps)
        mean: Any = norm.running_mean
        file.add("Conv", kernel * gain[:, None, None, None], norm.bias - mean * gain)
        file.add("Relu")
        return
    assert isinstance(norm, nn.GroupNorm)
    file.add("Conv", kernel, names=(f"{name}.weight",))
    groups = torch.ones(norm.num_groups)
    file.add("InstanceNormalization", groups, groups * 0, names=("357", "358"))
    for operator, value in (("Mul", norm.weight), ("Add", norm.bias)):
        file.add(operator, value[:, None, None])


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    """A TensorProto of float32."""
    dims = b"".join(varint(1 << 3) + varint(side) for side in values.shape)
    return dims + varint(2 << 3) + varint(1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes())
