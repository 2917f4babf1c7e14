"""Weights of single-stage detectors and of their trunks, turned into parameters named as in `mtcnn.detectors`.

Pytorch_Retinaface's nets see BGR pixels less a mean colour. The order is undone in the first kernel; the mean colour is
that of `weights.MEAN_COLOUR`, and needs nothing. Trunks that were trained with torchvision's scaling,
(x / 255 - mean) / deviation of RGB, get it folded into their first layer.

Source of the names: `models/retinaface.py` and `models/net.py` of Pytorch_Retinaface.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..detectors.load import build
from ..detectors.trunks import TRUNKS
from ..detectors.trunks.vgg import Vgg
from ..errors import CheckpointError
from ..weights import MEAN_COLOUR
from .layers import Layer

__all__ = ["Ready", "read_caffe_vgg", "read_single_stage"]

# torchvision's scaling of ImageNet, red, green and blue.
_MEAN = torch.tensor([0.485, 0.456, 0.406]) * 255
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]) * 255

_CONTEXT = {"conv3X3": "window3", "conv5X5_1": "reduce", "conv5X5_2": "window5", "conv7X7_2": "deepen",
            "conv7x7_3": "window7"}  # fmt: skip
_HEADS = {"ClassHead": "classes", "BboxHead": "boxes", "LandmarkHead": "landmarks"}


class Ready(NamedTuple):
    """Parameters that only have to be written: the net or trunk they are for, and what their file is called.

    model  settings of the net that differ from the published ones, see `detectors.load.model_of`.
    """

    net: str
    state: dict[str, Tensor]
    form: str
    model: dict[str, Any] | None = None


def read_single_stage(state: Mapping[str, Tensor]) -> Ready | None:
    """What a state_dict holds, or None when it is of no such net.

    Raises CheckpointError when it has the names of such a net, but lacks some, or some do not fit.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}  # torch's DataParallel adds it
    plain = {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}
    return next((read(plain) for sign, read in _SIGNS.items() if sign in plain), None)


def _retinaface(state: Mapping[str, Tensor]) -> Ready:
    net = "retinaface-r50" if "body.layer1.0.conv1.weight" in state else "retinaface"
    fitted = _fitted(build(net), {_name(name): value for name, value in state.items()})
    return Ready(net, _from_bgr(fitted), "Pytorch_Retinaface's .pth")


def _from_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the first kernel's blue, green, red as red, green, blue."""
    first, kernel = next(iter(state.items()))
    return {**state, first: kernel.flip(1)}


def _name(name: str) -> str:
    """Our name of a parameter of Pytorch_Retinaface's RetinaFace."""
    part, _, rest = name.partition(".")
    level = int(part[-1]) - 1 if part[-1].isdecimal() else 0
    if part == "body":
        return f"trunk.{_trunk_name(rest)}"
    if part == "fpn":
        return re.sub(r"(output|merge)(\d)", lambda m: f"pyramid.{_LATERAL[m[1]]}.{int(m[2]) - 1}", rest)
    if part.startswith("ssh"):
        module, _, rest = rest.partition(".")
        return f"context.{level}.{_CONTEXT.get(module, module)}.{rest}"
    if part in _HEADS:
        return f"{_HEADS[part]}.levels.{rest.replace('conv1x1.', '')}"
    raise CheckpointError(f"holds a parameter {name}; expected those of Pytorch_Retinaface's RetinaFace")


_LATERAL = {"output": "lateral", "merge": "merge"}


def _trunk_name(name: str) -> str:
    """Our name of a parameter of its MobileNet: the halves of a separable convolution are layers 0, 1 and 3, 4."""
    match = re.fullmatch(r"stage(\d)\.(\d)\.(\d)\.(\w+)", name)
    if match is None:
        return name
    stage, block, layer = int(match[1]) - 1, int(match[2]), int(match[3])
    half = "" if (stage, block) == (0, 0) else f"{layer // 3}."
    return f"stages.{stage}.{block}.{half}{layer % 3}.{match[4]}"


