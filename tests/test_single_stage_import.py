"""Published weights of single-stage detectors and trunks: imported unchanged, or rejected in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import published_detectors as published
import published_weights as peers
import pytest
import torch
from run_command import run
from torch import Tensor, nn
from torch.nn import functional

from mtcnn.checkpoint import read, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_module, load_trunk
from mtcnn.detectors.single_stage import SingleStage
from mtcnn.detectors.trunks import TRUNKS
from mtcnn.errors import CheckpointError
from mtcnn.images import read_image
from mtcnn.importers import import_weights, read_weights
from mtcnn.importers.single_stage import read_single_stage
from mtcnn.metrics.wider_detections import load_detections
from mtcnn.runtimes.torch import TorchRuntime
from mtcnn.weights import MEAN_COLOUR


def same(found: Mapping[str, Any], wanted: Mapping[str, Any], but: tuple[str, ...] = ()) -> bool:
    names = [name for name in wanted if name not in but]
    equal = (torch.equal(torch.as_tensor(found[name]), torch.as_tensor(wanted[name])) for name in names)
    return list(found) == list(wanted) and all(equal)


def test_retinaface_is_imported_unchanged(tmp_path: Path) -> None:
    file = peers.write(tmp_path / "net.pth", published.saved(published.retinaface_state()))
    (found,) = read_weights(file)
    assert (found.net, found.colour, found.scaling) == ("retinaface", "rgb", MEAN_COLOUR)
    assert same(found.state, published.random_state(build("retinaface")))
    assert found.recipe["imported"]["form"] == "Pytorch_Retinaface's .pth"


def test_retinaface_r50_is_imported_unchanged() -> None:
    found = read_single_stage(published.retinaface_state("retinaface-r50"))
    assert found is not None and found.net == "retinaface-r50"
    assert same(found.state, published.random_state(build("retinaface-r50")))


def test_imported_net_sees_rgb(tmp_path: Path) -> None:
    """The first layer of the file on BGR, and ours on the same image as RGB."""
    state = published.retinaface_state()
    import_weights([peers.write(tmp_path / "w", published.saved(state, zipped=False))], tmp_path)
    net = load_module(weights_path(tmp_path, "retinaface"), "retinaface")
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        ours = net.trunk.stages[0][0][0](x)  # type: ignore[union-attr,index,operator]
        torch.testing.assert_close(
            ours, functional.conv2d(x.flip(1), state["body.stage1.0.0.weight"], stride=2, padding=1)
        )


MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
DEVIATION = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
TRUNK_STATES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "trunk-mobilenet": published.mobilenet_state,
    "trunk-resnet50": published.resnet_state,
    "trunk-shufflenet": published.shufflenet_state,
    "trunk-vgg16": published.vgg_state,
}
# Mean and deviation of the pixels that they were trained on, red first, where they are not torchvision's.
THEIR_SCALING = {"trunk-shufflenet": (torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0))}


def first_layer(trunk: nn.Module, x: Tensor) -> Tensor:
    """The first convolution, with the batch norm behind it, where x is not near the border."""
    parts = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    x = parts[0](x)
    return (parts[1](x) if isinstance(parts[1], nn.BatchNorm2d) else x)[..., 3:-3, 3:-3]


@pytest.mark.parametrize("name", list(TRUNK_STATES))
def test_trunks_are_imported_with_our_scaling(name: str) -> None:
    """The parameters are unchanged, except the first layer, whose output on our input equals the file's on its own."""
    found = read_single_stage(TRUNK_STATES[name]())
    assert found is not None and found.net == name
    wanted = published.random_state(TRUNKS[name]())
    names = list(wanted)
    changed = names[1] if name == "trunk-vgg16" else next(n for n in names if n.endswith("running_mean"))
    assert same(found.state, wanted, but=(names[0], changed))
    before, after = TRUNKS[name]().eval(), TRUNKS[name]().eval()
    before.load_state_dict(wanted)
    after.load_state_dict(found.state)
    pixels = torch.randint(0, 256, (1, 3, 40, 40)).float()
    with torch.inference_mode():
        mean, deviation = THEIR_SCALING.get(name, (MEAN, DEVIATION))
        theirs = first_layer(before, (pixels - mean) / deviation)
        ours = first_layer(after, pixels - torch.tensor(MEAN_COLOUR[0])[:, None, None])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stranger", ["stage5.0.branch_main.0.weight", "stage2.0.branch_proj.5.weight"])
