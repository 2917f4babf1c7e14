"""S3FD: six levels on VGG-16, anchors four times the stride, and a max-out background label.

Source: Zhang et al. 2017, "S3FD: Single Shot Scale-invariant Face Detector", section 3.1 and figure 2; numbers of
channels, and fc6 without dilation, from the authors' `deploy.prototxt`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .heads import Heads, face_logits, flatten, head
from .trunks.vgg import Vgg, initialise, pool

__all__ = ["S3FD", "L2Norm", "max_out"]

_BACKGROUNDS = 3  # at the finest level, whose anchors are nine tenths of all and give most false positives


class L2Norm(nn.Module):
    """L2 normalisation over the channels of each cell, times a learned scale per channel (Liu et al. 2015, ParseNet).

    The values of VGG-16's early maps are many times larger than those of the later ones.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1) * self.scale[:, None, None]


def max_out(logits: Tensor) -> Tensor:
    """Reduce three background logits and one face logit (N, 4, h, w) to the largest of the three and the face's
    (N, 2, h, w). Source: section 3.3."""
    return torch.cat([logits[:, :_BACKGROUNDS].amax(dim=1, keepdim=True), logits[:, _BACKGROUNDS:]], dim=1)


class S3FD(nn.Module):
    """Six levels with one anchor per cell, without landmarks; 22,459,110 parameters at width 1.

    width  multiplies all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.trunk = Vgg(width)
        wide, half, middle, narrow = (round(channels * width) for channels in (1024, 512, 256, 128))
        self.fc6 = nn.Conv2d(self.trunk.channels[-1], wide, 3, padding=1)
        self.fc7 = nn.Conv2d(wide, wide, 1)
        self.conv6 = nn.Sequential(_layer(wide, middle, 1), _layer(middle, half, 3, 2))
        self.conv7 = nn.Sequential(_layer(half, narrow, 1), _layer(narrow, middle, 3, 2))
        self.norms = nn.ModuleList(
            [L2Norm(channels, scale) for channels, scale in zip(self.trunk.channels, (10.0, 8.0, 5.0), strict=True)]
        )
        channels = [*self.trunk.channels, wide, half, middle]
        self.finest = head(channels[0], _BACKGROUNDS + 1, 3)
        self.classes = Heads(channels[1:], [1] * 5, 2, kernel=3)
        self.boxes = Heads(channels, [1] * 6, 4, kernel=3)
        initialise(self.fc6, self.fc7, self.conv6, self.conv7)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A) and box codes (N, A, 4)."""
        early = self.trunk(x)
        deep = functional.relu(self.fc7(functional.relu(self.fc6(pool(early[-1])))))
        deeper = self.conv6(deep)
        maps = [norm(level) for norm, level in zip(self.norms, early, strict=True)]
        maps += [deep, deeper, self.conv7(deeper)]
        finest = flatten(max_out(self.finest(maps[0])), 2)
        pairs = torch.cat([finest, self.classes(maps[1:])], dim=1)
        return {"logits": face_logits(pairs), "boxes": self.boxes(maps)}


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))
