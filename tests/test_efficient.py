"""EfficientNet of timm, the nets that use it, and the bidirectional pyramid. Most tests need timm (extra `trunks`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from published_detectors import random_state, saved
from run_command import run
from torch import Tensor, nn
from torch.nn import functional

from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.compare import choose
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.bifpn import BiFPN, WeightedSum
from mtcnn.detectors.load import build, load_trunk
from mtcnn.detectors.trunks import TRUNKS
from mtcnn.detectors.trunks.efficientnet import EFFICIENTNETS, efficientnet
from mtcnn.errors import CheckpointError, MtcnnError, SettingsError
from mtcnn.flops import cost
from mtcnn.importers import read_weights

needs_timm = pytest.mark.skipif(bool(DETECTORS["efficientnet-b3"].missing_package), reason="needs timm, of trunks")
EFFICIENT = [name for name, spec in DETECTORS.items() if spec.package == "timm"]
LINE = r"no package timm; expected it for EfficientNet: pip install 'mtcnn-cascade\[trunks\]'"


# ---- without timm


@pytest.fixture
def no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "timm", None)


def test_one_line_says_what_to_install(no_timm: None, tmp_path: Path) -> None:
    assert {"efficientnet-b3", "efficientnet-b4-fpn", "efficientdet-d0"} <= set(EFFICIENT)
    for name in EFFICIENT:
        assert DETECTORS[name].missing_package == "timm"
        with pytest.raises(MtcnnError, match=LINE):
            build(name)
    done = run("flops", "efficientdet-d0")
    assert done.exit_code == 1 and done.stderr.startswith("mtcnn: no package timm; ") and done.stderr.count("\n") == 1
    done = run("train", "--net", "efficientnet-b3", "--data", "synthetic:2", "--work", tmp_path)
    assert done.exit_code == 1 and "mtcnn: no package timm; " in done.stderr and "Traceback" not in done.stderr


def test_a_table_of_all_detectors_has_a_row_without_figures(no_timm: None, tmp_path: Path) -> None:
    scaling = DETECTORS["efficientdet-d0"].scaling
    write(weights_path(tmp_path, "efficientdet-d0"), Checkpoint("efficientdet-d0", {}, scaling=scaling, model={}))
    rows = {entry.name: entry.missing() for entry in choose(["all"], [tmp_path])}
    assert rows["efficientdet-d0"] == "no package timm" and rows["retinaface"] == ""


# ---- the pyramid


def slow_sum(module: WeightedSum, *maps: Tensor) -> Tensor:
    weights = [max(float(weight), 0.0) for weight in module.weights]
    total = maps[0] * 0
    for weight, x in zip(weights, maps, strict=True):
        total = total + weight / (sum(weights) + 1e-4) * x
    result: Tensor = module.conv(total * torch.sigmoid(total))
    return result


def larger(x: Tensor, height: int, width: int) -> Tensor:
    """Row r of the larger map is row r * h // height of the smaller."""
    rows = [r * x.shape[2] // height for r in range(height)]
    columns = [c * x.shape[3] // width for c in range(width)]
    return x[:, :, rows][:, :, :, columns]


def test_bifpn_equals_figure_2d_step_by_step() -> None:
    """With weights of all signs, and maps whose sizes are not halves of each other."""
    layer = BiFPN(4, 3).eval()
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, WeightedSum):
                module.weights.copy_(torch.randn(len(module.weights)))
        p3, p4, p5, p6 = maps = [torch.randn(1, 3, *size) for size in ((13, 9), (7, 5), (4, 3), (2, 2))]
        down, up = list(layer.down), list(layer.up)
        td5 = slow_sum(down[2], p5, larger(p6, 4, 3))  # type: ignore[arg-type]
        td4 = slow_sum(down[1], p4, larger(td5, 7, 5))  # type: ignore[arg-type]
        out3 = slow_sum(down[0], p3, larger(td4, 13, 9))  # type: ignore[arg-type]
        out4 = slow_sum(up[0], p4, td4, functional.max_pool2d(out3, 3, 2, 1))  # type: ignore[arg-type]
        out5 = slow_sum(up[1], p5, td5, functional.max_pool2d(out4, 3, 2, 1))  # type: ignore[arg-type]
        out6 = slow_sum(up[2], p6, functional.max_pool2d(out5, 3, 2, 1))  # type: ignore[arg-type]
        for ours, wanted in zip(layer(maps), (out3, out4, out5, out6), strict=True):
            torch.testing.assert_close(ours, wanted)


# ---- trunks of timm


@needs_timm
@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_trunks_are_those_of_timm(name: str) -> None:
    import timm

    with torch.device("meta"):
        ours = efficientnet(name)
        theirs = timm.create_model(f"efficientnet_{name}", features_only=True, out_indices=(2, 3, 4))
        maps = ours(torch.empty(1, 3, 65, 97))
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert [tuple(x.shape) for x in maps] == [
        (1, channels, *size)
        for channels, size in zip(ours.trunk_channels, ((9, 13), (5, 7), (3, 4)), strict=True)  # type: ignore[arg-type]
    ]


@needs_timm
def test_a_narrow_trunk_has_fewer_channels() -> None:
    with torch.device("meta"):
        narrow, usual = efficientnet("b3", 0.25), efficientnet("b3")
    assert sum(value.numel() for value in narrow.parameters()) < 0.2 * sum(v.numel() for v in usual.parameters())


def test_other_trunks_are_rejected() -> None:
    with pytest.raises(SettingsError, match="trunk is 'b9'; expected one of b0, b3, b4"):
        efficientnet("b9")


@needs_timm
def test_weights_of_timm_are_imported(tmp_path: Path) -> None:
    """The classifier is dropped, torchvision's scaling becomes ours, and training starts from it."""
    import timm

    whole = timm.create_model("efficientnet_b0")
    state = random_state(whole)
    (tmp_path / "b0.pth").write_bytes(saved(state))
    (found,) = read_weights(tmp_path / "b0.pth")
    assert found.net == "trunk-efficientnet-b0" and set(found.state) == set(TRUNKS[found.net]().state_dict())
    for key, value in found.tensors().items():
        if key not in ("conv_stem.weight", "bn1.running_mean"):
            assert torch.equal(value, state[key]), key
    pixels = torch.randint(0, 256, (1, 3, 40, 40)).float()
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    deviation = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    before, after = whole.eval(), TRUNKS[found.net]().eval()
    before.load_state_dict(state)
    after.load_state_dict(found.tensors())
    with torch.inference_mode():
        theirs = before.bn1(before.conv_stem((pixels - mean) / deviation))
        ours: Tensor = after.bn1(after.conv_stem(pixels - torch.tensor([123.0, 117, 104])[:, None, None]))  # type: ignore[operator]
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-3, rtol=1e-3)
    path = weights_path(tmp_path, found.net)
    write(path, found)
    net = build("efficientdet-d0")
    load_trunk(net, path)
    trunk: nn.Module = net.trunk  # type: ignore[assignment]
    assert torch.equal(trunk.state_dict()["bn1.running_var"], state["bn1.running_var"])


