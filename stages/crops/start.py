"""The weights that a training of the cascade's nets starts from, where these are not random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtcnn.checkpoint import load_weights, read
from mtcnn.nets import CNet, ONet, module_of
from mtcnn.weights import SECOND, SIDES

__all__ = ["cnet_of_onet", "start_state"]


def start_state(path: Path, net: str) -> dict[str, Tensor]:
    """The state of `net` to start from, of its own weights at `path`, or for cnet of ONet's.

    Raises CheckpointError as `load_weights` does.
    """
    if net == SECOND and read(path).net == "onet":
        return cnet_of_onet(module_of(load_weights(path, "onet")).state_dict())
    return module_of(load_weights(path, net)).state_dict()


def cnet_of_onet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ONet's state as one of cnet, which says of a crop what ONet says of the 48 x 48 pixels in its middle.

    The dense layer has ONet's weights in the middle of its map and zeros around. Offsets and landmarks are in units of
    the crop, now 64/48 as wide: smaller, and counted from a corner that lies 8 pixels further out. Where ONet's pooling
    rounds up, at its right and lower borders, cnet sees more of the image, so that outputs differ a little.
    """
    side, wide = SIDES["onet"], SIDES[SECOND]
    share, border = side / wide, (wide - side) / 2 / wide
    middle = slice((CNet.cells - ONet.cells) // 2, (CNet.cells + ONet.cells) // 2)
    dense = state["trunk.9.weight"].reshape(256, 128, ONet.cells, ONet.cells)  # from (256, 1152)
    maps = dense.new_zeros(*dense.shape[:2], CNet.cells, CNet.cells)
    maps[:, :, middle, middle] = dense
    found = {**state, "trunk.9.weight": maps.flatten(1)}  # (256, 128, 5, 5) -> (256, 3200)
    shifts = {"offsets": torch.tensor([border, border, -border, -border]), "landmarks": torch.tensor(border)}
    for head, shift in shifts.items():
        found[f"{head}.weight"] = state[f"{head}.weight"] * share
        found[f"{head}.bias"] = state[f"{head}.bias"] * share + shift
    return found
