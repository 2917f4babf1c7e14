"""CenterFace: faces are peaks of a heat map, whose cells also predict size, offset and landmarks.

Source: Xu et al. 2020, "CenterFace: Joint Face Detection and Alignment Using Face as Point", section 3; the layers are
those of the net that its authors published.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from .conv import conv
from .heads import flatten
from .trunks.mobilenet_v2 import MobileNetV2

__all__ = ["CenterFace"]

_VALUES = {"logits": 1, "sizes": 2, "offsets": 2, "landmarks": 10}  # outputs of each cell
_USUAL = math.log(8)  # the logarithm of sides, in cells, at which sizes start: of faces of 32 pixels
_RARE = 0.1  # initial score of the heat map, since few cells are centres: as in CornerNet, Law and Deng 2018


class CenterFace(nn.Module):
    """One map at stride 4, upsampled from MobileNetV2's four maps; 1,835,895 parameters.

    width  multiplies all channel counts; 1 is the published net.
    neck   channels of the upsampled maps, from which all fifteen values of a cell are read; 0 for 24 times the width.
    """

    def __init__(self, width: float = 1.0, neck: int = 0) -> None:
        super().__init__()
        self.trunk = MobileNetV2(width)
        inner = neck or round(24 * width)
        *fine, coarsest = self.trunk.channels
        self.top = conv(coarsest, inner, 1, leak=0.0)
        self.lateral = nn.ModuleList([conv(channels, inner, 1, leak=0.0) for channels in fine])
        self.enlarge = nn.ModuleList([_doubled(inner) for _ in fine])
        self.merge = conv(inner, inner, 3, leak=0.0)
        self.heads = nn.ModuleDict({name: nn.Conv2d(inner, values, 1) for name, values in _VALUES.items()})
        starts = {"logits": math.log(_RARE / (1 - _RARE)), "sizes": _USUAL, "landmarks": 0.5}
        for name, value in starts.items():
            nn.init.constant_(self.heads[name].bias, value)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), sizes (N, A, 2), offsets (N, A, 2) and landmark codes (N, A, 10) of all
        cells, row by row; y before x and height before width."""
        *fine, x = self.trunk(x)
        x = self.top(x)
        for i in (2, 1, 0):
            # With an odd number of rows or columns, the finer map is one cell smaller than twice the coarser map.
            x = self.enlarge[i](x)[:, :, : fine[i].shape[2], : fine[i].shape[3]] + self.lateral[i](fine[i])
        x = self.merge(x)
        outputs = {name: flatten(head(x), _VALUES[name]) for name, head in self.heads.items()}
        return {**outputs, "logits": outputs["logits"][..., 0]}  # (N, A, 1) -> (N, A)


def _doubled(channels: int) -> nn.Sequential:
    """Upsample a map by 2 with a learned 2 x 2 transposed convolution."""
    enlarge = nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)
    return nn.Sequential(enlarge, nn.BatchNorm2d(channels, eps=1e-3), nn.ReLU(inplace=True))
