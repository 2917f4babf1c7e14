"""ResNet-50 without its classifier, with maps at strides 8, 16 and 32.

Source: He et al. 2016, table 1, with the stride in the 3 x 3 convolution, as in torchvision. Parameters have
torchvision's names, so that its weights load unchanged.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResNet"]

_EXPANSION = 4  # ratio of a block's outputs to its inner width


class _Bottleneck(nn.Module):
    """1 x 1 to the inner width, 3 x 3, 1 x 1 back, added to the input."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _stage(inputs: int, inner: int, count: int, stride: int) -> nn.Sequential:
    outputs = _EXPANSION * inner
    blocks = [_Bottleneck(inputs, inner, stride), *(_Bottleneck(outputs, inner, 1) for _ in range(count - 1))]
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """(N, 3, H, W) to maps at strides 8, 16 and 32 with `channels` channels: 512, 1024 and 2048 at width 1."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        w = round(64 * width)
        self.conv1 = nn.Conv2d(3, w, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.layer1 = _stage(w, w, 3, 1)
        self.layer2 = _stage(4 * w, 2 * w, 4, 2)
        self.layer3 = _stage(8 * w, 4 * w, 6, 2)
        self.layer4 = _stage(16 * w, 8 * w, 3, 2)
        self.channels = [8 * w, 16 * w, 32 * w]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer1(functional.max_pool2d(x, 3, 2, 1))
        maps = []
        for layer in (self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps
