"""Modules in a row, of which every output is used: what trunks and nets with several maps are made of."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Stages"]


class Stages(nn.ModuleList):
    """An nn.ModuleList that can be called: each stage takes the output of the one before."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of every stage, in order."""
        maps = []
        for stage in self:
            x = stage(x)
            maps.append(x)
        return maps
