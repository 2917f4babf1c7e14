"""SCRFD: InsightFace's .onnx files, for RGB with the same scaling as here.

Batch norms are folded into convolutions whose arrays are named by numbers, and equal arrays are stored only once. So
arrays are identified by their position in the graph. Group norm is exported as instance norm over groups, followed by a
multiplication and an addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..detectors import DETECTORS
from ..detectors.load import build
from ..errors import CheckpointError
from .single_stage import GraphNode, Ready, fitted, unfolded

__all__ = ["read_scrfd"]

_LEVELS = 3
_NECK = [f"{layer}.{level}" for layer, count in (("lateral", 3), ("merge", 3), ("halve", 2), ("smooth", 2))
         for level in range(count)]  # fmt: skip
_SCALE = "bbox_head.scales.{}.scale"
_CHANNELS = 3  # dimensions of an array with one value per channel: (C, 1, 1)


@dataclass
class _ConvStep:
    """A convolution: its arrays, and those of the following group norm, scale and shift."""

    kernel: Tensor
    bias: Tensor | None
    norm: list[Tensor] = field(default_factory=list)


def read_scrfd(nodes: Sequence[GraphNode], state: Mapping[str, Tensor]) -> Ready:
    """The net in a file, from the nodes of its graph in order, and its arrays by name. Raises CheckpointError for any
    net but the five sizes."""
    steps, model = _steps(nodes, state), _model(nodes, state)
    shapes = [tuple(step.kernel.shape) for step in steps]
    for name in (name for name in DETECTORS if name.startswith("scrfd-")):
        with torch.device("meta"):
            net = build(name, {**model, "norm_groups": 1} if model["norm"] == "gn" else model)
        places = list(_places(net, model["shared"]))
        if shapes == [tuple(net.get_parameter(f"{place}.weight").shape) for place in places]:
            net = build(name, model)
            found = {f"scales.{i}": state[_SCALE.format(i)] for i in range(_LEVELS) if model["scaled"]}
            for place, step in zip(places, steps, strict=True):
                found |= _layer(net, place, step)
            return Ready(name, fitted(net, found), "InsightFace's SCRFD .onnx", model)
    raise CheckpointError(f"holds {len(steps)} convolutions, which are of no size of SCRFD; expected one of its five")


def _steps(nodes: Sequence[GraphNode], state: Mapping[str, Tensor]) -> list[_ConvStep]:
    """The convolutions of the graph, in order of execution."""
    steps: list[_ConvStep] = []
    for node in nodes:
        arrays = [state[name] for name in node.inputs if name in state]
        if node.operator == "Conv" and arrays:
            steps.append(_ConvStep(arrays[0], arrays[1] if len(arrays) > 1 else None))
        elif node.operator in ("Mul", "Add") and steps and arrays and arrays[0].ndim == _CHANNELS:
            steps[-1].norm.append(arrays[0].flatten())  # (C, 1, 1) -> (C,)
    return steps


def _model(nodes: Sequence[GraphNode], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of the net that follow from the file: all but its size."""
    groups = [len(state[node.inputs[1]]) for node in nodes if node.operator == "InstanceNormalization"]
    heads = [name for name in state if name.startswith("bbox_head.stride_cls.") and name.endswith(".weight")]
    return {
        "norm": "gn" if groups else "bn",
        **({"norm_groups": groups[0]} if groups else {}),
        "shared": len(heads) == 1,
        "scaled": _SCALE.format(0) in state,
        "landmarks": any(name.startswith("bbox_head.stride_kps.") for name in state),
    }


def _places(net: nn.Module, shared: bool) -> Iterator[str]:
    """Names of a net's convolutions in the order of the file, in which a shared head appears once per level."""
    yield from (f"trunk.{name}" for name, layer in net.get_submodule("trunk").named_modules() if _convolves(layer))
    yield from (f"neck.{name}.0" for name in _NECK)
    for level in range(_LEVELS):
        head = f"heads.{0 if shared else level}"
        yield from (f"{head}.{name}" for name, layer in net.get_submodule(head).named_modules() if _convolves(layer))


def _convolves(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d)


def _layer(net: nn.Module, place: str, step: _ConvStep) -> dict[str, Tensor]:
    """The parameters of the convolution at `place`, and of the norm that follows, if there is one."""
    if net.get_submodule(place).bias is not None and step.bias is not None:
        return {f"{place}.weight": step.kernel, f"{place}.bias": step.bias}
    block = place.removesuffix(".0")
    if isinstance(net.get_submodule(f"{block}.1"), nn.BatchNorm2d) and step.bias is not None:
        return unfolded(block, step.kernel, step.bias)
    if len(step.norm) != 2:
        raise CheckpointError(f"lacks the arrays of the norm after {place}; expected those of SCRFD")
    return {f"{block}.0.weight": step.kernel, f"{block}.1.weight": step.norm[0], f"{block}.1.bias": step.norm[1]}
