"""What runs a net: compiled code for the three nets on a CPU, torch for any other net or device.

Both answer alike within the rounding of float32; `tests/test_engine.py` compares them.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..nets import ONet, PNet, RNet, to_input
from ..pyramid import CELL, STRIDE, map_size
from ..types import ImageSize
from .pnet import Cells, FastPNet
from .refine import FastRefiner, Refined

__all__ = ["Cells", "CropRunner", "MapRunner", "Refined", "crop_runner", "map_runner"]

Array = NDArray[Any]

STRIP = 1 << 16  # pixels of a level that torch's PNet sees at a time


class MapRunner(Protocol):
    """Stage 1 on a level of the pyramid."""

    def cells(self, level: Array, least: float, first: int, last: int) -> Cells:
        """The cells of level (H, W, 3), uint8 or float32 from 0 to 255, whose logit reaches `least`, row by row.

        first, last  rows of the map to look at.
        """


class CropRunner(Protocol):
    """Stage 2 or 3 on crops (N, side, side, 3), uint8 or float32 from 0 to 255."""

    def __call__(self, crops: Array) -> Refined: ...


class TorchPNet:
    """A fully convolutional net of 12-pixel cells at stride 2, run by torch in horizontal strips.

    The values are those of one pass. A strip keeps the activations in the processor's cache, and memory does not grow
    with the image.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        self.net, self.device = net, device

    @torch.inference_mode()
    def cells(self, level: Array, least: float, first: int, last: int) -> Cells:
        height, width = level.shape[:2]
        total = map_size(ImageSize(height, width)).height
        step = max(STRIP // (STRIDE * width), 8)
        found = []
        for row in range(first, last, step):
            # The last strip takes all that is left: pooling rounds up only at the true end of the level.
            below = min(row + step, last)
            end = height if below >= total else STRIDE * below + CELL - STRIDE
            output = self.net(to_input(level[None, STRIDE * row : end], self.device))
            logits, offsets = output.face_logits[0].cpu().numpy(), output.offsets[0].cpu().numpy()
            rows, columns = np.nonzero(logits >= least)
            found.append(Cells(rows + row, columns, logits[rows, columns], offsets[:, rows, columns].T))
        return Cells(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class TorchRefiner:
    """A net over crops, run by torch."""

    def __init__(self, net: nn.Module, device: str) -> None:
        self.net, self.device = net, device

    @torch.inference_mode()
    def __call__(self, crops: Array) -> Refined:
        output = self.net(to_input(crops, self.device))
        landmarks = None if output.landmarks is None else output.landmarks.cpu().numpy()
        return Refined(output.face_logits.cpu().numpy(), output.offsets.cpu().numpy(), landmarks)


class _Known:
    """The compiled form of nets, each packed once, and again when its weights have changed."""

    def __init__(self) -> None:
        self.nets: WeakKeyDictionary[nn.Module, tuple[Any, Any]] = WeakKeyDictionary()

    def packed(self, net: nn.Module, make: Any) -> Any:
        state = [(weights.data_ptr(), weights._version) for weights in net.parameters()]
        found = self.nets.get(net)
        if found is None or found[0] != state:
            self.nets[net] = found = (state, make(net))
        return found[1]


_known = _Known()


def map_runner(net: nn.Module, device: str) -> MapRunner:
    """What runs PNet, or a net with its cells and stride."""
    if device == "cpu" and type(net) is PNet:
        return _known.packed(net, FastPNet)  # type: ignore[no-any-return]
    return TorchPNet(net, device)


def crop_runner(net: nn.Module, device: str) -> CropRunner:
    """What runs RNet, ONet or a net that answers like them."""
    if device == "cpu" and type(net) in (RNet, ONet):
        return _known.packed(net, FastRefiner)  # type: ignore[no-any-return]
    return TorchRefiner(net, device)
