"""Trunks pretrained on ImageNet, most with torchvision's normalisation, (x / 255 - mean) / std of RGB.

The normalisation is folded into the first layer. VGG-16 for Caffe takes BGR minus a mean colour, ShuffleNetV2 of its
authors BGR / 255.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..detectors.trunks import TRUNKS
from ..detectors.trunks.vgg import Vgg
from ..errors import CheckpointError
from ..weights import MEAN_COLOUR
from .layers import LayerArrays
from .pytorch_retinaface import trunk_name
from .single_stage import Ready, fitted, from_bgr, unknown

__all__ = ["read_caffe_vgg", "read_efficientnet", "read_mobilenet", "read_resnet", "read_shufflenet", "read_vgg"]

# torchvision's scaling of ImageNet, red, green and blue.
_MEAN = torch.tensor([0.485, 0.456, 0.406]) * 255
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]) * 255


def read_mobilenet(state: Mapping[str, Tensor]) -> Ready:
    renamed = {trunk_name(name): value for name, value in state.items() if not name.startswith("fc.")}
    return Ready("trunk-mobilenet", _rescaled("trunk-mobilenet", renamed), "Pytorch_Retinaface's ImageNet trunk")


def read_resnet(state: Mapping[str, Tensor]) -> Ready:
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    return Ready("trunk-resnet50", _rescaled("trunk-resnet50", kept), "torchvision's resnet50")


def read_vgg(state: Mapping[str, Tensor]) -> Ready:
    kept = {name: value for name, value in state.items() if name.startswith("features.")}
    renamed = dict(zip(Vgg().state_dict(), kept.values(), strict=False))  # both in the order of the layers
    if len(kept) != len(renamed):
        raise CheckpointError(f"holds {len(kept)} arrays of features; expected {len(renamed)}, of VGG-16 without norm")
    return Ready("trunk-vgg16", _rescaled("trunk-vgg16", renamed), "torchvision's vgg16")


_STEMS = {32: "b0", 40: "b3", 48: "b4"}  # channels of the first convolution


def read_efficientnet(state: Mapping[str, Tensor]) -> Ready:
    """EfficientNet of timm; what follows the last stage is dropped. Those named tf_, which pad otherwise, have the same
    names and shapes."""
    name = _STEMS.get(len(state["conv_stem.weight"]))
    if name is None:
        found = tuple(state["conv_stem.weight"].shape)
        raise CheckpointError(f"holds conv_stem.weight of {found}; expected EfficientNet-{', '.join(_STEMS.values())}")
    kept = {key: value for key, value in state.items() if not key.startswith(("conv_head.", "bn2.", "classifier."))}
    trunk = f"trunk-efficientnet-{name}"
    return Ready(trunk, _rescaled(trunk, kept), f"timm's efficientnet_{name}")


_SHUFFLED = re.compile(r"stage([234])\.(\d+)\.branch_(main|proj)\.(\d)\.(\w+)")
_LAYERS = {"main": {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1", 5: "2.0", 6: "2.1"},
           "proj": {0: "0.0", 1: "0.1", 2: "1.0", 3: "1.1"}}  # fmt: skip


def read_shufflenet(state: Mapping[str, Tensor]) -> Ready:
    """ShuffleNetV2 0.5x of its authors; what follows the last stage is dropped."""
    kept = {name: value for name, value in state.items() if name.startswith(("first_conv.", "stage"))}
    renamed = {_shuffled_name(name): value for name, value in kept.items()}
    rescaled = _rescaled("trunk-shufflenet", from_bgr(renamed), mean=torch.zeros(3), deviation=torch.full((3,), 255.0))
    return Ready("trunk-shufflenet", rescaled, "ShuffleNetV2 0.5x of its authors")


def _shuffled_name(name: str) -> str:
    """Our name of a parameter. Raises CheckpointError for one of another net."""
    if name.startswith("first_conv."):
        return name.replace("first_conv.", "stem.0.", 1)
    match = _SHUFFLED.fullmatch(name)
    layer = match and _LAYERS[match[3]].get(int(match[4]))
    if not match or not layer:
        raise unknown(name, "ShuffleNetV2")
    branch = {"main": "main", "proj": "other"}[match[3]]
    return f"stages.{int(match[1]) - 2}.{match[2]}.{branch}.{layer}.{match[5]}"


def read_caffe_vgg(layers: Sequence[LayerArrays]) -> Ready | None:
    """VGG-16 as its authors published it for Caffe: BGR minus a mean colour within one level of MEAN_COLOUR.

    None if the first layer is another net's. Layers after the 13 convolutions are dropped.
    """
    if layers[0].weight.shape != (64, 3, 3, 3):
        return None
    values = [torch.from_numpy(np.array(array)) for layer in layers for array in (layer.weight, layer.bias)]
    state = dict(zip(Vgg().state_dict(), values, strict=False))
    return Ready("trunk-vgg16", from_bgr(fitted(Vgg(), state)), "VGG-16 for Caffe")


def _rescaled(
    name: str, state: Mapping[str, Tensor], mean: Tensor = _MEAN, deviation: Tensor = _DEVIATION
) -> dict[str, Tensor]:
    """Converts the parameters of a trunk from the normalisation (x - mean) / deviation to MEAN_COLOUR.

    (x - a) / d = ((x - b) - (a - b)) / d: the first kernel is divided by d, and its response to the constant a - b
    goes into the bias, or into the running mean of batch norm. Exact except at the border, where the padding is now the
    mean colour b.
    """
    found = fitted(TRUNKS[name](), state)
    first, kernel = next(iter(found.items()))
    found[first] = kernel / deviation[:, None, None]
    constant = (found[first].sum(dim=(2, 3)) * (mean - torch.tensor(MEAN_COLOUR[0]))).sum(dim=1)
    names = list(found)
    means = [name for name in names if name.endswith(".running_mean")]
    if means:
        found[means[0]] = found[means[0]] + constant
    else:
        found[names[1]] = found[names[1]] - constant
    return found
