"""Weights files of single-stage detectors and trunks in the formats of other projects, made from our nets.

Written from the other side, as `foreign` is: the names are those that the projects' own classes give.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from published_weights import field, varint
from torch import Tensor, nn

from mtcnn.detectors.load import build
from mtcnn.detectors.trunks import TRUNKS

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
VGG_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of torchvision's vgg16: its convolutions


def random_state(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Numbers for all parameters and counts of a net; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in net.state_dict().items():
        noise = torch.randn(value.shape, generator=generator) / 10
        state[name] = noise.abs() + 1 if name.endswith("running_var") else noise
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
    return state


def normed(name: str, norm: str | None = None) -> Iterator[str]:
    """A convolution without bias and its batch norm."""
    yield f"{name}.weight"
    start, _, number = name.rpartition(".")
    yield from (f"{norm or f'{start}.{int(number) + 1}'}.{part}" for part in NORM)


def mobilenet_names(prefix: str) -> Iterator[str]:
    """MobileNetV1 of Pytorch_Retinaface: six, six and two blocks, all but the first of two convolutions."""
    for stage, blocks in ((1, 6), (2, 6), (3, 2)):
        for block in range(blocks):
            name = f"{prefix}stage{stage}.{block}"
            yield from normed(f"{name}.0")
            if (stage, block) != (1, 0):
                yield from normed(f"{name}.3")


def resnet_names(prefix: str) -> Iterator[str]:
    """ResNet-50 of torchvision."""
    yield from normed(f"{prefix}conv1", f"{prefix}bn1")
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name = f"{prefix}layer{layer}.{block}"
            for number in (1, 2, 3):
                yield from normed(f"{name}.conv{number}", f"{name}.bn{number}")
            if block == 0:
                yield from normed(f"{name}.downsample.0")


def retinaface_names(trunk: Iterator[str]) -> Iterator[str]:
    """RetinaFace of Pytorch_Retinaface, in the order of our modules, which is its own."""
    yield from trunk
    for layer in ("output1", "output2", "output3", "merge1", "merge2"):
        yield from normed(f"fpn.{layer}.0")
    for level in (1, 2, 3):
        for layer in ("conv3X3", "conv5X5_1", "conv5X5_2", "conv7X7_2", "conv7x7_3"):
            yield from normed(f"ssh{level}.{layer}.0")
    for head in ("ClassHead", "BboxHead", "LandmarkHead"):
        for level in range(3):
            yield from (f"{head}.{level}.conv1x1.{part}" for part in ("weight", "bias"))


def renamed(state: Mapping[str, Tensor], names: Iterator[str]) -> dict[str, Tensor]:
    return dict(zip(names, (value.clone() for value in state.values()), strict=True))


def retinaface_state(name: str = "retinaface") -> dict[str, Tensor]:
    """The net of `random_state` as Pytorch_Retinaface stores it, for BGR."""
    trunk = resnet_names("body.") if name == "retinaface-r50" else mobilenet_names("body.")
    state = renamed(random_state(build(name)), retinaface_names(trunk))
    first = next(iter(state))
    return {**state, first: state[first][:, [2, 1, 0]]}


def mobilenet_state() -> dict[str, Tensor]:
    """The trunk's state_dict, with its 1000 classes, under torch's DataParallel."""
    state = renamed(random_state(TRUNKS["trunk-mobilenet"]()), mobilenet_names("module."))
    return {**state, "module.fc.weight": torch.zeros(1000, 256), "module.fc.bias": torch.zeros(1000)}


def resnet_state() -> dict[str, Tensor]:
    state = renamed(random_state(TRUNKS["trunk-resnet50"]()), resnet_names(""))
    return {**state, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


def shufflenet_names() -> Iterator[str]:
    """ShuffleNetV2 0.5x of its authors, in the order of our modules."""
    yield from normed("first_conv.0", "first_conv.1")
    for stage, count in ((2, 4), (3, 8), (4, 4)):
        for unit in range(count):
            branches = {"main": (0, 3, 5), **({"proj": (0, 2)} if unit == 0 else {})}
            for branch, places in branches.items():
                for place in places:
                    start = f"stage{stage}.{unit}.branch_{branch}"
                    yield from normed(f"{start}.{place}", f"{start}.{place + 1}")


def shufflenet_state() -> dict[str, Tensor]:
    """The file of ShuffleNetV2's authors, for BGR, with the last convolution of the classifier."""
    state = renamed(random_state(TRUNKS["trunk-shufflenet"]()), shufflenet_names())
    first = "first_conv.0.weight"
    return {**state, first: state[first][:, [2, 1, 0]], "conv_last.0.weight": torch.zeros(1024, 192, 1, 1)}


def vgg_state() -> dict[str, Tensor]:
    names = (f"features.{number}.{part}" for number in VGG_FEATURES for part in ("weight", "bias"))
    return {**renamed(random_state(TRUNKS["trunk-vgg16"]()), names), "classifier.6.bias": torch.zeros(1000)}


def saved(content: object, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def _old_blob(values: Tensor) -> bytes:
    """A blob before 2014: four sides in fields of their own, ones in front."""
    sides = [1] * (4 - values.ndim) + list(values.shape)
    dims = b"".join(varint(number << 3) + varint(side) for number, side in enumerate(sides, 1))
    return field(6, dims + field(5, values.numpy().astype(np.float32).astype("<f4").tobytes()))


def caffe_vgg() -> bytes:
    """VGG_ILSVRC_16_layers.caffemodel: layers of version 1, blue before red, and a fully connected layer behind."""
    state = random_state(TRUNKS["trunk-vgg16"]())
    values = list(state.values())
    values[0] = values[0][:, [2, 1, 0]]
    values += [torch.zeros(2, 3), torch.zeros(2)]
    out = field(1, b"VGG_ILSVRC_16_layers") + field(2, field(2, b"data"))
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        out += field(2, field(4, b"conv") + _old_blob(weight) + _old_blob(bias))
    return out
