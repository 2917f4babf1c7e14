"""A convolution with batch norm and LeakyReLU, the building block of trunks, necks and context modules."""

from __future__ import annotations

from torch import nn

__all__ = ["conv"]


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    leak: float | None = 0.1,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (but for the stride), batch norm, LeakyReLU.

    leak  slope of LeakyReLU; None leaves it out.    norm  False leaves batch norm out, and adds a bias.
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    if leak is not None:
        layers.append(nn.LeakyReLU(leak, inplace=True))
    return nn.Sequential(*layers)
