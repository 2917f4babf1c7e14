"""PNet, RNet and ONet in facenet-pytorch's layout, so that programs written for it can load, save and call them.

Changes to these modules take effect: `finder` checks their parameters at each detection. They still run as compiled
code on a CPU, and as the modules of `nets` on other devices.

Differences from `nets`: layer names, the order in which the last map is flattened (x, y, channels), the order of
landmarks (five x, then five y), and the outputs: offsets, landmarks (ONet only) and probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..checkpoint import load_weights, packaged_weights, weights_path
from ..errors import CheckpointError
from ..scoring import Scoring
from ..weights import Weights

__all__ = ["FACENET_ARITHMETIC", "CascadeNet", "ONet", "PNet", "RNet"]

Array = NDArray[Any]

FACENET_ARITHMETIC = "facenet-pytorch"
"""Key of `importers.arithmetic.ARITHMETICS` for a state_dict that does not record its arithmetic."""

LANDMARK_ROWS = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]  # our rows x1 y1 x2 y2 ..., as indices into five x and five y

SAME_NET = 0.9
"""Minimum cosine similarity of two states of the same net, one of which may be fine-tuned, averaged or rounded."""


class CascadeNet(nn.Module):
    """Base of the three nets: conversion from and to `Weights`, and what a state_dict records besides parameters.

    arithmetic  the pixel arithmetic of the cascade around this net: "" for this project's, otherwise a key of
                `importers.arithmetic.ARITHMETICS`.
    scoring     see `scoring.Scoring`.
    has_landmarks  see `weights.Weights`.

    A `state_dict()` records all three in its metadata. One without them, such as facenet-pytorch's pnet.pt, is for
    facenet-pytorch's arithmetic, unless it is a plain dict with parameters close to the current ones.
    """

    net: ClassVar[str]
    names: ClassVar[dict[str, str]]  # layer in `weights.LAYERS` -> layer here
    last_map: ClassVar[tuple[str, int, int]] = ("", 0, 0)  # the layer that follows the flattening, channels and side

    def __init__(self, pretrained: bool = True) -> None:
        """pretrained  start from the weights that ship with this project; otherwise from random ones."""
        super().__init__()
        self.arithmetic, self.scoring, self.has_landmarks = "", Scoring(), True
        with torch.random.fork_rng(devices=[], enabled=pretrained):  # the initial values are replaced at once
            self._build()
        self.eval()
        if pretrained:
            self.fill(load_weights(weights_path(packaged_weights(), self.net), self.net))

    @classmethod
    def of(cls, weights: Weights, arithmetic: str = "") -> Self:
        """A module with the weights of a net."""
        with torch.random.fork_rng(devices=[]):
            module = cls(pretrained=False)
        module.fill(weights, arithmetic)
        return module

    def _build(self) -> None:
        raise NotImplementedError

    def weights(self) -> Weights:
        """The parameters in this project's layout. Raises CheckpointError for NaN, infinity and changed layers."""
        state = {name: values.detach().float().cpu().numpy() for name, values in self.named_parameters()}
        ours: dict[str, Array] = {}
        for layer, name in self.names.items():
            for role in ("weight", "bias"):
                if f"{name}.{role}" in state:
                    values = self._flattened(name, role, state[f"{name}.{role}"], "xyc")
                    ours[f"{layer}.{role}"] = values[LANDMARK_ROWS] if layer == "landmarks" else values
        if not all(np.isfinite(values).all() for values in ours.values()):
            raise CheckpointError(f"{self.net} holds NaN or infinity; expected finite weights; load them again")
        try:
            return Weights(self.net, ours, self.scoring, self.has_landmarks)
        except ValueError as error:  # the program has replaced layers
            raise CheckpointError(f"{self.net} does not fit: {error}") from error

    def fill(self, weights: Weights, arithmetic: str = "") -> None:
        """Copy the parameters and scoring of a net of the same name, and set its arithmetic."""
        self.arithmetic, self.scoring, self.has_landmarks = arithmetic, weights.scoring, weights.has_landmarks
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for ours, values in weights.state.items():
                layer, role = ours.rsplit(".", 1)
                name = self.names[layer]
                values = self._flattened(name, role, values, "cyx")
                rows = np.argsort(LANDMARK_ROWS) if layer == "landmarks" else slice(None)
                parameters[f"{name}.{role}"].copy_(torch.from_numpy(np.array(values[rows], np.float32)))

    def _flattened(self, name: str, role: str, values: Array, order: str) -> Array:
        """Convert the weight (out, in) after the last map from input order "xyc" or "cyx" to the other."""
        layer, channels, side = self.last_map
        if name != layer or role != "weight":
            return values
        shape = (-1, side, side, channels) if order == "xyc" else (-1, channels, side, side)
        return values.reshape(shape).transpose(0, 3, 2, 1).reshape(len(values), -1)  # (out, x, y, c) <-> (out, c, y, x)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None:
            metadata.update(
                arithmetic=self.arithmetic, scoring=dict(vars(self.scoring)), has_landmarks=self.has_landmarks
            )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *more: Any
    ) -> None:
        given = {name: state_dict[prefix + name] for name, _ in self.named_parameters() if prefix + name in state_dict}
        foreign = "version" in local_metadata or not self.resembles(given)  # compared before loading
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)
        if "arithmetic" in local_metadata:
            self.arithmetic = str(local_metadata["arithmetic"])
            self.scoring = Scoring(**local_metadata["scoring"])
            self.has_landmarks = bool(local_metadata.get("has_landmarks", True))
        elif given and foreign:
            self.arithmetic, self.scoring, self.has_landmarks = FACENET_ARITHMETIC, Scoring(), True

    def resembles(self, given: Mapping[str, Tensor]) -> bool:
        """Whether the tensors are close to this net's parameters: cosine similarity of SAME_NET or more."""
        pairs = [(given[name], own) for name, own in self.named_parameters() if name in given]
        if any(new.shape != own.shape for new, own in pairs) or not pairs:
            return False
        new, own = (torch.cat([pair[i].detach().cpu().double().flatten() for pair in pairs]) for i in (0, 1))
        return bool(new @ own >= SAME_NET * new.norm() * own.norm())


