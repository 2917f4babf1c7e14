"""MobileNetV1 at a quarter of its width, in the three stages whose maps detectors use.

Source: Howard et al. 2017, table 1; LeakyReLU of slope 0.1 and the widths from Pytorch_Retinaface.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..conv import conv
from ..stages import Stages

__all__ = ["MobileNet"]

# (outputs at a quarter of the full width, stride) of the separable convolutions of each stage.
_STAGES = (
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),
    ((256, 2), (256, 1)),
)


def _separable(inputs: int, outputs: int, stride: int, leak: float) -> nn.Sequential:
    """A depthwise 3 x 3 convolution, then a pointwise one."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, inputs, leak), conv(inputs, outputs, 1, leak=leak))


class MobileNet(nn.Module):
    """(N, 3, H, W) to maps at strides 8, 16 and 32 with `channels` channels.

    width  multiplies all channel counts; 1 is MobileNet-0.25.
    leak   slope of LeakyReLU; 0 is ReLU.
    """

    def __init__(self, width: float = 1.0, leak: float = 0.1) -> None:
        super().__init__()
        inputs = round(8 * width)
        layers: list[nn.Module] = [conv(3, inputs, 3, 2, leak=leak)]
        stages, self.channels = [], []
        for blocks in _STAGES:
            for outputs, stride in blocks:
                layers.append(_separable(inputs, round(outputs * width), stride, leak))
                inputs = round(outputs * width)
            stages.append(nn.Sequential(*layers))
            self.channels.append(inputs)
            layers = []
        self.stages = Stages(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.stages(x)
        return maps
