"""Files of light detectors as their authors publish them, made of nets of ours: names and orders are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from published_detectors import NORM, normed, random_state, renamed
from torch import Tensor

from mtcnn.detectors.load import build


def linzaer_names(rfb: bool) -> Iterator[str]:
    """Linzaer's slim or RFB: a block of one convolution, twelve of two or, the eighth of RFB, of ten; then the rest."""
    yield from normed("base_net.0.0")
    yield from _separable_names([f"base_net.{number}" for number in range(1, 13)], "base_net.7" if rfb else None)
    for layer in ("extras.0.0", "extras.0.2.0", "extras.0.2.2"):
        yield from _biased(layer)
    yield from _ultralight_heads("classification_headers", "regression_headers")


def landmark_names(rfb: bool) -> Iterator[str]:
    """The same nets of biubug6's Face-Detector-1MB-with-landmark."""
    yield from normed("conv1.0")
    yield from _separable_names([f"conv{number}" for number in range(2, 14)], "conv8" if rfb else None)
    for layer in ("conv14.0", "conv14.2.0", "conv14.2.2"):
        yield from _biased(layer)
    yield from _ultralight_heads("conf", "loc", "landm")


def _biased(name: str) -> Iterator[str]:
    yield from (f"{name}.weight", f"{name}.bias")


def _separable_names(blocks: list[str], wide: str | None) -> Iterator[str]:
    for name in blocks:
        if name == wide:
            layers = [f"branch{branch}.{layer}" for branch, count in enumerate((3, 3, 4)) for layer in range(count)]
            for layer in (*layers, "ConvLinear", "shortcut"):
                yield from normed(f"{name}.{layer}.conv", f"{name}.{layer}.bn")
        else:
            yield from normed(f"{name}.0")
            yield from normed(f"{name}.3")


def _ultralight_heads(*heads: str) -> Iterator[str]:
    for head in heads:
        for level in range(3):
            yield from _biased(f"{head}.{level}.0")
            yield from _biased(f"{head}.{level}.2")
        yield from _biased(f"{head}.3")


def ultralight_state(name: str) -> dict[str, Tensor]:
    """What the file of "slim", "rfb" or one of them with "-landmarks" holds of the net that `random_state` makes."""
    rfb = name.startswith("rfb")
    state = random_state(build(name))
    if not name.endswith("landmarks"):
        return renamed(state, linzaer_names(rfb))
    found = renamed(state, landmark_names(rfb))
    return {**found, "conv1.0.weight": found["conv1.0.weight"][:, [2, 1, 0]]}


def yunet_names(shared: int) -> Iterator[str]:
    """YuNet of libfacedetection.train, in the order of our modules."""
    yield from (f"backbone.model0.conv1.{part}" for part in ("weight", "bias"))
    yield from (f"backbone.model0.bn1.{part}" for part in NORM)
    blocks = ["backbone.model0.conv2", *(f"backbone.model{i}.conv{k}" for i in range(1, 6) for k in (1, 2))]
    blocks += [f"neck.lateral_convs.{i}" for i in range(3)]
    blocks += [f"bbox_head.multi_level_share_convs.{i}.{k}" for i in range(3) for k in range(shared)]
    for block in blocks:
        yield from _biased(f"{block}.conv1")
        yield from _biased(f"{block}.conv2")
        yield from (f"{block}.bn.{part}" for part in NORM)
    for head in ("cls", "obj", "bbox", "kps"):
        for level in range(3):
            yield from _biased(f"bbox_head.multi_level_{head}.{level}.conv1")
            yield from _biased(f"bbox_head.multi_level_{head}.{level}.conv2")


def yunet_state(name: str) -> dict[str, Any]:
    """What the training program of "yunet-n" or "yunet-s" saves: the net, which sees BGR, among other things."""
    state = renamed(random_state(build(name)), yunet_names(1 if name == "yunet-n" else 0))
    first = "backbone.model0.conv1.weight"
    return {
        "meta": {"epoch": 1},
        "state_dict": {**state, first: state[first][:, [2, 1, 0]]},
        "optimizer": {"state": {}},
    }
