"""The trunks of single-stage detectors, by their names in checkpoints. Heads and necks are not here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from .efficientnet import EFFICIENTNETS, efficientnet
from .mobilenet import MobileNet
from .resnet import ResNet
from .shufflenet import ShuffleNetV2
from .vgg import Vgg

__all__ = ["TRUNKS"]

TRUNKS: dict[str, Callable[[], nn.Module]] = {
    "trunk-mobilenet": MobileNet,
    "trunk-resnet50": ResNet,
    "trunk-shufflenet": ShuffleNetV2,
    "trunk-vgg16": Vgg,
    **{f"trunk-efficientnet-{name}": partial(efficientnet, name) for name in EFFICIENTNETS},
}
"""Name in a checkpoint -> class of the trunk, for input scaled by `weights.MEAN_COLOUR`."""