def test_another_shufflenet_is_rejected(stranger: str) -> None:
    with pytest.raises(CheckpointError, match=rf"holds a parameter {stranger}; expected those of ShuffleNetV2"):
        read_single_stage({**published.shufflenet_state(), stranger: torch.zeros(1)})


def test_vgg_of_caffe(tmp_path: Path) -> None:
    (found,) = read_weights(peers.write(tmp_path / "vgg.caffemodel", published.caffe_vgg()))
    assert (found.net, found.colour, found.scaling) == ("trunk-vgg16", "rgb", MEAN_COLOUR)
    assert same(found.state, published.random_state(TRUNKS["trunk-vgg16"]()))


def test_training_starts_from_a_trunk(tmp_path: Path) -> None:
    file = peers.write(tmp_path / "w", published.saved({"epoch": 3, "state_dict": published.mobilenet_state()}))
    import_weights([file], tmp_path)
    path = weights_path(tmp_path, "trunk-mobilenet")
    net = build("retinaface")
    load_trunk(net, path)
    trunk: nn.Module = net.trunk  # type: ignore[assignment]
    assert same(trunk.state_dict(), read(path).state)
    with pytest.raises(CheckpointError, match="does not fit the trunk Vgg"):
        load_trunk(build("ssh", {"width": 0.125}), path)
    with pytest.raises(CheckpointError, match="does not fit the trunk MobileNet"):
        load_trunk(build("retinaface", {"width": 0.5}), path)
    import_weights([peers.write(tmp_path / "r", published.saved(published.retinaface_state()))], tmp_path)
    with pytest.raises(CheckpointError, match=r"holds retinaface; expected one of trunk-mobilenet"):
        load_trunk(net, weights_path(tmp_path, "retinaface"))


@pytest.mark.parametrize("name", ["lightface-1", "lightface-2"])
def test_lightface_starts_from_shufflenet(name: str, tmp_path: Path) -> None:
    import_weights([peers.write(tmp_path / "w", published.saved(published.shufflenet_state()))], tmp_path)
    path, net = weights_path(tmp_path, "trunk-shufflenet"), build(name)
    load_trunk(net, path)
    assert same(net.get_submodule("trunk").state_dict(), read(path).state)
    with pytest.raises(CheckpointError, match="does not fit the trunk ShuffleNetV2"):
        load_trunk(build(name, {"width": 0.5}), path)


def test_command(tmp_path: Path) -> None:
    file = peers.write(tmp_path / "mobilenet0.25_Final.pth", published.saved(published.retinaface_state()))
    done = run("weights", "import", file, "--to", tmp_path / "models")
    assert done.exit_code == 0, done.stderr
    made = weights_path(tmp_path / "models", "retinaface")
    assert done.stdout == f"{made}: retinaface of {file}, Pytorch_Retinaface's .pth\n"
    done = run("weights", "import", file, "--to", tmp_path / "bgr", "--colour", "bgr")
    assert done.exit_code == 1 and "leave out bgr" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "bgr").exists()


def broken(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = published.retinaface_state()
    change(state)
    return state


NAME = "ssh2.conv3X3.0.weight"
BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "lacks one": (lambda state: state.pop(NAME), r"lacks context.1.window3.0.weight; expected 253 arrays"),
    "other shape": (lambda state: state.update({NAME: torch.zeros(3, 3)}), r"of \(3, 3\); expected \(32, 64, 3, 3\)"),
    "NaN": (lambda state: state[NAME].fill_(np.nan), "NaN or infinity in context.1.window3"),
    "one more": (lambda state: state.update({"ssh4.x": torch.zeros(1)}), r"a parameter context.3.x"),
    "unknown": (lambda state: state.update({"extra.x": torch.zeros(1)}), r"a parameter extra.x; expected those of"),
}


