"""Runs the modules that a program puts into `MTCNN.pnet`, `rnet` or `onet`, and notices when they change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nets import module_of
from ..runtimes.cascade import Net
from ..scoring import Scoring
from ..types import NetOutput
from .modules import FACENET_ARITHMETIC, CascadeNet, ONet, PNet, RNet

__all__ = ["CalledNet", "Watch", "device_of", "net_of"]

LAYERS = (nn.Conv2d, nn.Linear, nn.PReLU, nn.MaxPool2d, nn.Softmax)
SAMPLE = 64  # values of each tensor that are compared


def device_of(module: nn.Module) -> str:
    """torch's name of a module's device."""
    first = next(module.parameters(), None)
    return "cpu" if first is None else str(first.device)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is an unmodified PNet, RNet or ONet, fully described by its parameters.

    One with hooks, pruned or parametrised layers is not, nor is a subclass, a wrapper or another project's net.
    """
    if type(module) not in (PNet, RNet, ONet):
        return False
    parts = [module, *module._modules.values()]
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in parts if part is not None)
    return not hooked and all(type(part) in LAYERS for part in parts[1:])


class CalledNet(nn.Module):
    """Wraps a module with facenet-pytorch's inputs and outputs, so that it returns the outputs of `nets`.

    before  the module that it replaces. A module without a recorded arithmetic, such as a compiled or quantised one,
            gets that of `before` if their parameters are close, otherwise facenet-pytorch's.
    """

    def __init__(self, net: nn.Module, before: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net
        known = next((part for part in net.modules() if isinstance(part, CascadeNet)), None)
        if known is None and isinstance(before, CascadeNet) and before.resembles(dict(net.named_parameters())):
            known = before
        self.arithmetic = FACENET_ARITHMETIC if known is None else known.arithmetic
        self.scoring = Scoring() if known is None else known.scoring

    def forward(self, x: Tensor) -> NetOutput:
        """As the corresponding net of `nets`."""
        first = next(self.net.parameters(), None)
        offsets, *points, pair = self.net(x if first is None else x.to(first.dtype))
        logs = pair.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        landmarks = points[0].float().unflatten(1, (2, 5)).transpose(1, 2) if points else None  # (N, 10) -> (N, 5, 2)
        return NetOutput(logs[:, 1] - logs[:, 0], offsets.float(), landmarks)


def net_of(module: nn.Module, before: nn.Module | None = None) -> tuple[Net, str]:
    """The net that runs a module on its device, and the arithmetic that it needs. `before`: the module it replaces."""
    if not is_plain(module):
        called = CalledNet(module, before).eval()
        return called, called.arithmetic
    assert isinstance(module, CascadeNet)
    weights, device = module.weights(), device_of(module)
    return weights if device == "cpu" else module_of(weights).to(device), module.arithmetic


class Watch:
    """The state of a module when its weights were read, to notice changes.

    torch counts writes to a tensor, except those through `.data`, which old programs use for averaging and
    initialisation. So a few values of each tensor on the CPU are compared as well.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.plain, self.device = module, is_plain(module), device_of(module)
        self.tensors = [tensor.detach() for tensor in module.parameters()] if self.plain else []  # keeps them alive
        self.marks = _marks(module) if self.plain else []
        self.views = [_some(tensor) for tensor in self.tensors if tensor.device.type == "cpu"]
        self.sample = self._sampled()

    def _sampled(self) -> bytes:
        return np.concatenate(self.views).tobytes() if self.views else b""

    def holds(self, module: nn.Module) -> bool:
        """Whether `module` is the same module, unchanged."""
        if module is not self.module or is_plain(module) != self.plain:
            return False
        if not self.plain:  # it is called each time, so changes take effect by themselves
            return device_of(module) == self.device
        return _marks(module) == self.marks and self._sampled() == self.sample


def _some(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A few values of a tensor, as a view of its memory."""
    numbers = tensor.reshape(-1)[:: max(tensor.numel() // SAMPLE, 1)]
    return numbers.view(torch.int16 if numbers.element_size() == 2 else numbers.dtype).numpy()


def _marks(module: nn.Module) -> list[Any]:
    """Values that change when layers or tensors are replaced, moved or written to."""
    assert isinstance(module, CascadeNet)
    found: list[Any] = [module.arithmetic, module.scoring, module.has_landmarks]
    for layer in module._modules.values():
        for tensor in layer._parameters.values() if layer is not None else ():
            if tensor is not None:
                found += (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
    return found
