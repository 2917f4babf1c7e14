"""The cost of a net: its parameters, and its multiply-adds for an image size, counted on meta tensors.

Papers count differently, so the parts are counted separately. `Cost.thop` adds them like the package thop, whose
figures many projects report: 193.9 M for RetinaFace with MobileNet-0.25 at 320 x 240.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .nets import parameter_count

__all__ = ["Cost", "cost"]


@dataclass(frozen=True)
class Cost:
    """Counts for one image.

    parameters     learned parameters.
    multiply_adds  of convolutions and fully connected layers, each a multiplication and an addition.
    biases         additions of a bias.        normalised  values in batch norm.
    """

    parameters: int
    multiply_adds: int
    biases: int
    normalised: int

    @property
    def thop(self) -> int:
        """As counted by thop: one per multiply-add, one per bias, and four per batch norm value, although batch norm
        can be folded into the preceding convolution after training."""
        return self.multiply_adds + self.biases + 4 * self.normalised


def cost(net: nn.Module, height: int, width: int) -> Cost:
    """Counts of a net, or a trunk, for one image or crop of `height` x `width` pixels; the net is not changed."""
    net = copy.deepcopy(net).to("meta").eval()  # shapes only
    counts = {"multiply_adds": 0, "biases": 0, "normalised": 0}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.BatchNorm2d):
            counts["normalised"] += output.numel()
        elif isinstance(layer, nn.ConvTranspose2d):  # weight (in, out, h, w): each input goes to so many outputs
            counts["multiply_adds"] += inputs[0].numel() * layer.weight[0].numel()
            counts["biases"] += output.numel() if layer.bias is not None else 0
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            counts["multiply_adds"] += output.numel() * layer.weight[0].numel()
            counts["biases"] += output.numel() if layer.bias is not None else 0

    for layer in net.modules():
        layer.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.empty(1, 3, height, width, device="meta"))
    return Cost(parameter_count(net), **counts)
