"""Files of light detectors in their authors' formats, with their names and orders, made from our nets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from published_detectors import NORM, normed, random_state, renamed
from published_weights import field, varint
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


def centerface_onnx() -> bytes:
    """An .onnx with the arrays of CenterFace's: batch norms folded, and their convolutions numbered from 542 on, all
    even numbers; the heads and the transposed convolutions by name; a count for each norm, as an input has it."""
    state = random_state(build("centerface"))
    lateral = [f"lateral.{level}" for level in (2, 1, 0)]
    places = [
        name.removesuffix(".0.weight") for name in state if name.startswith("trunk") and name.endswith(".0.weight")
    ]
    arrays: dict[str, Tensor] = {}
    for number, place in enumerate((*places, "top", *lateral, "merge")):
        gain = state[f"{place}.1.weight"] / torch.sqrt(state[f"{place}.1.running_var"] + 1e-5)
        arrays[str(542 + 4 * number)] = state[f"{place}.0.weight"] * gain[:, None, None, None]
        arrays[str(544 + 4 * number)] = state[f"{place}.1.bias"] - state[f"{place}.1.running_mean"] * gain
    for level in range(3):
        arrays[f"neck.deconv_layers.{level}.conv.weight"] = state[f"enlarge.{level}.0.weight"]
        for part in NORM[:4]:
            arrays[f"neck.deconv_layers.{level}.bn.{part}"] = state[f"enlarge.{level}.1.{part}"]
    for head, name in {"logits": "pos", "sizes": "reg", "offsets": "off", "landmarks": "lm"}.items():
        for part in ("weight", "bias"):
            arrays[f"head.{name}_conv.{part}"] = state[f"heads.{head}.{part}"]
    shuffled = sorted(arrays)  # as text, so that 1000 would come before 542
    graph = b"".join(field(5, _tensor(name, arrays[name].numpy())) for name in shuffled)
    count = field(5, varint(2 << 3) + varint(7) + field(8, b"bn.num_batches_tracked") + field(9, bytes(8)))
    return b"\x08\x04" + field(2, b"pytorch") + field(7, graph + count)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    """A TensorProto of float32."""
    dims = b"".join(varint(1 << 3) + varint(side) for side in values.shape)
    return dims + varint(2 << 3) + varint(1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes())
