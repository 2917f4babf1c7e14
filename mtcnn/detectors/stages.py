"""A sequence of modules whose outputs are all returned, for trunks and nets with several maps."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Stages"]


class Stages(nn.ModuleList):
    """A callable nn.ModuleList: each stage takes the output of the previous one."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of every stage, in order."""
        maps = []
        for stage in self:
            x = stage(x)
            maps.append(x)
        return maps