@pytest.mark.parametrize(("change", "told"), list(BROKEN.values()), ids=list(BROKEN))
def test_damaged_files_are_rejected(tmp_path: Path, change: Callable[[dict[str, Tensor]], object], told: str) -> None:
    file = peers.write(tmp_path / "net.pth", published.saved(broken(change)))
    with pytest.raises(CheckpointError, match=told) as caught:
        read_weights(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_vgg_with_batch_norm_is_rejected(tmp_path: Path) -> None:
    state = {**published.vgg_state(), "features.1.running_mean": torch.zeros(64)}
    with pytest.raises(CheckpointError, match="holds 27 arrays of features; expected 26"):
        read_weights(peers.write(tmp_path / "vgg.pth", published.saved(state)))


# ---- the published weights


PHOTOS = 6


@pytest.fixture(scope="module")
def retinaface(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the published RetinaFace."""
    file = data_folder / "weights" / "retinaface" / "mobilenet0.25_Final.pth"
    if not file.is_file():
        pytest.skip(f"no {file.name} there")
    models = tmp_path_factory.mktemp("published")
    import_weights([file], models)
    return models


@pytest.mark.data
def test_published_weights_find_the_published_boxes(data_folder: Path, retinaface: Path) -> None:
    """The detections that were published with them, on photos of the dev set that were not extended either, box by box:
    theirs are cut to whole pixels. On all 300 photos AP is then 0.9327, 0.8945 and 0.7863; theirs is 0.9329, 0.8942
    and 0.7861."""
    archive = data_folder / "eval" / "wider" / "retinaface_mnet025_val.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} there")
    wanted = load_detections(archive)
    net = load_module(weights_path(retinaface, "retinaface"), "retinaface")
    spec = replace(DETECTORS["retinaface"], multiple=1)
    proposer = SingleStage(TorchRuntime(net, spec.scaling), spec, threshold=0.02, coarse=False)
    photos = sorted((data_folder / "wider" / "dev" / "images").glob("*/*.jpg"))[:PHOTOS]
    assert len(photos) == PHOTOS
    count = close = 0
    for photo in photos:
        theirs = wanted[f"{photo.parent.name}/{photo.stem}"]
        ours = proposer(read_image(photo))
        x1, y1, x2, y2 = np.trunc(ours.boxes).T
        cut = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
        for *box, score in theirs[theirs[:, 4] > 0.3]:
            near = (np.abs(cut - box).max(axis=1) <= 1) & (np.abs(ours.scores - score) < 0.001)
            count, close = count + 1, close + int(near.any())
    assert count > 20 and close == count, f"{close} of {count}"


def test_the_option_net_selects_the_detector(tmp_path: Path) -> None:
    """Face-Detector-1MB-with-landmark's RetinaFace has the names and shapes of Pytorch_Retinaface's, not its slopes."""
    file = peers.write(tmp_path / "net.pth", published.saved(published.retinaface_state()))
    done = run("weights", "import", file, "--to", tmp_path, "--net", "retinaface-small")
    path = weights_path(tmp_path, "retinaface-small")
    assert done.exit_code == 0 and done.stdout.startswith(f"{path}: retinaface-small of {file}")
    found = read(path)
    assert found.net == "retinaface-small" and found.model == {"trunk": "mobilenet", "width": 1.0, "leak": 0.0}
    assert same(found.state, published.random_state(build("retinaface-small")))


def test_a_file_for_another_detector_is_rejected(tmp_path: Path) -> None:
    """`net` chooses between detectors of the same parameters and input; it turns none into another."""
    file = peers.write(tmp_path / "net.pth", published.saved(published.retinaface_state()))
    assert read_weights(file, net="retinaface")[0].net == "retinaface"
    for net in ("ssh", "retinaface-r50", "pnet"):
        with pytest.raises(CheckpointError, match=f"retinaface.*{net}|lacks trunk"):
            read_weights(file, net=net)
    with pytest.raises(CheckpointError, match=r"holds pnet; expected retinaface"):
        read_weights(peers.write(tmp_path / "pnet.pt", peers.facenet("pnet")), net="retinaface")
    done = run("weights", "import", file, "--to", tmp_path, "--net", "ssh")
    assert done.exit_code == 1 and done.stderr.endswith("holds retinaface; expected ssh\n")
