"""ShuffleNetV2 at half of its width, in the three stages whose maps detectors use.

Source: Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", figure 3c and d,
table 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..conv import conv
from ..stages import Stages

__all__ = ["ShuffleNetV2"]

_STEM = 24
_STAGES = ((48, 4), (96, 8), (192, 4))  # outputs and units of each stage, of ShuffleNetV2 0.5x


class ShuffleNetV2(nn.Module):
    """(N, 3, H, W) to maps at strides 8, 16 and 32 with `channels` channels: 48, 96 and 192 at width 1.

    width  multiplies all channel counts; 1 is ShuffleNetV2 0.5x.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = 2 * round(_STEM * width / 2)  # even, since units halve their input
        self.stem = nn.Sequential(conv(3, inputs, 3, 2, leak=0.0), nn.MaxPool2d(3, 2, 1))
        stages, self.channels = [], []
        for channels, count in _STAGES:
            outputs = 2 * round(channels * width / 2)
            later = [_Unit(outputs) for _ in range(count - 1)]
            stages.append(nn.Sequential(_Halving(inputs, outputs), *later))
            self.channels.append(outputs)
            inputs = outputs
        self.stages = Stages(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.stages(self.stem(x))
        return maps


class _Unit(nn.Module):
    """Half of the channels, every other one, through the layers; the rest as they are. The shuffle of figure 3c is this
    choice of channels, which comes before the split."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = _branch(channels // 2, channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, ::2], self.main(x[:, 1::2])], dim=1)


class _Halving(nn.Module):
    """All channels through two branches of stride 2 (figure 3d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = _branch(inputs, outputs // 2, outputs - inputs, 2)
        depthwise = conv(inputs, inputs, 3, 2, groups=inputs, leak=None)
        self.other = nn.Sequential(depthwise, conv(inputs, inputs, 1, leak=0.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.other(x), self.main(x)], dim=1)


def _branch(inputs: int, inner: int, outputs: int, stride: int) -> nn.Sequential:
    """1 x 1, depthwise 3 x 3, 1 x 1; no ReLU after the second."""
    first, middle = conv(inputs, inner, 1, leak=0.0), conv(inner, inner, 3, stride, groups=inner, leak=None)
    return nn.Sequential(first, middle, conv(inner, outputs, 1, leak=0.0))
