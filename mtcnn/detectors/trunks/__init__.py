"""The trunks of single-stage detectors: a plain dict of names, and how a net starts from a trained one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ...checkpoint import read
from ...errors import CheckpointError
from .mobilenet import MobileNet
from .resnet import ResNet
from .vgg import Vgg

__all__ = ["TRUNKS", "load_trunk"]

TRUNKS: dict[str, Callable[[], nn.Module]] = {
    "trunk-mobilenet": MobileNet,
    "trunk-resnet50": ResNet,
    "trunk-vgg16": Vgg,
}
"""Name in a checkpoint -> what builds the trunk, for input scaled by `weights.MEAN_COLOUR`."""


def load_trunk(net: nn.Module, path: Path) -> None:
    """Give the trunk of a single-stage detector the weights at `path`, as `mtcnn weights import` writes them.

    Raises CheckpointError when the file is broken, or holds another trunk or another width.
    """
    found = read(path)
    trunk: nn.Module = net.trunk  # type: ignore[assignment]
    if found.net not in TRUNKS:
        raise CheckpointError(f"{path} holds {found.net}; expected one of {', '.join(TRUNKS)}")
    try:
        trunk.load_state_dict(found.tensors())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path} does not fit the trunk {type(trunk).__name__}: {reason}") from error
