"""Weights of single-stage detectors and of their trunks: choice of the mapping, and shared functions.

A mapping turns the parameters of a published file into those of a net of `mtcnn.detectors`: names, colour order and
scaling. Adding one is a file here and a line in MAPPINGS.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError

__all__ = ["GRAPHS", "MAPPINGS", "GraphNode", "Ready", "fitted", "from_bgr", "read_single_stage", "unfolded", "unknown"]

MAPPINGS = {
    "ClassHead.0.conv1x1.weight": "pytorch_retinaface.read_retinaface",
    "stage1.1.3.weight": "trunks.read_mobilenet",
    "layer1.0.conv3.weight": "trunks.read_resnet",
    "features.0.weight": "trunks.read_vgg",
    "conv_stem.weight": "trunks.read_efficientnet",
    "first_conv.0.weight": "trunks.read_shufflenet",
    "base_net.0.0.weight": "ultralight.read_linzaer",
    "conv14.0.weight": "ultralight.read_with_landmarks",
    "backbone.model0.conv1.weight": "yunet.read_yunet",
    "head.pos_conv.weight": "centerface.read_centerface",
}
"""A parameter that only these files have -> module in this folder and function, which takes the parameters by name."""

GRAPHS = {"neck.lateral_convs.0.conv.weight": "scrfd.read_scrfd"}
"""The same for .onnx files whose arrays have no names of their own; the function takes the steps of the graph too."""


class GraphNode(NamedTuple):
    """A step of a graph: its operator, and the names of what goes into it, arrays of the file among them."""

    operator: str
    inputs: tuple[str, ...]


class Ready(NamedTuple):
    """Converted parameters: the net or trunk they are for, and a description of their file.

    model  settings of the net that differ from the published ones, see `detectors.load.model_of`.
    """

    net: str
    state: dict[str, Tensor]
    form: str
    model: dict[str, Any] | None = None


def read_single_stage(state: Mapping[str, Tensor]) -> Ready | None:
    """The converted content of a file, given its parameters by name, or None if it is no such net.

    Raises CheckpointError if it has the names of such a net, but some are missing or do not fit.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}  # torch's DataParallel adds it
    plain = {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}
    found = next((mapping for sign, mapping in MAPPINGS.items() if sign in plain), None)
    if found is None:
        return None
    module, function = found.split(".")
    return getattr(import_module(f".{module}", __package__), function)(plain)  # type: ignore[no-any-return]


def unknown(name: str, source: str) -> CheckpointError:
    """The error for a parameter that the net of `source` does not have."""
    return CheckpointError(f"holds a parameter {name}; expected those of {source}")


def from_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the first kernel converted from BGR to RGB."""
    first, kernel = next(iter(state.items()))
    return {**state, first: kernel.flip(1)}


def fitted(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` in the order of the module's own. Raises CheckpointError if names or shapes differ."""
    wanted = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name, value in wanted.items():
        if name not in state:
            raise CheckpointError(f"lacks {name}; expected {len(wanted)} arrays of weights")
        if state[name].shape != value.shape:
            raise CheckpointError(f"holds {name} of {tuple(state[name].shape)}; expected {tuple(value.shape)}")
        if not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"holds NaN or infinity in {name}; expected finite weights")
    extra = state.keys() - wanted.keys()
    if extra:
        raise CheckpointError(f"holds a parameter {min(extra)}; expected {len(wanted)} arrays of weights")
    kept = {name: state[name].detach().to(torch.float32) for name in wanted}
    return {name: kept.get(name, value) for name, value in module.state_dict().items()}


def unfolded(place: str, kernel: Tensor, bias: Tensor, eps: float = 1e-5) -> dict[str, Tensor]:
    """A convolution with a bias as the layers 0 and 1 of `place`, of which the second is a batch norm that does nothing
    but add it: its variance and `eps` are 1."""
    ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
    norm = {"weight": ones, "bias": bias, "running_mean": zeros, "running_var": ones - eps}
    return {f"{place}.0.weight": kernel, **{f"{place}.1.{role}": value for role, value in norm.items()}}
