"""A convolution with a norm and an activation, the building block of trunks, necks, heads and context modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SmallGroupNorm", "conv", "normed_conv", "paired", "pointwise_first", "separable"]


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    leak: float | None = 0.1,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution with "same" padding, batch norm, LeakyReLU.

    leak  slope of LeakyReLU; None omits it.    norm  False replaces batch norm by a bias.
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    if leak is not None:
        layers.append(nn.LeakyReLU(leak, inplace=True))
    return nn.Sequential(*layers)


def normed_conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    norm_groups: int = 0,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (but for the stride), norm, ReLU.

    norm_groups  groups of a group norm; 0 for batch norm.    relu  False leaves ReLU out.
    """
    norm = SmallGroupNorm(norm_groups, outputs) if norm_groups else nn.BatchNorm2d(outputs)
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), norm]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def separable(inputs: int, outputs: int, stride: int = 1, norm_groups: int = 0) -> nn.Sequential:
    """A 3 x 3 convolution of each channel by itself, then a 1 x 1 one across channels, both with norm and ReLU."""
    each = normed_conv(inputs, inputs, 3, stride, inputs, norm_groups)
    return nn.Sequential(each, normed_conv(inputs, outputs, 1, norm_groups=norm_groups))


def paired(inputs: int, outputs: int) -> list[nn.Module]:
    """A 1 x 1 convolution, then a 3 x 3 one of each channel by itself, with nothing in between; both have biases."""
    return [nn.Conv2d(inputs, outputs, 1), nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)]


def pointwise_first(inputs: int, outputs: int) -> nn.Sequential:
    """`paired` with batch norm and ReLU, the block of YuNet."""
    return nn.Sequential(*paired(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class SmallGroupNorm(nn.GroupNorm):
    """Group norm that accepts groups of one value, which become their biases.

    PyTorch rejects them, although they occur where a group has one channel and the map of a small image one cell.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