def _mobilenet(state: Mapping[str, Tensor]) -> Ready:
    renamed = {_trunk_name(name): value for name, value in state.items() if not name.startswith("fc.")}
    return Ready("trunk-mobilenet", _trunk("trunk-mobilenet", renamed), "Pytorch_Retinaface's ImageNet trunk")


def _resnet(state: Mapping[str, Tensor]) -> Ready:
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    return Ready("trunk-resnet50", _trunk("trunk-resnet50", kept), "torchvision's resnet50")


def _vgg(state: Mapping[str, Tensor]) -> Ready:
    kept = {name: value for name, value in state.items() if name.startswith("features.")}
    renamed = dict(zip(Vgg().state_dict(), kept.values(), strict=False))  # both in the order of the layers
    if len(kept) != len(renamed):
        raise CheckpointError(f"holds {len(kept)} arrays of features; expected {len(renamed)}, of VGG-16 without norm")
    return Ready("trunk-vgg16", _trunk("trunk-vgg16", renamed), "torchvision's vgg16")


def read_caffe_vgg(layers: Sequence[Layer]) -> Ready | None:
    """VGG-16 as its authors published it for Caffe: BGR less a mean colour, which is MEAN_COLOUR within a level.

    None when the first layer is another net's. What comes after the 13 convolutions is left out.
    """
    if layers[0].weight.shape != (64, 3, 3, 3):
        return None
    values = [torch.from_numpy(np.array(array)) for layer in layers for array in (layer.weight, layer.bias)]
    state = dict(zip(Vgg().state_dict(), values, strict=False))
    return Ready("trunk-vgg16", _from_bgr(_fitted(Vgg(), state)), "VGG-16 for Caffe")


_SIGNS: dict[str, Callable[[Mapping[str, Tensor]], Ready]] = {
    "ClassHead.0.conv1x1.weight": _retinaface,
    "stage1.1.3.weight": _mobilenet,
    "layer1.0.conv3.weight": _resnet,
    "features.0.weight": _vgg,
}
"""A parameter that only these files have -> what reads them."""


def _trunk(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a trunk that saw torchvision's scaling, for MEAN_COLOUR.

    (x - a) / d = ((x - b) - (a - b)) / d: the first kernel is divided by d, and what it makes of the constant a - b
    goes into the bias, or into the mean that batch norm subtracts. Exact, but for the border, where the padding is now
    the mean colour b.
    """
    fitted = _fitted(TRUNKS[name](), state)
    first, kernel = next(iter(fitted.items()))
    fitted[first] = kernel / _DEVIATION[:, None, None]
    constant = (fitted[first].sum(dim=(2, 3)) * (_MEAN - torch.tensor(MEAN_COLOUR[0]))).sum(dim=1)
    names = list(fitted)
    means = [name for name in names if name.endswith(".running_mean")]
    if means:
        fitted[means[0]] = fitted[means[0]] + constant
    else:
        fitted[names[1]] = fitted[names[1]] - constant
    return fitted


def _fitted(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` in the order of the module's own. Raises CheckpointError where names or shapes differ."""
    wanted = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name, value in wanted.items():
        if name not in state:
            raise CheckpointError(f"lacks {name}; expected {len(wanted)} arrays of weights")
        if state[name].shape != value.shape:
            raise CheckpointError(f"holds {name} of {tuple(state[name].shape)}; expected {tuple(value.shape)}")
        if not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"holds NaN or infinity in {name}; expected finite weights")
    extra = state.keys() - wanted.keys()
    if extra:
        raise CheckpointError(f"holds a parameter {min(extra)}; expected {len(wanted)} arrays of weights")
    kept = {name: state[name].detach().to(torch.float32) for name in wanted}
    return {name: kept.get(name, value) for name, value in module.state_dict().items()}
