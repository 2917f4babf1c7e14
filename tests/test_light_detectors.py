"""slim, RFB, lightface, VGG-light, YuNet and CenterFace: built as published, and import of published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import published_light as published
import published_weights as peers
import pytest
import torch
from published_detectors import random_state, saved

from mtcnn.checkpoint import Checkpoint, packaged_weights, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector, model_of
from mtcnn.detectors.trunks.shufflenet import ShuffleNetV2
from mtcnn.errors import CheckpointError, SettingsError
from mtcnn.flops import cost
from mtcnn.importers import read_weights
from mtcnn.onnx_export import export_onnx
from mtcnn.runtimes.onnx import OnnxRuntime
from stages.photos.recipe import DetectorRecipe
from stages.recipes import load_recipe

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


@pytest.mark.parametrize(("name", "operations"), [("lightface-1", 65.607), ("lightface-2", 85.552),
                                                  ("lightface-3", 95.585)])  # fmt: skip
def test_cost_of_lightface(name: str, operations: float) -> None:
    """Within a tenth of what the authors print for nets whose code they did not publish; of all 13 anchors."""
    with torch.device("meta"):
        net = build(name)
        found, outputs = cost(net, 240, 320), net(torch.empty(1, 3, 256, 320))
    assert found.thop / 1e6 == pytest.approx(operations, rel=0.1)
    assert outputs["logits"].shape[1] == 4 * 32 * 40 + 3 * (16 * 20 + 8 * 10 + 4 * 5)


def test_cost_of_vgg_with_context() -> None:
    """2.7 G at 640 x 480, as the authors print it; of all 15 anchors."""
    with torch.device("meta"):
        net = build("vgg-advanced")
        found, outputs = cost(net, 480, 640), net(torch.empty(1, 3, 256, 320))
    assert found.thop / 1e9 == pytest.approx(2.7, abs=0.05)
    assert outputs["logits"].shape[1] == 4 * (32 * 40 + 16 * 20 + 8 * 10) + 3 * 4 * 5


def test_shuffled_units_mix_all_channels() -> None:
    """Half of the channels pass a unit unchanged: every other one, so that those of both halves meet in the next."""
    trunk = ShuffleNetV2(0.5).eval()
    unit = trunk.stages[0][1]  # type: ignore[index]
    x = torch.randn(1, trunk.channels[0], 5, 7)
    with torch.inference_mode():
        found = unit(x)
    half = trunk.channels[0] // 2
    assert torch.equal(found[:, :half], x[:, ::2]) and found.shape == x.shape
    assert not torch.equal(found[:, half:], x[:, 1::2])


@pytest.mark.parametrize("name", ["slim", "rfb", "slim-landmarks", "rfb-landmarks", "lightface-1", "lightface-3",
                                  "vgg-light"])  # fmt: skip
@pytest.mark.parametrize("landmarks", [True, False])
def test_landmarks_by_setting(name: str, landmarks: bool, tmp_path: Path) -> None:
    """With and without `model.landmarks`, whatever the published net has: detection and export agree with the net."""
    model = {"width": 0.125, "landmarks": landmarks}
    scaling = DETECTORS[name].scaling
    checkpoint = Checkpoint(name, build(name, model).state_dict(), scaling=scaling, model=model_of(name, model))
    write(weights_path(tmp_path, name), checkpoint)
    faces = load_detector(name, tmp_path, threshold=0)(np.full((70, 90, 3), 127, np.uint8))
    assert len(faces) and (faces.landmarks is not None) is landmarks
    outputs = ("logits", "boxes", "landmarks") if landmarks else ("logits", "boxes")
    pytest.importorskip("onnxruntime")
    made = export_onnx(name, tmp_path / "net.onnx", tmp_path)
    assert made.outputs == outputs and tuple(OnnxRuntime(made.path)(np.zeros((64, 64, 3), np.uint8))) == outputs


@pytest.mark.parametrize("name", ["slim", "lightface-1"])
def test_anchors_are_those_of_the_decoder(name: str) -> None:
    """Others would give outputs that cannot be decoded, which was found out in training."""
    with pytest.raises(SettingsError, match=rf"model\.anchors is \(1, 1, 1, 1\); expected \(.*\) for {name}"):
        build(name, {"anchors": (1, 1, 1, 1)})


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


def test_the_neck_of_a_narrow_centerface_keeps_its_width() -> None:
    """It is 24 times the width, unless it is given; the packaged recipe trains half the width with the whole neck."""
    for model, channels in (({}, 24), ({"width": 0.25}, 6), ({"width": 0.25, "neck": 24}, 24)):
        net: Any = build("centerface", model)
        assert all(layer.in_channels == channels for layer in net.heads.values()), model
        with torch.inference_mode():
            assert net.eval()(torch.zeros(1, 3, 64, 96))["sizes"].shape == (1, 16 * 24, 2)
    recipe = load_recipe(DetectorRecipe, packaged_weights(), "centerface")
    assert recipe.model == {"width": 0.5, "neck": 24}
