"""RetinaFace: a trunk, a feature pyramid, context modules, and heads for face, box and landmarks.

Source: Deng et al. 2019, "RetinaFace: Single-stage Dense Face Localisation in the Wild", without the mesh decoder, as
Pytorch_Retinaface builds it.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..weights import MEAN_COLOUR, Scaling
from .anchors import RETINAFACE, Layout
from .blocks import ContextModule, FeaturePyramid, Heads, ProposerOutput
from .trunks.mobilenet import MobileNet

__all__ = ["RetinaFace"]


class RetinaFace(nn.Module):
    """Images (N, 3, H, W) to a ProposerOutput with landmarks.

    trunk  returns three maps, at strides 8, 16 and 32, and has their `channels`; default: MobileNet-0.25, which makes
           426,608 parameters.
    width  channels of the pyramid and the context modules: 64 for MobileNet-0.25, 256 for ResNet-50. Their LeakyReLU
           has a slope of 0.1 up to 64 channels, and of 0 above.
    """

    layout: Layout = RETINAFACE
    scaling: Scaling = MEAN_COLOUR

    def __init__(self, trunk: nn.Module | None = None, width: int = 64) -> None:
        super().__init__()
        self.trunk = MobileNet() if trunk is None else trunk
        channels: list[int] = self.trunk.channels  # type: ignore[assignment]
        leak = 0.1 if width <= 64 else 0.0
        self.pyramid = FeaturePyramid(channels, width, leak)
        self.context = nn.ModuleList([ContextModule(width, width, leak) for _ in channels])
        inputs, sizes = [width] * len(channels), [len(level.sizes) for level in self.layout]
        self.classes, self.boxes, self.landmarks = (Heads(inputs, sizes, outputs) for outputs in (2, 4, 10))

    def forward(self, x: Tensor) -> ProposerOutput:
        levels = self.pyramid(self.trunk(x))
        maps = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return ProposerOutput(self.classes(maps), self.boxes(maps), self.landmarks(maps))