def test_a_stem_of_another_width_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "b.pth").write_bytes(saved({"conv_stem.weight": torch.zeros(16, 3, 3, 3)}))
    with pytest.raises(CheckpointError, match=r"conv_stem.weight of \(16, 3, 3, 3\); expected EfficientNet-b0, b3, b4"):
        read_weights(tmp_path / "b.pth")


# ---- nets


@needs_timm
@pytest.mark.parametrize(("name", "operations"), [("efficientnet-b3", 360), ("efficientnet-b4", 436),
                                                  ("efficientnet-b3-fpn", 2460)])  # fmt: skip
def test_cost_as_the_authors_print_it(name: str, operations: float) -> None:
    """At 640 x 480, without the trunk: thop counts layers of known classes alone, of which the convolutions of the
    package that they used are none."""
    with torch.device("meta"):
        parts = cost(build(name), 480, 640).parts
    found = sum(part.multiply_adds for part in parts if part.name in ("neck", "head"))
    assert found / 1e6 == pytest.approx(operations, rel=0.05)


@needs_timm
def test_parameters_of_efficientdet() -> None:
    """3.9 million, as the paper's table 2 has for D0."""
    with torch.device("meta"):
        assert cost(build("efficientdet-d0"), 64, 64).parameters == pytest.approx(3.9e6, rel=0.05)


@needs_timm
@pytest.mark.parametrize("name", EFFICIENT)
def test_predictions_match_the_anchors_of_every_level(name: str) -> None:
    """The published code of these nets has 9,900 predictions for 8,475 anchors at 320 pixels."""
    with torch.device("meta"):
        logits = build(name)(torch.empty(1, 3, 320, 320))["logits"]
    assert logits.shape[1] == 4 * (40**2 + 20**2 + 10**2) + 3 * 5**2 == 8475
