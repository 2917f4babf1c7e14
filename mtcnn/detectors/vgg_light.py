"""VGG-light: a small VGG with a receptive field block, SSD heads on four maps, and optionally SSH's context modules.

Source: Light_VGG of xieydd's FaceDetect, which has no paper. With context modules it is that project's "advanced VGG",
which is trained with a margin, see `stages.objectives.multibox`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .context import ContextModule
from .conv import conv
from .heads import Heads, face_logits
from .rfb import ReceptiveField
from .stages import Stages

__all__ = ["VggLight"]


class VggLight(nn.Module):
    """Plain 3 x 3 convolutions with batch norm; maps at strides 8, 16, 32 and 64.

    width      multiplies all channel counts.
    anchors    per cell of each map.
    landmarks  whether there are landmark heads.
    context    whether there is a context module before the heads of each map.
    """

    def __init__(
        self, width: float = 1.0, anchors: Sequence[int] = (4, 4, 4, 3), landmarks: bool = True, context: bool = False
    ) -> None:
        super().__init__()
        c16, c32, c64, c128, c256 = (round(channels * width) for channels in (16, 32, 64, 128, 256))
        stride8 = nn.Sequential(
            _conv(3, c16, 2), _conv(c16, c32), _conv(c32, c32, 2), _conv(c32, c32),
            _conv(c32, c64, 2), _conv(c64, c64), _conv(c64, c64), ReceptiveField(c64),
        )  # fmt: skip
        stride16 = nn.Sequential(_conv(c64, c128, 2), _conv(c128, c128))
        stride32 = nn.Sequential(_conv(c128, c256, 2), _conv(c256, c256))
        stride64 = nn.Sequential(conv(c256, c64, 1, leak=0.0), _conv(c64, c256, 2))
        self.stages = Stages([stride8, stride16, stride32, stride64])
        channels = (c64, c128, c256, c256)
        modules = [ContextModule(each, each, leak=0.0) if context else nn.Identity() for each in channels]
        self.context = nn.ModuleList(modules)
        self.classes, self.boxes = (Heads(channels, anchors, outputs, kernel=3) for outputs in (2, 4))
        self.landmarks = Heads(channels, anchors, 10, kernel=3) if landmarks else None
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and, if enabled, landmark codes (N, A, 10)."""
        maps = [context(level) for context, level in zip(self.context, self.stages(x), strict=True)]
        outputs = {"logits": face_logits(self.classes(maps)), "boxes": self.boxes(maps)}
        if self.landmarks is not None:
            outputs["landmarks"] = self.landmarks(maps)
        return outputs


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return conv(inputs, outputs, 3, stride, leak=0.0)
