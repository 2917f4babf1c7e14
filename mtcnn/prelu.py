"""PReLU whose backward pass is fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["PReLU"]


class _Training(torch.autograd.Function):
    """torch's own backward pass of PReLU does not use vector registers: half of the time of training RNet and ONet."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        slopes = slopes.to(x.dtype)  # differs under autocast
        ctx.save_for_backward(x, slopes)
        return torch.prelu(x, slopes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor]:
        x, slopes = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(given, x, 0)
        below = given - above
        sums = (below * x).sum([at for at in range(x.ndim) if at != 1])
        return torch.addcmul(above, below, slopes.reshape(-1, *[1] * (x.ndim - 2))), sums


class PReLU(nn.PReLU):
    """torch's PReLU with one slope per channel, for x (N, C, ...): the same numbers, faster to train on a CPU.

    Source: He et al. 2015, section 2.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return _Training.apply(x, self.weight)  # type: ignore[no-any-return, no-untyped-call]
        return super().forward(x)
