"""The nets of single-stage detectors: built as published, with outputs in the order of the anchors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.anchors import RETINAFACE, anchors
from mtcnn.detectors.context import ContextModule
from mtcnn.detectors.heads import Heads, face_logits, flatten
from mtcnn.detectors.load import build
from mtcnn.detectors.necks import FeaturePyramid
from mtcnn.detectors.s3fd import L2Norm, max_out
from mtcnn.detectors.ssh import enlarge
from mtcnn.detectors.trunks import TRUNKS
from mtcnn.flops import cost

# (inputs, outputs, kernel, stride of its output map) of all convolutions, from the authors' prototxt files.
VGG = [
    (3, 64, 3, 1), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 2), (128, 256, 3, 4), (256, 256, 3, 4),
    (256, 256, 3, 4), (256, 512, 3, 8), (512, 512, 3, 8), (512, 512, 3, 8), (512, 512, 3, 16), (512, 512, 3, 16),
    (512, 512, 3, 16),
]  # fmt: skip
SSH = [
    *VGG, (512, 128, 1, 8), (512, 128, 1, 16), (128, 128, 3, 8),
    (128, 128, 3, 8), (128, 64, 3, 8), (64, 64, 3, 8), (64, 64, 3, 8), (64, 64, 3, 8), (256, 4, 1, 8), (256, 8, 1, 8),
    *((inputs, outputs, kernel, stride) for stride in (16, 32) for inputs, outputs, kernel in (
        (512, 256, 3), (512, 128, 3), (128, 128, 3), (128, 128, 3), (128, 128, 3), (512, 4, 1), (512, 8, 1))),
]  # fmt: skip
S3FD = [
    *VGG, (512, 1024, 3, 32), (1024, 1024, 1, 32), (1024, 256, 1, 32), (256, 512, 3, 64), (512, 128, 1, 64),
    (128, 256, 3, 128), (256, 4, 3, 4), (256, 4, 3, 4),
    *((inputs, outputs, 3, stride) for inputs, stride in ((512, 8), (512, 16), (1024, 32), (512, 64), (256, 128))
      for outputs in (2, 4)),
]  # fmt: skip
L2NORM = 256 + 512 + 512


def counted(layers: Iterable[tuple[int, int, int, int]], height: int, width: int) -> tuple[int, int, int]:
    """Parameters, multiply-adds and biases of convolutions that round the sizes of their maps up."""
    parameters = multiply_adds = biases = 0
    for inputs, outputs, kernel, stride in layers:
        cells = math.ceil(height / stride) * math.ceil(width / stride)
        parameters += kernel**2 * inputs * outputs + outputs
        multiply_adds += cells * kernel**2 * inputs * outputs
        biases += cells * outputs
    return parameters, multiply_adds, biases


@pytest.mark.parametrize(("height", "width"), [(240, 320), (200, 97)])
def test_cost_of_ssh_and_s3fd(height: int, width: int) -> None:
    for name, layers, more in (("ssh", SSH, 0), ("s3fd", S3FD, L2NORM)):
        with torch.device("meta"):
            found = cost(build(name), height, width)
        parameters, multiply_adds, biases = counted(layers, height, width)
        assert (found.parameters, found.multiply_adds, found.biases) == (parameters + more, multiply_adds, biases)
        assert found.normalised == 0 and found.thop == multiply_adds + biases


def test_cost_of_retinaface() -> None:
    """0.426 M parameters and 193.921 M operations, as Face-Detector-1MB-with-landmark prints them, by thop."""
    found = cost(build("retinaface"), 320, 240)
    assert found.parameters == 426_608
    assert f"{found.thop / 1e6:.3f}" == "193.921"
    assert found.multiply_adds == 184_738_560


def test_cost_of_the_trunks() -> None:
    """As in torchvision's documentation, minus the fully connected layers: 25,557,032 parameters of ResNet-50 and
    4.09 G, 138,357,544 of VGG-16 and 15.47 G."""
    with torch.device("meta"):
        resnet, vgg = (cost(TRUNKS[name](), 224, 224) for name in ("trunk-resnet50", "trunk-vgg16"))
    assert resnet.parameters == 25_557_032 - 2049 * 1000
    assert round((resnet.multiply_adds + 2048 * 1000) / 1e9, 2) == 4.09
    dense = ((512 * 49, 4096), (4096, 4096), (4096, 1000))
    assert vgg.parameters == 138_357_544 - sum((inputs + 1) * outputs for inputs, outputs in dense)
    assert round((vgg.multiply_adds + sum(a * b for a, b in dense)) / 1e9, 2) == 15.47


def test_cost_as_documented() -> None:
    """The first table of docs/detectors.md."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "detectors.md").read_text(encoding="utf-8")
    text = text.partition("\n## ")[0]  # other tables follow
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")
    ]
    table = {row[0]: row[3:] for row in rows if row[0] in DETECTORS}
    assert table.keys() >= {"retinaface", "retinaface-r50", "ssh", "s3fd"}
    for name, said in table.items():
        if DETECTORS[name].missing_package:
            continue
        with torch.device("meta"):
            found = cost(build(name), 240, 320)
        assert said == [f"{found.parameters:,}", f"{found.multiply_adds / 1e6:.1f} M", f"{found.thop / 1e6:.1f} M"]


