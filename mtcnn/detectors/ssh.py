"""SSH, the single-stage headless face detector: three detection modules on VGG-16, each with its own faces.

Source: Najibi et al. 2017, "SSH: Single Stage Headless Face Detector", section 3 and figure 2; numbers of channels from
the authors' `test_ssh.prototxt`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .anchors import SSH as LAYOUT
from .context import ContextModule
from .heads import Heads, face_logits
from .trunks.vgg import Vgg, initialise, pool

__all__ = ["SSH", "enlarge"]


def enlarge(x: Tensor) -> Tensor:
    """A map at twice its size, by linear interpolation."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class SSH(nn.Module):
    """Three levels of two anchors a cell, without landmarks; 19,766,372 parameters at width 1.

    M1 sees conv4_3 with the enlarged conv5_3 added, M2 conv5_3, M3 conv5_3 at half its size. The authors enlarge by
    a transposed convolution whose weights are fixed to linear interpolation; so it is one here, which differs at the
    border alone.

    width  multiplies all numbers of channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.trunk = Vgg(width)
        _, fine, coarse = self.trunk.channels
        narrow, outputs = round(128 * width), [round(channels * width) for channels in (256, 512, 512)]
        self.fine, self.coarse = nn.Conv2d(fine, narrow, 1), nn.Conv2d(coarse, narrow, 1)
        self.merge = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.context = nn.ModuleList(
            [
                ContextModule(inputs, channels, leak=0.0, norm=False)
                for inputs, channels in zip((narrow, coarse, coarse), outputs, strict=True)
            ]
        )
        sizes = [len(level.sizes) for level in LAYOUT]
        self.classes, self.boxes = Heads(outputs, sizes, 2), Heads(outputs, sizes, 4)
        initialise(self.fine, self.coarse, self.merge, self.context)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A) and box codes (N, A, 4)."""
        _, fine, coarse = self.trunk(x)
        narrow = functional.relu(self.fine(fine))
        enlarged = enlarge(functional.relu(self.coarse(coarse)))
        # An odd row or column of the finer map has one cell less than twice the coarser map.
        narrow = narrow + enlarged[:, :, : narrow.shape[2], : narrow.shape[3]]
        levels = [functional.relu(self.merge(narrow)), coarse, pool(coarse)]
        maps = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return {"logits": face_logits(self.classes(maps)), "boxes": self.boxes(maps)}