class PNet(CascadeNet):
    """(N, 3, H, W), scaled by (x - 127.5) / 128, to offsets (N, 4, h, w) and probabilities (N, 2, h, w)."""

    net = "pnet"
    names: ClassVar = {
        "trunk.0": "conv1", "trunk.1.prelu": "prelu1", "trunk.2": "conv2", "trunk.3": "prelu2",
        "trunk.4": "conv3", "trunk.5": "prelu3", "face": "conv4_1", "offsets": "conv4_2",
    }  # fmt: skip

    def _build(self) -> None:
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.softmax4_1 = nn.Conv2d(32, 2, 1), nn.Softmax(dim=1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        return self.conv4_2(x), self.softmax4_1(self.conv4_1(x))


class RNet(CascadeNet):
    """(N, 3, 24, 24) to offsets (N, 4) and probabilities (N, 2)."""

    net = "rnet"
    names: ClassVar = {
        "trunk.0": "conv1", "trunk.1.prelu": "prelu1", "trunk.2": "conv2", "trunk.3.prelu": "prelu2",
        "trunk.4": "conv3", "trunk.5": "prelu3", "trunk.7": "dense4", "trunk.8": "prelu4",
        "face": "dense5_1", "offsets": "dense5_2",
    }  # fmt: skip
    last_map = ("dense4", 64, 3)

    def _build(self) -> None:
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.softmax5_1 = nn.Linear(128, 2), nn.Softmax(dim=1)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = x.permute(0, 3, 2, 1).flatten(1)  # (N, 64, y, x) -> (N, x * y * 64)
        x = self.prelu4(self.dense4(x))
        return self.dense5_2(x), self.softmax5_1(self.dense5_1(x))


class ONet(CascadeNet):
    """(N, 3, 48, 48) to offsets (N, 4), landmarks (N, 10), five x and five y, and probabilities (N, 2)."""

    net = "onet"
    names: ClassVar = {
        "trunk.0": "conv1", "trunk.1.prelu": "prelu1", "trunk.2": "conv2", "trunk.3.prelu": "prelu2",
        "trunk.4": "conv3", "trunk.5.prelu": "prelu3", "trunk.6": "conv4", "trunk.7": "prelu4",
        "trunk.9": "dense5", "trunk.11": "prelu5", "face": "dense6_1", "offsets": "dense6_2", "landmarks": "dense6_3",
    }  # fmt: skip
    last_map = ("dense5", 128, 3)

    def _build(self) -> None:
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.softmax6_1 = nn.Linear(256, 2), nn.Softmax(dim=1)
        self.dense6_2, self.dense6_3 = nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = x.permute(0, 3, 2, 1).flatten(1)  # (N, 128, y, x) -> (N, x * y * 128)
        x = self.prelu5(self.dense5(x))
        return self.dense6_2(x), self.dense6_3(x), self.softmax6_1(self.dense6_1(x))
