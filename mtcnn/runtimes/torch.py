"""Nets run by torch, on any device: single-stage detectors, PNet over levels of the pyramid, RNet and ONet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..devices import plain_torch
from ..engine.pnet import Cells
from ..engine.refine import Refined
from ..nets import scaled, to_input
from ..pyramid import CELL, STRIDE, map_size
from ..types import ImageSize
from ..weights import Scaling

__all__ = ["TorchPNet", "TorchRefiner", "TorchRuntime", "fold_norms"]

Array = NDArray[Any]

STRIP = 1 << 16  # pixels of a level per pass of PNet in torch


class TorchRuntime:
    """A single-stage detector: a net that returns a dict of tensors, batch first, for input with this scaling."""

    def __init__(self, net: nn.Module, scaling: Scaling, device: str = "cpu") -> None:
        self.net, self.scaling, self.device = net, scaling, device

    @property
    def engine(self) -> str:
        return f"torch on {self.device}"

    @plain_torch()
    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        outputs = self.net(to_input(image[None], self.device, self.scaling))
        return {name: output[0].cpu().numpy() for name, output in outputs.items()}


def fold_norms(net: nn.Module) -> nn.Module:
    """Fold batch norms into the preceding convolutions, in place: equal to a millionth, and faster.

    Only for adjacent layers of an nn.Sequential, which most are. The net cannot be trained further.
    """
    for layer in list(net.modules()):
        if not isinstance(layer, nn.Sequential):
            continue
        for place in range(len(layer) - 1):
            convolution, norm = layer[place], layer[place + 1]
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                transpose = isinstance(convolution, nn.ConvTranspose2d)
                layer[place], layer[place + 1] = fuse_conv_bn_eval(convolution, norm, transpose), nn.Identity()
    return net


# ---- the cascade


class TorchPNet:
    """A fully convolutional net of 12-pixel cells at stride 2, run by torch."""

    def __init__(self, net: nn.Module, device: str) -> None:
        self.net, self.device = net, device

    @plain_torch()
    @torch.inference_mode()
    def cells(self, level: Array, min_logit: float, first: int, last: int) -> Cells:
        """In horizontal strips: the values are those of one pass, and memory does not grow with the image.

        The activations of a strip stay in the processor's cache.
        """
        height, width = level.shape[:2]
        total = map_size(ImageSize(height, width)).height
        step = max(STRIP // (STRIDE * width), 8)
        found = []
        for row in range(first, last, step):
            # The last strip takes the remainder: pooling rounds up only at the true end of the level.
            below = min(row + step, last)
            end = height if below >= total else STRIDE * below + CELL - STRIDE
            output = self.net(to_input(level[None, STRIDE * row : end], self.device))
            logits, offsets = output.face_logits[0].cpu().numpy(), output.offsets[0].cpu().numpy()
            rows, columns = np.nonzero(logits >= min_logit)
            found.append(Cells(rows + row, columns, logits[rows, columns], offsets[:, rows, columns].T))
        return Cells(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    @plain_torch()
    @torch.inference_mode()
    def pyramid(self, levels: Sequence[Array], min_logit: float) -> list[Cells]:
        """The cells of each of `levels`, which go to the device together; what passes comes back together."""
        pixels = torch.from_numpy(np.concatenate([level.ravel() for level in levels])).to(self.device)
        flat = torch.split(pixels, [level.size for level in levels])
        maps = [self.net(scaled(part.view(1, *level.shape))) for part, level in zip(flat, levels, strict=True)]
        logits = torch.cat([output.face_logits.flatten() for output in maps])
        offsets = torch.cat([output.offsets[0].flatten(1) for output in maps], dim=1)  # (4, cells of all levels)
        index = (logits >= min_logit).nonzero()[:, 0]
        found = torch.cat([index[None], logits[None, index], offsets[:, index]]).double().cpu().numpy()
        ends = np.cumsum([output.face_logits.numel() for output in maps])
        cuts = np.searchsorted(found[0], ends)
        parts = zip(maps, ends, np.split(found, cuts[:-1], axis=1), strict=True)
        return [
            _placed(part, end - output.face_logits.numel(), output.face_logits.shape[2]) for output, end, part in parts
        ]


def _placed(found: Array, start: int, columns: int) -> Cells:
    """Rows of index, logit and offsets (6, N) as cells of a map that begins at index `start`."""
    rows, places = np.divmod(found[0].astype(np.int64) - start, columns)
    return Cells(rows, places, found[1].astype(np.float32), found[2:].T.astype(np.float32))


class TorchRefiner:
    """A net over crops, run by torch."""

    def __init__(self, net: nn.Module, device: str) -> None:
        self.net, self.device = net, device

    @plain_torch()
    @torch.inference_mode()
    def __call__(self, crops: Array) -> Refined:
        output = self.net(to_input(crops, self.device))
        points = [] if output.landmarks is None else [output.landmarks.flatten(1)]  # (N, 5, 2) -> (N, 10)
        table = torch.cat([output.face_logits[:, None], output.offsets, *points], dim=1).cpu().numpy()  # one transfer
        landmarks = table[:, 5:].reshape(-1, 5, 2) if points else None
        return Refined(table[:, 0], table[:, 1:5], landmarks)
