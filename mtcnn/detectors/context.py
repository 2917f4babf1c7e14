"""The context module, which enlarges the receptive field.

Source: Najibi et al. 2017 (SSH), section 3.2, with the widths and slopes of Pytorch_Retinaface, to load its weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .conv import conv

__all__ = ["ContextModule"]


class ContextModule(nn.Module):
    """Stacks of 3 x 3 convolutions: half of the channels see 3 x 3 cells, a quarter 5 x 5 and a quarter 7 x 7."""

    def __init__(self, inputs: int, outputs: int, leak: float, norm: bool = True) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.window3 = conv(inputs, half, 3, leak=None, norm=norm)
        self.reduce = conv(inputs, quarter, 3, leak=leak, norm=norm)
        self.window5 = conv(quarter, quarter, 3, leak=None, norm=norm)
        self.deepen = conv(quarter, quarter, 3, leak=leak, norm=norm)
        self.window7 = conv(quarter, quarter, 3, leak=None, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        near = self.reduce(x)
        parts = [self.window3(x), self.window5(near), self.window7(self.deepen(near))]
        return functional.relu(torch.cat(parts, dim=1))
