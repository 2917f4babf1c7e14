"""Which net a program has put behind `MTCNN.pnet`, `rnet` or `onet`, and whether it is still what was taken over."""

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
SAMPLE = 64  # numbers of each tensor that are compared


def device_of(module: nn.Module) -> str:
    """torch's name of the device that a module computes on."""
    first = next(module.parameters(), None)
    return "cpu" if first is None else str(first.device)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is one of ours as built, so that its numbers say all that it does.

    One with hooks, pruned or parametrised layers is not, nor is a subclass, a wrapper or another project's net.
    """
    if type(module) not in (PNet, RNet, ONet):
        return False
    parts = [module, *module._modules.values()]
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in parts if part is not None)
    return not hooked and all(type(part) in LAYERS for part in parts[1:])


class CalledNet(nn.Module):
    """A module with facenet-pytorch's inputs and outputs, called as it is, with the outputs of `nets`.

    before  what it takes the place of. A module that tells no arithmetic, such as a compiled or a quantised one, has
            that of `before` if it has its numbers, or facenet-pytorch's.
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
        """As the net of `nets` that it stands for."""
        first = next(self.net.parameters(), None)
        offsets, *points, pair = self.net(x if first is None else x.to(first.dtype))
        logs = pair.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        landmarks = points[0].float().unflatten(1, (2, 5)).transpose(1, 2) if points else None  # (N, 10) -> (N, 5, 2)
        return NetOutput(logs[:, 1] - logs[:, 0], offsets.float(), landmarks)


def net_of(module: nn.Module, before: nn.Module | None = None) -> tuple[Net, str]:
    """What runs a module on its device, and the arithmetic that it wants. `before` is what it takes the place of."""
    if not is_plain(module):
        called = CalledNet(module, before).eval()
        return called, called.arithmetic
    assert isinstance(module, CascadeNet)
    weights, device = module.weights(), device_of(module)
    return weights if device == "cpu" else module_of(weights).to(device), module.arithmetic


class Watch:
    """What a module was when its numbers were taken.

    torch counts what is written to a tensor, but not through `.data`, where old programs average and initialise. So a
    few numbers of each tensor on the CPU are compared as well.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.plain, self.device = module, is_plain(module), device_of(module)
        self.tensors = [tensor.detach() for tensor in module.parameters()] if self.plain else []  # keeps their memory
        self.marks = _marks(module) if self.plain else []
        self.views = [_some(tensor) for tensor in self.tensors if tensor.device.type == "cpu"]
        self.sample = self._sampled()

    def _sampled(self) -> bytes:
        return np.concatenate(self.views).tobytes() if self.views else b""

    def holds(self, module: nn.Module) -> bool:
        """Whether a module is this one, unchanged."""
        if module is not self.module or is_plain(module) != self.plain:
            return False
        if not self.plain:  # is called each time
            return device_of(module) == self.device
        return _marks(module) == self.marks and self._sampled() == self.sample


def _some(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Bytes of a few numbers of a tensor, a view of its memory."""
    numbers = tensor.reshape(-1)[:: max(tensor.numel() // SAMPLE, 1)]
    return numbers.view(torch.int16 if numbers.element_size() == 2 else numbers.dtype).numpy()


def _marks(module: nn.Module) -> list[Any]:
    """What changes when layers or tensors are replaced, moved, or written to."""
    assert isinstance(module, CascadeNet)
    found: list[Any] = [module.arithmetic, module.scoring, module.has_landmarks]
    for layer in module._modules.values():
        for tensor in layer._parameters.values() if layer is not None else ():
            if tensor is not None:
                found += (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
    return found
