"""Layers of another project's net, from any file format, and their conversion to this project's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import CheckpointError
from ..nets import NETS

__all__ = ["Found", "LayerArrays", "Orientation", "to_state"]

Array = NDArray[Any]

HEADS = {2: "face", 4: "offsets", 10: "landmarks"}  # by their number of outputs, since names differ between projects

_PARAMETERS = (nn.Conv2d, nn.Linear, nn.PReLU)

# Five x and then five y, as all of the published nets have it, to x and y in turn.
LANDMARK_ROWS = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]


class LayerArrays(NamedTuple):
    """A convolution or fully connected layer, with the PReLU that follows it.

    weight  (out, in, h, w) or (out, in).   bias  (out,).   slope  (out,), or None for a head, which has no PReLU.
    """

    weight: Array
    bias: Array
    slope: Array | None = None


class Orientation(NamedTuple):
    """Input conventions of a project.

    swapped    x and y of the image swapped. The authors worked in Matlab, which stores columns, with Caffe, which
               expects rows. Some projects still transpose each image, others transposed the kernels.
    flattened  axis order of the last map before the fully connected layers, slowest first: c channels, x, y.
    """

    swapped: bool
    flattened: Literal["cxy", "xyc"]


@dataclass(frozen=True)
class Found:
    """The layers of one net as stored in a file, in the order of application.

    form  a description of the file, if more specific than the name of its Form.
    """

    layers: Sequence[LayerArrays]
    orientation: Orientation
    form: str = ""


def _trunk(module: nn.Module) -> list[tuple[nn.Conv2d | nn.Linear, nn.PReLU]]:
    """This project's layers with parameters, each with its PReLU; without heads."""
    found: list[Any] = [layer for layer in module.trunk.modules() if isinstance(layer, _PARAMETERS)]  # type: ignore[union-attr]
    return list(zip(found[::2], found[1::2], strict=True))


def _shapes(net: str) -> list[tuple[int, ...]]:
    return [tuple(layer.weight.shape) for layer, _ in _trunk(NETS[net]())]


def _identify(trunk: Sequence[LayerArrays]) -> str:
    """Which net has this trunk: "pnet", "rnet" or "onet". Raises CheckpointError for none of them."""
    shapes = [layer.weight.shape for layer in trunk]
    for net in NETS:
        if shapes == _shapes(net):
            return net
    want = "; ".join(f"{net} {_list(_shapes(net))}" for net in NETS)
    raise CheckpointError(f"holds layers {_list(shapes) or 'of no kind'}; expected one of {want}")


def _list(shapes: Sequence[tuple[int, ...]]) -> str:
    return " ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _upright(weight: Array, orientation: Orientation, channels: int) -> Array:
    """The weight for an image with y before x, and a map of `channels` that is flattened c, y, x."""
    if weight.ndim == 4:
        return weight.transpose(0, 1, 3, 2) if orientation.swapped else weight
    side = round((weight.shape[1] / channels) ** 0.5)
    if orientation.flattened == "xyc":
        weight = weight.reshape(-1, side, side, channels).transpose(0, 3, 2, 1)  # (out, x, y, c) -> (out, c, y, x)
    else:
        weight = weight.reshape(-1, channels, side, side).transpose(0, 1, 3, 2)  # (out, c, x, y) -> (out, c, y, x)
    return weight.reshape(len(weight), -1)  # (out, c, y, x) -> (out, in)


def _heads(net: str, layers: Sequence[LayerArrays], features: int) -> dict[str, LayerArrays]:
    heads: dict[str, LayerArrays] = {}
    for layer in layers:
        name = HEADS.get(layer.weight.shape[0], "")
        if not name or name in heads or layer.weight.shape[1:2] != (features,):
            raise CheckpointError(
                f"holds a head {_list([layer.weight.shape])} in {net}; expected {features} inputs and outputs 2, 4, 10"
            )
        heads[name] = layer
    if net != "onet":
        heads.pop("landmarks", None)  # the authors' RNet has one that was never trained
    wanted = [f"{name} ({count})" for count, name in HEADS.items() if name != "landmarks" or net == "onet"]
    if len(heads) < len(wanted):
        raise CheckpointError(f"holds heads {', '.join(heads) or 'of no kind'} in {net}; expected {', '.join(wanted)}")
    return heads


def to_state(found: Found) -> tuple[str, dict[str, Tensor]]:
    """The net ("pnet", "rnet" or "onet") and its parameters, named as in `nets`, for upright images.

    The two outputs of the face head are no face, then face, in all projects, and in ours.

    Raises CheckpointError if the layers are not those of a net of the cascade, or hold NaN or infinity.
    """
    for layer in found.layers:
        if layer.weight.ndim not in (2, 4) or layer.bias.shape != layer.weight.shape[:1]:
            both = _list([layer.weight.shape, layer.bias.shape])
            raise CheckpointError(f"holds a weight and a bias of {both}; expected as many rows as biases")
    trunk = [layer for layer in found.layers if layer.slope is not None]
    net = _identify(trunk)
    heads = _heads(net, [layer for layer in found.layers if layer.slope is None], trunk[-1].weight.shape[0])
    module = NETS[net]()
    channels = 0  # of the map that a layer sees
    for layer, (target, prelu) in zip(trunk, _trunk(module), strict=True):
        _fill(target.weight, _upright(layer.weight, found.orientation, channels))
        _fill(target.bias, layer.bias)
        _fill(prelu.weight, layer.slope)
        channels = len(layer.weight)
    for name, layer in heads.items():
        target = getattr(module, name)
        rows = LANDMARK_ROWS if name == "landmarks" else slice(None)
        _fill(target.weight, layer.weight[rows])
        _fill(target.bias, layer.bias[rows])
    return net, module.state_dict()


def _fill(parameter: Tensor | None, values: Array | None) -> None:
    """Copy values of the file into a parameter of ours."""
    assert parameter is not None and values is not None
    if values.shape != parameter.shape:
        raise CheckpointError(f"holds {_list([values.shape])} values; expected {_list([tuple(parameter.shape)])}")
    if not np.isfinite(values).all():
        raise CheckpointError("holds NaN or infinity; expected finite weights")
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(values, np.float32)))  # a copy: the file's bytes are read-only
