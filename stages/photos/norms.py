"""Batch norms that keep the statistics of the weights that a training starts with.

Batches of few pictures estimate statistics badly, and computing them and their gradients takes a third of the time of a
small net. Source: Ren et al. 2015, as He et al. 2016, appendix A, train it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["fix_norms"]


class FixedNorm(nn.BatchNorm2d):
    """Batch norm by the stored statistics, in training too. Scale and shift are trained."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def folded(self, convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Kernel and bias of a convolution that equals `convolution` and this norm after it."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        shift = -self.running_mean if convolution.bias is None else convolution.bias - self.running_mean
        return convolution.weight * scale[:, None, None, None], self.bias + shift * scale


class FoldedLayers(nn.Sequential):
    """Layers in which each fixed norm is computed as a part of the convolution before it."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        for i, layer in enumerate(layers):
            norm = layers[i + 1] if i + 1 < len(layers) else None
            if isinstance(layer, nn.Conv2d) and _is_plain(layer) and isinstance(norm, FixedNorm):
                kernel, bias = norm.folded(layer)
                x = F.conv2d(x, kernel, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            elif not (isinstance(layer, FixedNorm) and i and _is_plain(layers[i - 1])):
                x = layer(x)
        return x


def _is_plain(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros"


def fix_norms(net: nn.Module) -> None:
    """Let every batch norm in `net` keep its statistics. Names and shapes of parameters stay.

    Classes of modules are exchanged in place, so that copies of the net behave like it.
    """
    for module in net.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
            module.__class__ = FixedNorm
        elif type(module) is nn.Sequential:
            module.__class__ = FoldedLayers
