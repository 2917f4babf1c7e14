"""MobileNetV2 without its classifier, with maps at strides 4, 8, 16 and 32.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2 and figure 3b.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..conv import conv
from ..stages import Stages

__all__ = ["MobileNetV2"]

# Expansion, outputs, blocks and first stride: the rows of table 2, grouped by the maps that follow.
_STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 2)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class MobileNetV2(nn.Module):
    """(N, 3, H, W) to maps at strides 4, 8, 16 and 32 with `channels` channels: 24, 32, 96 and 320 at width 1.

    ReLU instead of the paper's ReLU6, as in CenterFace.

    width  multiplies all channel counts.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = round(32 * width)
        layers: list[nn.Module] = [conv(3, inputs, 3, 2, leak=0.0)]
        stages, self.channels = [], []
        for rows in _STAGES:
            for expansion, channels, count, stride in rows:
                outputs = round(channels * width)
                layers.append(_InvertedResidual(inputs, outputs, stride, expansion))
                layers += [_InvertedResidual(outputs, outputs, 1, expansion) for _ in range(count - 1)]
                inputs = outputs
            stages.append(nn.Sequential(*layers))
            self.channels.append(inputs)
            layers = []
        self.stages = Stages(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.stages(x)
        return maps


class _InvertedResidual(nn.Module):
    """1 x 1 expansion, depthwise 3 x 3, 1 x 1 projection; added to the input if the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [conv(inputs, inner, 1, leak=0.0)] if expansion > 1 else []
        layers += [conv(inner, inner, 3, stride, groups=inner, leak=0.0), conv(inner, outputs, 1, leak=None)]
        self.layers = nn.Sequential(*layers)
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.added else y
