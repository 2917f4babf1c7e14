"""slim, RFB, YuNet and CenterFace: built as published, and import of published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import published_light as published
import published_weights as peers
import pytest
import torch
from published_detectors import random_state, saved

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build
from mtcnn.errors import CheckpointError
from mtcnn.flops import cost
from mtcnn.importers import read_weights

FILES: dict[str, Any] = {
    **dict.fromkeys(("slim", "rfb", "slim-landmarks", "rfb-landmarks"), published.ultralight_state),
    **dict.fromkeys(("yunet-n", "yunet-s"), published.yunet_state),
}


@pytest.mark.parametrize("name", FILES)
def test_published_weights_are_imported(name: str, tmp_path: Path) -> None:
    """Every parameter is equal, converted to RGB, with the scaling of the net."""
    content = FILES[name](name)
    data = content if isinstance(content, bytes) else saved(content)
    (found,) = read_weights(peers.write(tmp_path / "net", data))
    assert (found.net, found.colour, found.scaling) == (name, "rgb", DETECTORS[name].scaling)
    wanted = random_state(build(name))
    assert list(found.state) == list(wanted)
    for key, value in wanted.items():
        assert torch.equal(torch.as_tensor(found.state[key]), value), key


@pytest.mark.parametrize("name", ["slim", "rfb", "slim-landmarks", "rfb-landmarks"])
@pytest.mark.parametrize(
    "stranger", ["base_net.7.branch0.9.weight", "extras.0.1.weight", "loc.9.1.weight", "conv14.7.bias"]
)
def test_a_parameter_of_another_net_is_rejected(name: str, stranger: str, tmp_path: Path) -> None:
    state = {**published.ultralight_state(name), stranger: torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"holds a parameter .*; expected"):
        read_weights(peers.write(tmp_path / "net", saved(state)))


@pytest.mark.parametrize(("name", "operations"), [("slim-landmarks", 98.793), ("rfb-landmarks", 118.435)])
def test_cost_as_the_authors_print_it(name: str, operations: float) -> None:
    """Millions, counted as thop does, at 320 x 240."""
    with torch.device("meta"):
        found = cost(build(name), 240, 320)
    assert found.thop / 1e6 == pytest.approx(operations, abs=5e-4)


def test_centerface_is_imported_with_folded_norms(tmp_path: Path) -> None:
    """The arrays of its .onnx, in any order and numbered past 999: the same outputs."""
    (found,) = read_weights(peers.write(tmp_path / "net.onnx", published.centerface_onnx()))
    assert (found.net, found.scaling) == ("centerface", DETECTORS["centerface"].scaling)
    nets = [build("centerface").eval(), build("centerface").eval()]
    for net, state in zip(nets, (random_state(nets[0]), found.tensors()), strict=True):
        net.load_state_dict(state)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        ours, wanted = (net(x) for net in nets)
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_a_centerface_with_other_layers_is_rejected(tmp_path: Path) -> None:
    data = published.centerface_onnx().replace(b"head.lm_conv.bias", b"head.lm_conv.bits")
    with pytest.raises(CheckpointError, match=r"lacks head\.lm_conv\.bias"):
        read_weights(peers.write(tmp_path / "net.onnx", data))
    data = published.centerface_onnx().replace(b"\x42\x03544", b"\x42\x03x44")
    with pytest.raises(CheckpointError, match="unnamed arrays; expected"):
        read_weights(peers.write(tmp_path / "net.onnx", data))
