"""Necks, which combine the maps of a trunk before the heads.

Source: Lin et al. 2017 (feature pyramid), with the widths and slopes of Pytorch_Retinaface, whose weights must fit; Liu
et al. 2018 (path aggregation), with the layers of InsightFace's SCRFD; Wu et al. 2023, "YuNet", figure 3 (tiny feature
pyramid).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .conv import conv, pointwise_first

__all__ = ["FeaturePyramid", "PathAggregation", "TinyFeaturePyramid", "added_up"]


class FeaturePyramid(nn.Module):
    """Maps of a trunk, finest first, brought to one width; each coarser one is added to the next finer one.

    A map of the size of the finer one is made by repeating cells (nearest neighbour).
    """

    def __init__(self, inputs: Sequence[int], width: int, leak: float) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([conv(channels, width, 1, leak=leak) for channels in inputs])
        self.merge = nn.ModuleList([conv(width, width, 3, leak=leak) for _ in inputs[1:]])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            coarse = functional.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
            levels[i] = self.merge[i](levels[i] + coarse)
        return levels


class PathAggregation(nn.Module):
    """Maps of a trunk, finest first, brought to one width; each coarser one is added to the next finer one, and then
    each finer one, halved, to the next coarser one. Plain convolutions with biases, without norm or activation.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([conv(channels, width, 1, leak=None, norm=False) for channels in inputs])
        self.merge = nn.ModuleList([conv(width, width, 3, leak=None, norm=False) for _ in inputs])
        self.halve = nn.ModuleList([conv(width, width, 3, 2, leak=None, norm=False) for _ in inputs[1:]])
        self.smooth = nn.ModuleList([conv(width, width, 3, leak=None, norm=False) for _ in inputs[1:]])
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # as the authors begin
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + functional.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
        levels = [merge(x) for merge, x in zip(self.merge, levels, strict=True)]
        for i, halve in enumerate(self.halve):
            levels[i + 1] = levels[i + 1] + halve(levels[i])
        return [levels[0], *(smooth(x) for smooth, x in zip(self.smooth, levels[1:], strict=True))]


class TinyFeaturePyramid(nn.Module):
    """Maps of a trunk, finest first, all of the same width: the neck of YuNet (`added_up`)."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([pointwise_first(width, width) for _ in range(levels)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return added_up(self.lateral, maps)


def added_up(blocks: nn.ModuleList, maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps, finest first, each with the next coarser result added, upsampled by nearest neighbour, and then through its
    block."""
    levels = [blocks[-1](maps[-1])]
    for i in range(len(maps) - 2, -1, -1):
        enlarged = functional.interpolate(levels[0], size=maps[i].shape[-2:], mode="nearest")
        levels.insert(0, blocks[i](maps[i] + enlarged))
    return levels
