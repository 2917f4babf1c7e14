"""PNet, RNet and ONet, layer by layer as published.

Source: Zhang et al. 2016, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
figure 2; sizes and the rounding up of pooled maps from the authors' det1 to det3 definitions.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .checkpoint import load_weights
from .devices import check_device, plain_torch
from .prelu import PReLU
from .scoring import scoring_of
from .types import NetOutput
from .weights import SCALING, SECOND, Scaling, Weights

__all__ = [
    "CLASSES",
    "NETS",
    "CNet",
    "ONet",
    "PNet",
    "RNet",
    "load_net",
    "module_of",
    "name_of",
    "parameter_count",
    "scaled",
    "to_input",
    "weights_of",
]

if hasattr(os, "register_at_fork"):
    # A forked process lacks the OpenMP threads and would wait for them forever.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def to_input(images: NDArray[Any], device: str | torch.device = "cpu", scaling: Scaling = SCALING) -> Tensor:
    """Net input (N, 3, H, W) on the device, of RGB (N, H, W, 3) from 0 to 255, uint8 or float32: see `scaled`."""
    own = images if images.flags.writeable else images.copy()  # torch warns about read-only arrays
    return scaled(torch.from_numpy(own).to(device), scaling)


def scaled(pixels: Tensor, scaling: Scaling = SCALING) -> Tensor:
    """Scale RGB (N, H, W, 3) from 0 to 255 to net input (N, 3, H, W): (x - mean) / divisor.

    The result is channels-last in memory, the layout in which the CPU convolutions are several times faster.
    """
    mean, divisor = scaling
    planes = pixels.permute(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W), a view
    result = planes.to(torch.float32, copy=True)
    level = mean if isinstance(mean, float) else result.new_tensor(mean)[:, None, None]  # (3, 1, 1)
    return result.sub_(level).mul_(1 / divisor)


class PooledPReLU(nn.Module):
    """PReLU, then max pooling that rounds its output size up.

    Pooling first is faster and gives the same values if no slope is negative: PReLU is then monotonic and commutes with
    max. Published weights do have negative slopes, so the slopes decide the order.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.prelu = PReLU(channels)
        self.pool = nn.MaxPool2d(kernel, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        slopes = self.prelu.weight
        if slopes.is_meta or bool((slopes >= 0).all()):  # a meta tensor has no values
            return self.prelu(self.pool(x))  # type: ignore[no-any-return]
        return self.pool(self.prelu(x))  # type: ignore[no-any-return]


def _initialise(net: nn.Module) -> None:
    """Kaiming initialisation for PReLU's starting slope of 0.25 (He et al. 2015, section 2.2)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.25)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class PNet(nn.Module):
    """Proposal net: (N, 3, H, W) to a map; cell (r, c) sees the 12 x 12 pixels from (2r, 2c). 6,632 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            PooledPReLU(10, 2),
            nn.Conv2d(10, 16, 3),
            PReLU(16),
            nn.Conv2d(16, 32, 3),
            PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.offsets = nn.Conv2d(32, 4, 1)
        _initialise(self)

    def forward(self, x: Tensor) -> NetOutput:
        """face_logits (N, h, w), offsets (N, 4, h, w), with h = ceil((H - 2) / 2) - 4."""
        features = self.trunk(x)
        pair = self.face(features)
        return NetOutput(pair[:, 1] - pair[:, 0], self.offsets(features), None)


class RNet(nn.Module):
    """Refinement net: (N, 3, 24, 24) to face_logits (N,) and offsets (N, 4). 100,178 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            PooledPReLU(28, 3),
            nn.Conv2d(28, 48, 3),
            PooledPReLU(48, 3),
            nn.Conv2d(48, 64, 2),
            PReLU(64),
            nn.Flatten(),  # (N, 64, 3, 3) -> (N, 576)
            nn.Linear(576, 128),
            PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.offsets = nn.Linear(128, 4)
        _initialise(self)

    def forward(self, x: Tensor) -> NetOutput:
        features = self.trunk(x)
        pair = self.face(features)
        return NetOutput(pair[:, 1] - pair[:, 0], self.offsets(features), None)


class ONet(nn.Module):
    """Output net: (N, 3, 48, 48) to face_logits (N,), offsets (N, 4) and landmarks (N, 5, 2). 389,040 parameters."""

    cells = 3  # side of the last map

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            PooledPReLU(32, 3),
            nn.Conv2d(32, 64, 3),
            PooledPReLU(64, 3),
            nn.Conv2d(64, 64, 3),
            PooledPReLU(64, 2),
            nn.Conv2d(64, 128, 2),
            PReLU(128),
            nn.Flatten(),  # (N, 128, 3, 3) -> (N, 1152)
            nn.Linear(128 * self.cells**2, 256),
            nn.Dropout(0.25),
            PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.offsets = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)
        _initialise(self)

    def forward(self, x: Tensor) -> NetOutput:
        features = self.trunk(x)
        pair = self.face(features)
        points = self.landmarks(features).unflatten(1, (5, 2))  # (N, 10) -> (N, 5, 2)
        return NetOutput(pair[:, 1] - pair[:, 0], self.offsets(features), points)


class CNet(ONet):
    """Context net, of ONet's second pass: ONet's layers on wider crops, (N, 3, 64, 64). 913,328 parameters.

    Around a last map of ONet's 3 x 3 cells, its own of 5 x 5 has the image around the face. Stages that each learn from
    what the one before leaves: Cai and Vasconcelos 2018, "Cascade R-CNN", section 4.
    """

    cells = 5


NETS: dict[str, type[nn.Module]] = {"pnet": PNet, "rnet": RNet, "onet": ONet}  # of the cascade
CLASSES: dict[str, type[nn.Module]] = {**NETS, SECOND: CNet}


def load_net(path: Path, net: str, device: str = "cpu") -> nn.Module:
    """A net of CLASSES with the weights at `path`, for RGB input scaled by SCALING, in evaluation mode.

    Raises CheckpointError if the file is damaged, holds another net, or expects another scaling; MtcnnError for a
    device that torch does not have.
    """
    check_device(device)
    return module_of(load_weights(path, net)).to(device)


@plain_torch()
def module_of(weights: Weights) -> nn.Module:
    """The net as a module in evaluation mode, on the CPU."""
    module = CLASSES[weights.net]().float()
    module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.state.items()})
    module.scoring = weights.scoring  # type: ignore[assignment]  # torch declares only tensors and modules
    module.has_landmarks = weights.has_landmarks  # type: ignore[assignment]
    return module.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def name_of(module: nn.Module) -> str | None:
    """The name in CLASSES of a module of exactly one of these."""
    return next((name for name, kind in CLASSES.items() if type(module) is kind), None)


def weights_of(module: nn.Module) -> Weights:
    """The weights of a net of CLASSES. Raises ValueError for any other module."""
    name = name_of(module)
    if name is None:
        raise ValueError(f"net is a {type(module).__name__}; expected one of {', '.join(CLASSES)}")
    state = {name: value.float().cpu().numpy() for name, value in module.state_dict().items()}
    return Weights(name, state, scoring_of(module), getattr(module, "has_landmarks", True))


def parameter_count(net: nn.Module) -> int:
    """Number of learned parameters."""
    return sum(weight.numel() for weight in net.parameters())
