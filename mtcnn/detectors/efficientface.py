"""EfficientFace: EfficientNet with SSD heads on four maps, optionally a feature pyramid and SSH's context modules.

Source: net_efficient.py of xieydd's FaceDetect, without a paper. Its four maps have strides 8, 16, 16 and 32 for
anchors at 8, 16, 32 and 64, so that it cannot be trained; here they have the strides of the anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .context import ContextModule
from .conv import conv
from .heads import Heads, face_logits
from .necks import FeaturePyramid
from .trunks.efficientnet import efficientnet

__all__ = ["EfficientFace"]

_NECK = 128  # channels of the pyramid and the context modules
_COARSEST = 256  # channels of the map at stride 64


class EfficientFace(nn.Module):
    """EfficientNet at strides 8, 16 and 32, and one more convolution at 64.

    trunk      "b3" or "b4", or "b0".
    width      multiplies all channel counts.
    anchors    per cell of each map.
    landmarks  whether there are landmark heads.
    pyramid    whether there are a feature pyramid and context modules before the heads.
    """

    def __init__(
        self,
        trunk: str = "b3",
        width: float = 1.0,
        anchors: Sequence[int] = (4, 4, 4, 3),
        landmarks: bool = True,
        pyramid: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = efficientnet(trunk, width)
        fine: list[int] = self.trunk.trunk_channels  # type: ignore[assignment]
        channels = [*fine, round(_COARSEST * width)]
        self.coarsest = conv(fine[-1], channels[-1], 3, 2, leak=0.0)
        inner = round(_NECK * width)
        self.pyramid = FeaturePyramid(channels, inner, leak=0.0) if pyramid else None
        self.context = nn.ModuleList([ContextModule(inner, inner, leak=0.0) for _ in channels] if pyramid else [])
        channels = [inner] * len(channels) if pyramid else channels
        self.classes, self.boxes = (Heads(channels, anchors, outputs, kernel=3) for outputs in (2, 4))
        self.landmarks = Heads(channels, anchors, 10, kernel=3) if landmarks else None
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and, if enabled, landmark codes (N, A, 10)."""
        maps = self.trunk(x)
        maps = [*maps, self.coarsest(maps[-1])]
        if self.pyramid is not None:
            maps = [context(level) for context, level in zip(self.context, self.pyramid(maps), strict=True)]
        outputs = {"logits": face_logits(self.classes(maps)), "boxes": self.boxes(maps)}
        if self.landmarks is not None:
            outputs["landmarks"] = self.landmarks(maps)
        return outputs
