"""SSH, the single-stage headless face detector: three detection modules on VGG-16, each for its own range of sizes.

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
    """Upsample a map by 2 with bilinear interpolation."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class SSH(nn.Module):
    """Three levels with two anchors per cell, without landmarks; 19,766,372 parameters at width 1.

    M1 is on conv4_3 plus the upsampled conv5_3, M2 on conv5_3, M3 on the max-pooled conv5_3. The authors upsample by a
    transposed convolution with fixed bilinear weights; interpolation, used here, differs from it only at the border.

    width  multiplies all channel counts.
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
        # With an odd number of rows or columns, the finer map is one cell smaller than twice the coarser map.
        narrow = narrow + enlarged[:, :, : narrow.shape[2], : narrow.shape[3]]
        levels = [functional.relu(self.merge(narrow)), coarse, pool(coarse)]
        maps = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return {"logits": face_logits(self.classes(maps)), "boxes": self.boxes(maps)}
