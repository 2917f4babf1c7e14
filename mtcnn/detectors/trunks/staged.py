"""Trunks with adjustable depth and width of each stage: MobileNetV1 and ResNetV1e, as varied by SCRFD's search, and the
trunk of YuNet.

Source: Howard et al. 2017, table 1 (MobileNetV1); He et al. 2019, "Bag of Tricks", figure 2, C and D together (the deep
stem and the averaged shortcut); the first pooling and the widths are those of InsightFace's SCRFD; Wu et al. 2023,
"YuNet", figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..conv import normed_conv, pointwise_first, separable
from ..stages import Stages

__all__ = ["MobileNetV1", "ResNetV1e", "StagedTrunk", "YuNetTrunk"]


class StagedTrunk(nn.Module):
    """(N, 3, H, W) to maps at strides 8, 16 and 32: a stem at stride 4 or 2, then four stages, of which the last three
    give maps of `channels` channels."""

    stem: nn.Module
    stages: Stages
    channels: list[int]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.stages(self.stem(x))
        return maps[1:]


class MobileNetV1(StagedTrunk):
    """Separable convolutions.

    stem    channels of the first convolution, and of the separable one that follows.
    blocks  separable convolutions of each of the four stages; the first of a stage halves the map.
    widths  channels of each stage.
    """

    def __init__(self, stem: Sequence[int], blocks: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first, inputs = stem
        self.stem = nn.Sequential(normed_conv(3, first, 3, 2), separable(first, inputs))
        stages = []
        for count, width in zip(blocks, widths, strict=True):
            later = [separable(width, width) for _ in range(count - 1)]
            stages.append(nn.Sequential(separable(inputs, width, 2), *later))
            inputs = width
        self.stages, self.channels = Stages(stages), list(widths[1:])


class YuNetTrunk(StagedTrunk):
    """Blocks of a pointwise and a depthwise convolution; stages begin with 2 x 2 max pooling that rounds sizes up.

    stem    channels of the first convolution, and of the block that follows.
    blocks  of each of the four stages.
    widths  channels of each stage, from its second block on, or from its only one.

    YuNet-n has stem (16, 16), blocks (4, 2, 2, 2) and widths (64, 64, 64, 64).
    """

    def __init__(self, stem: Sequence[int], blocks: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first, inputs = stem
        self.stem = nn.Sequential(normed_conv(3, first, 3, 2), pointwise_first(first, inputs))
        stages = []
        for count, width in zip(blocks, widths, strict=True):
            sides = [inputs] * min(count, 2) + [width] * max(count - 1, 1)
            pool = nn.MaxPool2d(2, ceil_mode=True)
            stages.append(nn.Sequential(pool, *(pointwise_first(a, b) for a, b in pairwise(sides))))
            inputs = width
        self.stages, self.channels = Stages(stages), list(widths[1:])


class ResNetV1e(StagedTrunk):
    """Residual blocks after a stem of three 3 x 3 convolutions.

    stem    channels of the stem's last convolution; the other two have half as many.
    blocks  of each of the four stages; the first one of a stage halves the map, except in the first stage, which
            follows the stem's pooling.
    widths  inner channels of each stage.
    bottleneck  blocks of 1 x 1, 3 x 3 and 1 x 1 with four times as many outputs, or of two 3 x 3.
    """

    def __init__(self, stem: int, blocks: Sequence[int], widths: Sequence[int], bottleneck: bool) -> None:
        super().__init__()
        half = stem // 2
        convolutions = [normed_conv(3, half, 3, 2), normed_conv(half, half, 3), normed_conv(half, stem, 3)]
        self.stem = nn.Sequential(*convolutions, nn.MaxPool2d(2))
        stages, inputs = [], stem
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            outputs = 4 * width if bottleneck else width
            first = Residual(inputs, width, outputs, 2 if number else 1, bottleneck)
            later = [Residual(outputs, width, outputs, 1, bottleneck) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *later))
            inputs = outputs
        self.stages = Stages(stages)
        self.channels = [4 * width if bottleneck else width for width in widths[1:]]


class Residual(nn.Module):
    """Convolutions added to their input; if the shape changes, the input goes through 2 x 2 averaging and a 1 x 1
    convolution."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            first, middle = normed_conv(inputs, inner, 1), normed_conv(inner, inner, 3, stride)
            self.body = nn.Sequential(first, middle, normed_conv(inner, outputs, 1, relu=False))
        else:
            self.body = nn.Sequential(normed_conv(inputs, inner, 3, stride), normed_conv(inner, outputs, 3, relu=False))
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1:
            # ceil_mode, since convolutions round sizes up: the last row and column of an odd map average fewer cells.
            self.shortcut.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
        if stride != 1 or inputs != outputs:
            self.shortcut.append(normed_conv(inputs, outputs, 1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return found