CARDS = sorted((Path(__file__).resolve().parent.parent / "models-full").glob("*/MODEL_CARD.md"))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_parameters_as_the_card_says(card: Path) -> None:
    (said,) = re.findall(r"([\d,]+)\s+parameters", card.read_text(encoding="utf-8"))
    with torch.device("meta"):
        net = build(card.parent.name)
    assert said == f"{sum(values.numel() for values in net.parameters()):,}"


def test_cost_leaves_the_net_alone() -> None:
    net = build("retinaface")
    cost(net, 64, 64)
    assert net.training and next(net.parameters()).device.type == "cpu"
    assert not any(layer._forward_hooks for layer in net.modules())


def test_outputs_have_the_order_of_the_anchors() -> None:
    """With maps whose channels are each anchor's own centre and side."""
    height, width = 72, 104
    maps = []
    for level in RETINAFACE:
        rows, columns = math.ceil(height / level.stride), math.ceil(width / level.stride)
        y = (torch.arange(rows) + 0.5)[:, None].expand(rows, columns) * level.stride
        x = (torch.arange(columns) + 0.5)[None].expand(rows, columns) * level.stride
        channels = [part for size in level.sizes for part in (x, y, torch.full((rows, columns), size))]
        maps.append(torch.stack(channels)[None])
    found = torch.cat([flatten(level, 3) for level in maps], dim=1)[0].numpy()
    boxes = anchors(height, width, RETINAFACE)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:3] - boxes[:, :1]
    np.testing.assert_array_equal(found, np.concatenate([centres, sides], axis=1))


def test_heads_take_their_own_level() -> None:
    heads = Heads([1, 2], [2, 1], 4)
    for number, layer in enumerate(heads.levels):
        nn.init.constant_(layer.weight, 0.0)  # type: ignore[arg-type]
        nn.init.constant_(layer.bias, number + 1.0)  # type: ignore[arg-type]
    found = heads([torch.zeros(1, 1, 3, 2), torch.zeros(1, 2, 1, 1)])
    assert found.shape == (1, 13, 4)
    assert torch.equal(found[0, :, 0], torch.tensor([1.0] * 12 + [2.0]))


def seen(output: Tensor, x: Tensor) -> tuple[int, int]:
    """Rows and columns of x (1, 1, h, w) that an output depends on."""
    (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
    touched = gradient[0, 0].abs() > 0
    return int(touched.any(dim=1).sum()), int(touched.any(dim=0).sum())


def test_context_module_sees_3_5_and_7_cells() -> None:
    module = ContextModule(1, 8, leak=0.1, norm=False)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(1, 1, 15, 15, requires_grad=True)
    output = module(x)[0, :, 7, 7]
    assert [seen(value, x) for value in output] == [(3, 3)] * 4 + [(5, 5)] * 2 + [(7, 7)] * 2


def test_feature_pyramid_adds_the_coarser_map() -> None:
    """Also for sizes that are not halves of each other, as for images of any size."""
    pyramid = FeaturePyramid([1, 1, 1], 1, leak=1.0).eval()
    for layer in pyramid.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
    one = 1 / math.sqrt(1 + 1e-5)  # what batch norm makes of 1 before it has seen anything
    maps = [torch.full((1, 1, size, size), value) for size, value in ((7, 100.0), (4, 10.0), (2, 1.0))]
    with torch.inference_mode():
        fine, middle, coarse = pyramid(maps)
    assert coarse.shape[-1] == 2 and middle.shape[-1] == 4 and fine.shape[-1] == 7
    torch.testing.assert_close(coarse, torch.full_like(coarse, one))
    torch.testing.assert_close(middle, torch.full_like(middle, 11 * one**2))
    torch.testing.assert_close(fine, torch.full_like(fine, 100 * one**2 + 11 * one**3))


def test_ssh_upsamples_as_its_authors_do() -> None:
    """Caffe's deconvolution with `bilinear` weights: 4 x 4, stride 2, padding 1. Zeros beyond the border darken its."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    x = torch.randn(1, 1, 6, 9)
    theirs = functional.conv_transpose2d(x, (line[:, None] * line)[None, None], stride=2, padding=1)
    ours = enlarge(x)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1])
    assert bool((ours.abs() >= theirs.abs() - 1e-6).all())


def test_max_out_takes_the_largest_background() -> None:
    logits = torch.randn(2, 4, 3, 5)
    found = max_out(logits)
    for n, y, x in np.ndindex(2, 3, 5):
        values = logits[n, :, y, x].tolist()
        assert found[n, :, y, x].tolist() == [max(values[:3]), values[3]]


def test_l2_norm_scales_each_channel() -> None:
    norm = L2Norm(4, 10.0)
    x = torch.tensor([3.0, 0.0, 4.0, 0.0]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([6.0, 0.0, 8.0, 0.0]))
    with torch.no_grad():
        norm.scale[2] = 5
        torch.testing.assert_close(norm(x).flatten(), torch.tensor([6.0, 0.0, 4.0, 0.0]))
        assert bool(norm(torch.zeros(1, 4, 1, 1)).isfinite().all())


def test_face_logits_are_float32_differences() -> None:
    """In mixed precision too: the difference of two bfloat16 numbers is taken in float32."""
    pair = torch.tensor([[[1.0, 1.0078125], [-3.0, 200.0]]], dtype=torch.bfloat16)
    found = face_logits(pair)
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.0078125, 203.0]]  # in bfloat16 203 would be 204 or 202
