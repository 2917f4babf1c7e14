"""RetinaFace: a trunk, a feature pyramid, context modules, and heads for face, box and landmarks.

Source: Deng et al. 2019, "RetinaFace: Single-stage Dense Face Localisation in the Wild", without the mesh decoder, as
Pytorch_Retinaface builds it.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import SettingsError
from .anchors import RETINAFACE
from .context import ContextModule
from .heads import Heads, face_logits
from .necks import FeaturePyramid
from .trunks.mobilenet import MobileNet
from .trunks.resnet import ResNet

__all__ = ["RetinaFace"]

# Trunk -> its class, and the channels of the pyramid and the context modules.
_TRUNKS: dict[str, tuple[type[MobileNet] | type[ResNet], int]] = {
    "mobilenet": (MobileNet, 64),
    "resnet50": (ResNet, 256),
}


class RetinaFace(nn.Module):
    """A trunk with maps at strides 8, 16 and 32, and three levels with two anchors per cell.

    trunk  "mobilenet" is MobileNet-0.25, 426,608 parameters in all; or "resnet50".
    width  multiplies all channel counts; 1 is the published net.
    leak   slope of LeakyReLU. After the trunk it is 0 in nets of more than 64 channels, as in Pytorch_Retinaface.
           ResNet has ReLU.
    """

    def __init__(self, trunk: str = "mobilenet", width: float = 1.0, leak: float = 0.1) -> None:
        super().__init__()
        if trunk not in _TRUNKS:
            raise SettingsError(f"trunk is {trunk!r}; expected one of {', '.join(_TRUNKS)}")
        make, published = _TRUNKS[trunk]
        body = MobileNet(width, leak) if make is MobileNet else make(width)
        self.trunk = body
        channels, inner = body.channels, round(published * width)
        leak = leak if inner <= 64 else 0.0
        self.pyramid = FeaturePyramid(channels, inner, leak)
        self.context = nn.ModuleList([ContextModule(inner, inner, leak) for _ in channels])
        inputs, sizes = [inner] * len(channels), [len(level.sizes) for level in RETINAFACE]
        self.classes, self.boxes, self.landmarks = (Heads(inputs, sizes, outputs) for outputs in (2, 4, 10))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and landmark codes (N, A, 10)."""
        levels = self.pyramid(self.trunk(x))
        maps = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return {
            "logits": face_logits(self.classes(maps)),
            "boxes": self.boxes(maps),
            "landmarks": self.landmarks(maps),
        }
