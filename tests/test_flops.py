"""`mtcnn flops` and what it counts, against torch's own counter."""

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
from mtcnn.flops import cost
from mtcnn.nets import NETS
from mtcnn.weights import SIZES


def torchs_flops(net: nn.Module, height: int, width: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", [*NETS, *DETECTORS])
def test_as_torchs_counter(name: str) -> None:
    """It counts a multiplication and an addition as two, and neither biases nor norms."""
    height, width = (SIZES[name], SIZES[name]) if name in ("rnet", "onet") else (128, 192)
    with torch.device("meta"):
        net: Any = NETS[name]() if name in NETS else build(name)
    assert 2 * cost(net, height, width).multiply_adds == torchs_flops(net, height, width) > 0


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
        "biases": 50_560, "normalised": 2_282_880, "thop": 193_920_640,
    }  # fmt: skip
    line = run("flops", "onet").stdout
    assert line.startswith("onet at 48 x 48: 389,040 parameters, ")
    assert line.endswith("M by thop\n")
    assert run("flops", "yolo").exit_code == 2
