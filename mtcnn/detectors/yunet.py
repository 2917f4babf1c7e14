"""YuNet: a tiny anchor-free net whose 3 x 3 convolutions are depthwise.

Source: Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector", figures 2 and 3; the channels of the sizes n
and s are those of the authors' libfacedetection.train.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from .conv import paired, pointwise_first
from .heads import flatten
from .necks import added_up
from .trunks.vgg import pool

__all__ = ["YuNet"]

_VALUES = {"class_logits": 1, "object_logits": 1, "boxes": 4, "landmarks": 10}  # outputs of each cell
_HALVED = (1, 3, 4, 5)  # stages with a pooling in front

# Logit of an untrained net's objects, a score of 0.01: else the loss of the background drowns all others at first.
# Source: Lin et al. 2017 (focal loss), section 4.1.
BACKGROUND = -4.6


class YuNet(nn.Module):
    """Three maps at strides 8, 16 and 32, one prediction per cell.

    channels  of the six stages of the trunk; the last three must be equal. The default is YuNet-n, 75,856 parameters;
              YuNet-s has (16, 32, 64, 64, 64, 64).
    shared    number of blocks that the four heads of a map share: 1 in YuNet-n, 0 in YuNet-s, 54,608 parameters.
    """

    def __init__(self, channels: Sequence[int] = (16, 64, 64, 64, 64, 64), shared: int = 1) -> None:
        super().__init__()
        if len(channels) != 6 or len({*channels[3:]}) != 1:
            raise SettingsError(f"channels is {channels}; expected six numbers, the last three equal")
        first, width = channels[0], channels[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        later = [nn.Sequential(pointwise_first(a, a), pointwise_first(a, b)) for a, b in pairwise(channels)]
        self.stages = nn.ModuleList([pointwise_first(first, first), *later])
        self.lateral = nn.ModuleList([pointwise_first(width, width) for _ in range(3)])
        self.shared = nn.ModuleList(
            [nn.Sequential(*(pointwise_first(width, width) for _ in range(shared))) for _ in range(3)]
        )
        heads = {
            name: nn.ModuleList([nn.Sequential(*paired(width, values)) for _ in range(3)])
            for name, values in _VALUES.items()
        }
        self.heads = nn.ModuleDict(heads)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # the authors' initialisation
                nn.init.xavier_normal_(layer.weight)
                nn.init.constant_(layer.bias, 0.02)  # type: ignore[arg-type]
        for pair in heads["object_logits"]:
            nn.init.constant_([*pair.children()][-1].bias, BACKGROUND)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to class logits (N, A, 1), object logits (N, A, 1), box codes (N, A, 4) and landmark
        codes (N, A, 10) of all cells, finest map first, row by row."""
        maps = [shared(level) for shared, level in zip(self.shared, self.pyramid(self.trunk(x)), strict=True)]
        return {name: _predict(levels, maps, _VALUES[name]) for name, levels in self.heads.items()}

    def trunk(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 8, 16 and 32."""
        maps = []
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            x = stage(pool(x) if number in _HALVED else x)
            maps.append(x)
        return maps[3:]

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """Add to each map but the coarsest the next coarser one, upsampled by nearest neighbour."""
        return added_up(self.lateral, maps)


def _predict(levels: nn.Module, maps: list[Tensor], values: int) -> Tensor:
    """(N, A, values)"""
    pairs = zip(levels.children(), maps, strict=True)
    return torch.cat([flatten(level(x), values) for level, x in pairs], dim=1)
