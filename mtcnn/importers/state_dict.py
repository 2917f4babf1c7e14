"""State dicts saved by torch.

The weights of facenet-pytorch: pnet.pt, rnet.pt and onet.pt, or the `state_dict()` of its MTCNN in one file. Those of
single-stage detectors are handled by `single_stage`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CheckpointError
from ..files.torch_file import StateDict, read_saved
from .layers import Found, LayerArrays, Orientation
from .old_torch import read_old_saved
from .single_stage import Ready, read_single_stage

__all__ = ["read_state_dict"]

ORIENTATION = Orientation(swapped=False, flattened="xyc")

# Required names: other projects have the same shapes in another orientation.
_NAME = re.compile(r"(?:([pro]net)\.)?((?:conv|dense|prelu)\d(?:_\d)?)\.(weight|bias)")


def read_state_dict(data: bytes) -> list[Found] | list[Ready]:
    """The nets in a .pt file. Raises CheckpointError if it is damaged, or not the state_dict of a known net."""
    state = _load(data)
    ready = read_single_stage(state)
    return _layers_of_nets(state) if ready is None else [ready]


def _load(data: bytes) -> dict[str, Tensor]:
    state = read_saved(data) if data.startswith(b"PK") else read_old_saved(data)
    if isinstance(state, dict) and {"format", "net"} <= state.keys():
        raise CheckpointError("is a checkpoint of this project already; expected another project's; use it as it is")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # nested beside optimiser state, as training programs save it
    _check_arithmetic(state)
    if not isinstance(state, dict) or not all(isinstance(value, np.ndarray) for value in state.values()):
        raise CheckpointError("holds no state_dict; expected a table of tensors")
    return {str(name): torch.from_numpy(value) for name, value in state.items()}


def _check_arithmetic(state: Any) -> None:
    """Reject a `mtcnn.MTCNN.state_dict()` of nets with another arithmetic than facenet-pytorch's."""
    records = state.metadata.values() if isinstance(state, StateDict) else ()
    known = {record["arithmetic"] for record in records if isinstance(record, dict) and "arithmetic" in record}
    if not known <= {"facenet-pytorch"}:
        raise CheckpointError(
            "is a state_dict of this project's MTCNN; expected another project's; load it by MTCNN().load_state_dict"
        )


def _layers_of_nets(state: dict[str, Tensor]) -> list[Found]:
    nets: dict[str, dict[str, dict[str, NDArray[Any]]]] = defaultdict(lambda: defaultdict(dict))
    for name, value in state.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(f"holds a parameter {name}; expected names such as conv1.weight and prelu1.weight")
        net, layer, role = match.groups(default="")
        nets[net][layer][role] = value.detach().to(torch.float32).numpy()
    return [Found(_layers(parts), ORIENTATION, "facenet-pytorch's .pt") for parts in nets.values()]


def _layers(parts: dict[str, dict[str, NDArray[Any]]]) -> list[LayerArrays]:
    layers: list[LayerArrays] = []
    for name, values in parts.items():
        if name.startswith("prelu") and layers and "weight" in values:
            layers[-1] = layers[-1]._replace(slope=values["weight"])
        elif values.keys() == {"weight", "bias"}:
            layers.append(LayerArrays(values["weight"], values["bias"]))
        else:
            raise CheckpointError(f"holds {name} with {', '.join(values)}; expected weight and bias")
    return layers
