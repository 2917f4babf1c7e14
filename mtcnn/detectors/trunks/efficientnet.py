"""EfficientNet of timm, with maps at strides 8, 16 and 32.

Source: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks". Parameters have
timm's names, so that its weights load unchanged.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import MtcnnError, SettingsError

__all__ = ["EFFICIENTNETS", "efficientnet"]

EFFICIENTNETS = {"b0": (1.0, 1.0), "b3": (1.2, 1.4), "b4": (1.4, 1.8)}
"""Name -> multipliers of the width and the depth of b0."""

_STRIDES = (2, 3, 4)  # of timm's five maps those at strides 8, 16 and 32


def efficientnet(name: str = "b0", width: float = 1.0) -> nn.Module:
    """(N, 3, H, W) to maps at strides 8, 16 and 32, whose channels are `trunk_channels` of the result.

    name   of EFFICIENTNETS.    width  multiplies all channel counts, which timm rounds to multiples of 8.

    Raises SettingsError for another name, MtcnnError if timm is missing.
    """
    if name not in EFFICIENTNETS:
        raise SettingsError(f"trunk is {name!r}; expected one of {', '.join(EFFICIENTNETS)}")
    try:
        from timm.models import efficientnet as timm
    except ImportError:
        raise MtcnnError("no package timm; expected it for EfficientNet: pip install 'mtcnn-cascade[trunks]'") from None
    wide, deep = EFFICIENTNETS[name]
    # timm.create_model has no argument for the width.
    found: Any = timm._gen_efficientnet(
        f"efficientnet_{name}", wide * width, deep, pretrained=False, features_only=True, out_indices=_STRIDES
    )
    found.trunk_channels = found.feature_info.channels()
    trunk: nn.Module = found
    return trunk
