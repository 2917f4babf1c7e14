"""What single-stage detectors share: convolutions with batch norm, the feature pyramid, the context module, the heads.

Source: Lin et al. 2017 (feature pyramid), Najibi et al. 2017 (context module), with the widths and slopes of
Pytorch_Retinaface, whose weights must fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ContextModule", "FeaturePyramid", "Heads", "ProposerOutput", "conv", "flatten", "head"]


class ProposerOutput(NamedTuple):
    """What a single-stage detector returns for images (N, 3, H, W); A anchors in the order of `anchors.anchors`.

    class_logits    float (N, A, 2): no face, face. Logits, never probabilities.
    box_codes       (N, A, 4), see `anchors.encode_box_codes`.
    landmark_codes  (N, A, 10), see `anchors.encode_landmark_codes`; None where a net has no landmarks.
    """

    class_logits: Tensor
    box_codes: Tensor
    landmark_codes: Tensor | None


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    leak: float | None = 0.1,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (but for the stride), batch norm, LeakyReLU.

    leak  slope of LeakyReLU; None leaves it out.    norm  False leaves batch norm out, and adds a bias.
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    if leak is not None:
        layers.append(nn.LeakyReLU(leak, inplace=True))
    return nn.Sequential(*layers)


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


class ContextModule(nn.Module):
    """A half of the channels sees 3 x 3 cells, a quarter 5 x 5 and a quarter 7 x 7: stacks of 3 x 3."""

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


def head(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution that predicts. It starts near 0 (SSH's 0.01), so that no anchor begins by being sure."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Heads(nn.Module):
    """A convolution a level, whose outputs are laid side by side in the order of the anchors.

    inputs   channels of each level's map.           sizes  anchors on a cell, level by level.
    outputs  values an anchor: 2, 4 or 10.           kernel of the convolutions, 1 or 3.
    """

    def __init__(self, inputs: Sequence[int], sizes: Sequence[int], outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.levels = nn.ModuleList(
            [head(channels, count * outputs, kernel) for channels, count in zip(inputs, sizes, strict=True)]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, A, outputs)"""
        return torch.cat([flatten(level(x), self.outputs) for level, x in zip(self.levels, maps, strict=True)], dim=1)


def flatten(x: Tensor, outputs: int) -> Tensor:
    """A map (N, anchors on a cell * outputs, h, w) as rows (N, h * w * anchors on a cell, outputs)."""
    # (N, k * outputs, h, w) -> (N, h, w, k * outputs) -> (N, h * w * k, outputs)
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, outputs)
