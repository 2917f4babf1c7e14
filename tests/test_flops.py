"""`mtcnn flops` compared with torch's counter."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from run_command import run
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build
from mtcnn.flops import cost, part_of
from mtcnn.nets import CLASSES
from mtcnn.weights import SIDES


def torchs_flops(net: nn.Module, height: int, width: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", [*CLASSES, *DETECTORS])
def test_as_torchs_counter(name: str) -> None:
    """It counts a multiplication and an addition as two, and neither biases nor norms."""
    height, width = (SIDES[name], SIDES[name]) if name in ("rnet", "onet", "cnet") else (128, 192)
    with torch.device("meta"):
        net: Any = CLASSES[name]() if name in CLASSES else build(name)
    assert 2 * cost(net, height, width).multiply_adds == torchs_flops(net, height, width) > 0


@pytest.mark.parametrize("name", [*CLASSES, *DETECTORS])
def test_the_parts_of_a_net_add_up(name: str) -> None:
    """And each is what torch's counter says of the modules in it."""
    height, width = (SIDES[name], SIDES[name]) if name in ("rnet", "onet", "cnet") else (128, 192)
    with torch.device("meta"):
        net: Any = CLASSES[name]() if name in CLASSES else build(name)
    found = cost(net, height, width)
    assert sum(part.parameters for part in found.parts) == found.parameters
    assert sum(part.multiply_adds for part in found.parts) == found.multiply_adds
    names = [part.name for part in found.parts]
    assert names[-1] == "head" and names[0] in ("trunk", "stem", "stage 1") and len({*names}) == len(names)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    theirs: dict[str, int] = {}
    for path, layer in net.named_modules():
        if not any(layer.children()):
            done = sum(counter.get_flop_counts().get(f"{type(net).__name__}.{path}", {}).values())
            theirs[part_of(path)] = theirs.get(part_of(path), 0) + done
    for part in found.parts:
        assert 2 * part.multiply_adds == theirs.get(part.name, 0), part.name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("trunk.stages.0.1.weight", "stage 1"), ("trunk.blocks.2.0", "stage 3"), ("trunk.layer4.0.conv1", "stage 4"),
        ("trunk.conv1.weight", "stem"), ("trunk.stem.0", "stem"), ("trunk.0.weight", "trunk"), ("stem.0", "stem"),
        ("stages.5.0.1", "stage 6"), ("pyramid.merge.1", "neck"), ("context.0.window3.0", "neck"),
        ("classes.levels.0", "head"), ("heads.0.body", "head"), ("shared.1.0", "head"), ("landmarks.2", "head"),
    ],
)  # fmt: skip
def test_which_part_a_layer_belongs_to(name: str, part: str) -> None:
    assert part_of(name) == part


def test_activations_and_pools_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.PReLU(4), nn.GroupNorm(2, 4))
    found = cost(net, 6, 8)
    assert (found.activated, found.pooled, found.normalised) == (4 * 48 + 4 * 12, 4 * 48, 0)
    assert found.mmcv == 48 * 4 * 27 + 4 * 48 + (4 * 48 + 4 * 12) + 4 * 48


def test_transposed_convolutions_and_groups_by_hand() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(3, 6, 4, stride=2, groups=3), nn.Conv2d(6, 6, 3, groups=2, bias=False))
    found = cost(net, 5, 7)
    up = 3 * 5 * 7 * (6 // 3) * 4 * 4  # each of 3 x 5 x 7 inputs goes to 2 channels of 4 x 4
    across = 6 * 10 * 14 * (6 // 2) * 3 * 3  # 12 x 16 become 10 x 14
    assert (found.multiply_adds, found.biases) == (up + across, 6 * 12 * 16)
    assert 2 * found.multiply_adds == torchs_flops(net.to("meta"), 5, 7)


def test_command() -> None:
    done = run("flops", "retinaface", "--size", 320, 240, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {
        "net": "retinaface", "size": [320, 240], "parameters": 426_608, "multiply_adds": 184_738_560,
        "biases": 50_560, "normalised": 2_282_880, "activated": 2_181_760, "pooled": 0, "thop": 193_920_640,
        "mmcv": 191_536_640, "parts": [
            {"name": "stage 1", "parameters": 10_128, "multiply_adds": 25_843_200},
            {"name": "stage 2", "parameters": 99_392, "multiply_adds": 28_934_400},
            {"name": "stage 3", "parameters": 103_552, "multiply_adds": 8_140_800},
            {"name": "neck", "parameters": 207_296, "multiply_adds": 118_584_320},
            {"name": "head", "parameters": 6_240, "multiply_adds": 3_235_840},
        ],
    }  # fmt: skip
    first, _, _, *rows = run("flops", "onet").stdout.splitlines()
    assert first.startswith("onet at 48 x 48: 389,040 parameters, ")
    assert first.endswith("M by thop, 13.1 M by mmcv")
    assert [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[1:]] == [
        ["trunk", "384,928", "12.9 M"], ["head", "4,112", "0.0 M"],
    ]  # fmt: skip
    assert run("flops", "yolo").exit_code == 2
    small = run("flops", "pnet", "--size", 5, 5)
    crop = run("flops", "rnet", "--size", 48, 48)
    assert crop.exit_code == 2 and "--size is 48 48; expected 24 24, the crop of rnet" in crop.stderr
    assert small.exit_code == 2 and "--size is 5 5, too small for pnet; expected larger sides" in small.stderr
