"""slim, the smallest net of the "ultra-light" family: separable convolutions, and SSD heads on four maps.

Source: Linzaer's Ultra-Light-Fast-Generic-Face-Detector-1MB, `version-slim`; with landmarks, biubug6's
Face-Detector-1MB-with-landmark. Neither has a paper; heads and codes are those of Liu et al. 2016 (SSD).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .conv import conv
from .heads import face_logits, flatten, head
from .stages import Stages

__all__ = ["Slim", "halved", "light_heads", "predict", "separable"]


class Slim(nn.Module):
    """Four maps at strides 8, 16, 32 and 64; 260,188 parameters, or 343,488 with landmarks.

    width      multiplies all channel counts; 1 is the published net.
    anchors    per cell of each map.
    landmarks  whether to add landmark heads.
    """

    def __init__(self, width: float = 1.0, anchors: Sequence[int] = (3, 2, 2, 3), landmarks: bool = False) -> None:
        super().__init__()
        c16, c32, c64, c128, c256 = (round(channels * width) for channels in (16, 32, 64, 128, 256))
        stride8 = nn.Sequential(
            conv(3, c16, 3, stride=2, leak=0.0),
            separable(c16, c32),
            separable(c32, c32, stride=2),
            separable(c32, c32),
            separable(c32, c64, stride=2),
            separable(c64, c64),
            separable(c64, c64),
            self.context(c64),
        )
        stride16 = nn.Sequential(separable(c64, c128, stride=2), separable(c128, c128), separable(c128, c128))
        stride32 = nn.Sequential(separable(c128, c256, stride=2), separable(c256, c256))
        self.stages = Stages([stride8, stride16, stride32, halved(c256, c64, c256)])
        channels = (c64, c128, c256, c256)
        self.classes, self.boxes = light_heads(channels, anchors, 2), light_heads(channels, anchors, 4)
        self.landmarks = light_heads(channels, anchors, 10) if landmarks else None
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def context(self, channels: int) -> nn.Module:
        """The last block of the finest map."""
        return separable(channels, channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and, if enabled, landmark codes (N, A, 10)."""
        maps = self.stages(x)
        outputs = {"logits": face_logits(predict(self.classes, maps, 2)), "boxes": predict(self.boxes, maps, 4)}
        if self.landmarks is not None:
            outputs["landmarks"] = predict(self.landmarks, maps, 10)
        return outputs


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3 x 3 convolution, then a pointwise one, each with batch norm and ReLU."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, groups=inputs, leak=0.0), conv(inputs, outputs, 1, leak=0.0))


def halved(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    """A separable convolution of stride 2 through `inner` channels, without batch norm: the map of a coarser level."""
    return nn.Sequential(
        conv(inputs, inner, 1, leak=0.0, norm=False),
        conv(inner, inner, 3, stride=2, groups=inner, leak=0.0, norm=False),
        conv(inner, outputs, 1, leak=0.0, norm=False),
    )


def light_heads(channels: Sequence[int], anchors: Sequence[int], values: int) -> nn.ModuleList:
    """One head per map, with `values` per anchor: separable without batch norm, a plain 3 x 3 on the coarsest map."""
    *fine, (inputs, count) = zip(channels, anchors, strict=True)
    layers: list[nn.Module] = [
        nn.Sequential(conv(c, c, 3, groups=c, leak=0.0, norm=False), head(c, k * values, 1)) for c, k in fine
    ]
    return nn.ModuleList([*layers, head(inputs, count * values, 3)])


def predict(heads: nn.ModuleList, maps: Sequence[Tensor], values: int) -> Tensor:
    """(N, A, values)"""
    return torch.cat([flatten(level(x), values) for level, x in zip(heads, maps, strict=True)], dim=1)
