"""VGG-16 without its fully connected layers.

Source: Simonyan and Zisserman 2015, table 1, configuration D.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Vgg", "initialise", "pool"]

_DEVIATION = 64  # approximate standard deviation of the input: pixels minus their mean, not divided

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def pool(x: Tensor) -> Tensor:
    """2 x 2 max pooling with stride 2 that rounds sizes up."""
    return functional.max_pool2d(x, 2, 2, ceil_mode=True)


def initialise(*parts: nn.Module) -> None:
    """Kaiming initialisation of all convolutions (He et al. 2015, section 2.2), for nets without batch norm: with
    torch's default, almost no signal passes 13 layers."""
    for layer in nn.ModuleList(parts).modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Vgg(nn.Module):
    """(N, 3, H, W) to the maps conv3_3, conv4_3 and conv5_3, at strides 4, 8 and 16, with `channels` channels.

    width  multiplies all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs, blocks = 3, []
        for block in _BLOCKS:
            layers = []
            for channels in block:
                layers.append(nn.Conv2d(inputs, round(channels * width), 3, padding=1))
                inputs = round(channels * width)
            blocks.append(nn.ModuleList(layers))
        self.blocks = nn.ModuleList(blocks)
        self.channels = [round(block[-1] * width) for block in _BLOCKS[2:]]
        initialise(self)
        with torch.no_grad():
            self.blocks[0][0].weight /= _DEVIATION  # type: ignore[index]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for number, block in enumerate(self.blocks):
            x = pool(x) if number else x
            for layer in block:  # type: ignore[attr-defined]
                x = functional.relu(layer(x))
            maps.append(x)
        return maps[2:]
