"""lightface: slim's levels and heads on ShuffleNetV2, with 13 anchors, and with the maps of the levels fused or not.

Source: lightface-1 and -2 of xieydd's FaceDetect, of which the configuration and the cost are published but not the
code; fusion as in Hu and Ramanan 2017, "Finding Tiny Faces", figure 5: coarser maps are added to finer ones.
lightface-3 is `Slim` with these anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .heads import face_logits
from .necks import FeaturePyramid
from .slim import halved, light_heads, predict
from .trunks.shufflenet import ShuffleNetV2

__all__ = ["LightFace"]

_FUSED = 40  # channels of fused maps: those for which the cost is nearest to the published one


class LightFace(nn.Module):
    """ShuffleNetV2 0.5x at strides 8, 16 and 32, and one more map at 64.

    width      multiplies all channel counts.
    anchors    per cell of each map; 13 in all.
    landmarks  whether there are landmark heads.
    fused      whether coarser maps are added to finer ones before the heads.
    """

    def __init__(
        self, width: float = 1.0, anchors: Sequence[int] = (4, 3, 3, 3), landmarks: bool = True, fused: bool = False
    ) -> None:
        super().__init__()
        self.trunk = ShuffleNetV2(width)
        inner, outputs = round(64 * width), round(256 * width)
        self.coarsest = halved(self.trunk.channels[-1], inner, outputs)
        channels = [*self.trunk.channels, outputs]
        self.fusion = FeaturePyramid(channels, round(_FUSED * width), leak=0.0) if fused else None
        if fused:
            channels = [round(_FUSED * width)] * len(channels)
        self.classes, self.boxes = light_heads(channels, anchors, 2), light_heads(channels, anchors, 4)
        self.landmarks = light_heads(channels, anchors, 10) if landmarks else None
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and, if enabled, landmark codes (N, A, 10)."""
        maps = self.trunk(x)
        maps = [*maps, self.coarsest(maps[-1])]
        maps = maps if self.fusion is None else self.fusion(maps)
        outputs = {"logits": face_logits(predict(self.classes, maps, 2)), "boxes": predict(self.boxes, maps, 4)}
        if self.landmarks is not None:
            outputs["landmarks"] = predict(self.landmarks, maps, 10)
        return outputs
