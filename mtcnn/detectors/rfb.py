"""RFB: slim with a receptive field block at stride 8.

Source: Linzaer's Ultra-Light-Fast-Generic-Face-Detector-1MB, `version-RFB`, and biubug6's version with landmarks; the
block after Liu et al. 2018, "Receptive Field Block Net for Accurate and Fast Object Detection", figure 4a.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conv import conv
from .slim import Slim

__all__ = ["RFB", "ReceptiveField"]


class RFB(Slim):
    """As `Slim`; 276,292 parameters, or 359,592 with landmarks."""

    def context(self, channels: int) -> nn.Module:
        return ReceptiveField(channels)


class ReceptiveField(nn.Module):
    """Three branches with receptive fields of 7, 9 and 15 cells; the map keeps its shape.

    channels  of the map; each branch has an eighth of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(channels // 8, 2)  # batch norm after a single channel would undo any scale
        more, many = few * 3 // 2, few * 2
        near = [conv(channels, few, 1, leak=None), conv(few, many, 3, leak=0.0), _dilated(many, 2)]
        middle = [conv(channels, few, 1, leak=None), conv(few, many, 3, leak=0.0), _dilated(many, 3)]
        far = [conv(channels, few, 1, leak=None), conv(few, more, 3, leak=0.0), conv(more, many, 3, leak=0.0)]
        branches = (near, middle, [*far, _dilated(many, 5)])
        self.branches = nn.ModuleList([nn.Sequential(*branch) for branch in branches])
        self.join = conv(3 * many, channels, 1, leak=None)
        self.shortcut = conv(channels, channels, 1, leak=None)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([branch(x) for branch in self.branches], dim=1)
        return functional.relu(self.join(wide) + self.shortcut(x))


def _dilated(channels: int, dilation: int) -> nn.Sequential:
    """A dilated 3 x 3 convolution and batch norm."""
    layer = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels))
