"""The bidirectional feature pyramid: coarser maps are added to finer ones, then finer to coarser, with learned weights.

Source: Tan et al. 2020, "EfficientDet: Scalable and Efficient Object Detection", section 3 and figure 2d.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BiFPN", "WeightedSum", "depthwise_separable"]

_TINY = 1e-4  # of the paper, so that the sum of the weights is not 0


class BiFPN(nn.Module):
    """One layer; several follow one another. Maps, finest first, keep their sizes; each is about half of the last.

    levels    maps.
    channels  of each.
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([WeightedSum(2, channels) for _ in range(levels - 1)])
        counts = [3] * (levels - 2) + [2]  # the coarsest map is not on the way down
        self.up = nn.ModuleList([WeightedSum(count, channels) for count in counts])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        middle = list(maps)
        for i in range(len(maps) - 2, -1, -1):
            middle[i] = self.down[i]([maps[i], enlarged(middle[i + 1], maps[i])])
        found = [middle[0]]
        for i in range(1, len(maps)):
            inputs = [maps[i], middle[i]] if i < len(maps) - 1 else [maps[i]]
            found.append(self.up[i - 1]([*inputs, functional.max_pool2d(found[-1], 3, 2, 1)]))
        return found


class WeightedSum(nn.Module):
    """Maps of one size, weighted by "fast normalized fusion" (section 3.3), then a separable convolution."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.conv = nn.Sequential(*depthwise_separable(channels), nn.BatchNorm2d(channels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        weights = functional.relu(self.weights)
        weights = weights / (weights.sum() + _TINY)
        total = torch.stack([weight * x for weight, x in zip(weights, maps, strict=True)]).sum(dim=0)
        found: Tensor = self.conv(functional.silu(total))
        return found


def enlarged(x: Tensor, finer: Tensor) -> Tensor:
    """A map of the size of the finer one, by repeating cells."""
    return functional.interpolate(x, size=finer.shape[-2:], mode="nearest")


def depthwise_separable(channels: int) -> nn.Sequential:
    """A depthwise 3 x 3 convolution and a pointwise one."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1, bias=False))
