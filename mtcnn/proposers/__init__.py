"""Single-stage detectors, which can stand in for the cascade's first stage or detect alone.

A plain dict of names; a net's code is loaded when it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PROPOSERS"]


def _retinaface() -> nn.Module:
    from .retinaface import RetinaFace

    return RetinaFace()


PROPOSERS: dict[str, Callable[[], nn.Module]] = {"retinaface": _retinaface}
"""Name -> what builds the net with random weights. Each net has a `layout`, see `anchors`."""
