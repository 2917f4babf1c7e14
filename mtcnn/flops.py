"""The cost of a net: its parameters, and its multiply-adds for an image size, counted on meta tensors, part by part.

Papers count differently, so kinds of work are counted separately. `Cost.thop` adds them like the package thop, whose
figures many projects report: 193.9 M for RetinaFace with MobileNet-0.25 at 320 x 240. `Cost.mmcv` adds them like mmcv
of 2021, in which SCRFD's figures are given.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .nets import parameter_count

__all__ = ["Cost", "Part", "cost", "part_of"]

TRUNK = ("trunk", "stem", "stages")
HEAD = ("heads", "scales", "shared", "classes", "boxes", "landmarks", "face", "offsets")
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)


class Part(NamedTuple):
    """Counts of a part of a net, see `part_of`."""

    name: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Cost:
    """Counts for one image.

    parameters     learned parameters.
    multiply_adds  of convolutions and fully connected layers, each a multiplication and an addition.
    biases         additions of a bias.        normalised  values in batch norm.
    activated      values in ReLU and its kin, where it is a layer.    pooled  values that go into pooling layers.
    parts          the first two by part, in the order of the net.
    """

    parameters: int
    multiply_adds: int
    biases: int
    normalised: int
    activated: int
    pooled: int
    parts: tuple[Part, ...]

    @property
    def thop(self) -> int:
        """As counted by thop: one per multiply-add, one per bias, and four per batch norm value, although batch norm
        can be folded into the preceding convolution after training."""
        return self.multiply_adds + self.biases + 4 * self.normalised

    @property
    def mmcv(self) -> int:
        """As counted by mmcv: one per multiply-add, bias and value in ReLU or pooling, two per batch norm value. Group
        norm is not counted."""
        return self.multiply_adds + self.biases + 2 * self.normalised + self.activated + self.pooled


def part_of(name: str) -> str:
    """The part that the layer or parameter `name` of a net belongs to: "stem", "stage 1" and so on of the trunk,
    "head", or "neck" for all that lies between. "trunk" for a trunk that has no stages.
    """
    first, *rest = name.split(".")
    if first in HEAD:
        return "head"
    if first not in TRUNK:
        return "neck"
    if first == "trunk" and rest and not rest[0].isdecimal():  # a module of its own, not a list of layers
        first, *rest = rest
    if first in ("stages", "blocks") and rest:
        return f"stage {int(rest[0]) + 1}"
    if first.startswith("layer") and first[5:].isdecimal():  # torchvision's names
        return f"stage {first[5:]}"
    return "trunk" if first == "trunk" else "stem"


def cost(net: nn.Module, height: int, width: int) -> Cost:
    """Counts of a net, or a trunk, for one image or crop of `height` x `width` pixels; the net is not changed."""
    net = copy.deepcopy(net).to("meta").eval()  # shapes only
    counts = dict.fromkeys(("multiply_adds", "biases", "normalised", "activated", "pooled"), 0)
    work: dict[str, int] = {}

    def count(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found = _work(layer, inputs[0], output)
        for kind, number in found.items():
            counts[kind] += number
        part = part_of(name)
        work[part] = work.get(part, 0) + found.get("multiply_adds", 0)

    for name, layer in net.named_modules():
        if not any(layer.children()) or isinstance(layer, nn.BatchNorm2d):  # timm's has an activation within
            layer.register_forward_hook(lambda layer, inputs, output, name=name: count(name, layer, inputs, output))
    with torch.inference_mode():
        net(torch.empty(1, 3, height, width, device="meta"))
    return Cost(parameter_count(net), **counts, parts=_parts(net, work))


def _work(layer: nn.Module, x: Tensor, output: Tensor) -> dict[str, int]:
    """What a layer does, by kind."""
    if isinstance(layer, nn.BatchNorm2d):
        return {"normalised": output.numel()}
    if isinstance(layer, ACTIVATIONS):
        return {"activated": output.numel()}
    if isinstance(layer, POOLS):
        return {"pooled": x.numel()}
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return {}
    # The weights of a transposed convolution are (in, out, h, w): each input goes to so many outputs.
    source = x if isinstance(layer, nn.ConvTranspose2d) else output
    biases = output.numel() if layer.bias is not None else 0
    return {"multiply_adds": source.numel() * layer.weight[0].numel(), "biases": biases}


def _parts(net: nn.Module, work: dict[str, int]) -> tuple[Part, ...]:
    parameters: dict[str, int] = {}
    for name, value in net.named_parameters():
        parameters[part_of(name)] = parameters.get(part_of(name), 0) + value.numel()
    # Layers that do nothing, such as nn.Identity in the place of a neck, are no part.
    names = [*parameters, *(name for name, done in work.items() if done and name not in parameters)]
    return tuple(Part(name, parameters.get(name, 0), work.get(name, 0)) for name in names)
