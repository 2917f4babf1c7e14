"""SCRFD: its sizes as published, its decoder, and weights of InsightFace's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import published_weights as peers
import pytest
import torch
from published_detectors import random_state
from published_scrfd import scrfd_onnx
from small_detectors import small_model
from torch import nn

from mtcnn.checkpoint import weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector, load_module, model_of
from mtcnn.errors import CheckpointError
from mtcnn.flops import cost
from mtcnn.images import read_image
from mtcnn.importers import import_weights, read_weights
from mtcnn.metrics.scales import ScaledDetector
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from mtcnn.metrics.wider_truth import load_image_list
from mtcnn.runtimes.torch import fold_norms
from mtcnn.types import ImageSize

POINTS = {"landmarks": True, "norm": "bn", "shared": False}
DECODER: Any = DETECTORS["scrfd-0.5g"].decoder


@pytest.mark.parametrize(
    ("name", "giga", "millions"),
    [("scrfd-0.5g", 0.508, 0.57), ("scrfd-1g", None, 0.64), ("scrfd-2.5g", 2.53, 0.67), ("scrfd-10g", 9.98, 3.86),
     ("scrfd-34g", 34.13, 9.80)],
)  # fmt: skip
def test_cost_as_the_authors_print_it(name: str, giga: float | None, millions: float) -> None:
    """At 640 x 480, counted as their program does."""
    with torch.device("meta"):
        found = cost(build(name), 480, 640)
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.005)
    assert giga is None or found.mmcv / 1e9 == pytest.approx(giga, rel=0.0025)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"block": "dense"}, "block is 'dense'; expected mobilenet, yunet, basic or bottleneck"),
        ({"blocks": [2, 3, 2]}, r"blocks is \[2, 3, 2\]; expected 4 whole numbers above 0 for mobilenet"),
        ({"blocks": [2, 3, 2, 0.5]}, "blocks is"),
        ({"blocks": [2, 3, 2, 101]}, "blocks is .*; expected at most 100 each"),
        ({"stem": [16]}, r"stem is \[16\]; expected 2 whole numbers above 0 for mobilenet"),
        ({"block": "basic"}, r"stem is \[16, 16\]; expected 1 whole numbers above 0 for basic"),
        ({"widths": [0, 1, 1, 1]}, "widths is"),
        ({"norm": "ln"}, "norm is 'ln'; expected gn or bn"),
        ({"norm_groups": 7}, "which makes no scrfd-0.5g"),
        ({"head_depth": 1000}, "head_depth is 1000; expected 0 to 100"),
        ({"head_block": "wide"}, "head_block is 'wide'; expected separable, plain or yunet"),
        ({"head_block": "yunet"}, "norm is 'gn'; expected bn for the head_block yunet"),
        ({"neck_block": "wide"}, "neck_block is 'wide'; expected plain or yunet"),
        ({"neck_block": "yunet"}, "neck is 16; expected the channels of the last three stages, which are "),
    ],
)
def test_settings_that_make_no_net_are_refused(model: dict[str, Any], why: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=why):
        build("scrfd-0.5g", model)


def test_a_head_for_all_levels_or_one_for_each() -> None:
    counts = []
    for shared in (True, False):
        net = build("scrfd-0.5g", {**small_model("scrfd-0.5g"), "shared": shared, "scaled": shared})
        counts.append(sum(value.numel() for name, value in net.named_parameters() if name.startswith("heads")))
        assert len([name for name, _ in net.named_parameters() if name.startswith("scales")]) == (3 if shared else 0)
    assert counts[1] == 3 * counts[0]


def test_each_level_has_a_factor_of_its_distances() -> None:
    net: Any = build("scrfd-0.5g", small_model("scrfd-0.5g")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = net(x)["distances"]
        for level, factor in enumerate((2.0, 3.0, 5.0)):
            net.scales[level].fill_(factor)
        after = net(x)["distances"]
    factors = torch.repeat_interleave(torch.tensor([2.0, 3.0, 5.0]), torch.tensor([128, 32, 8]))[:, None]
    torch.testing.assert_close(after[0], before[0] * factors)


@pytest.mark.parametrize("sides", [(96, 64), (75, 33)])
def test_the_trunk_of_yunet(sides: tuple[int, int]) -> None:
    """The same layers in the same order, so the same maps from the same weights, of odd sizes too."""
    plan = {"block": "yunet", "stem": (16, 16), "blocks": (4, 2, 2, 2), "widths": (64, 64, 64, 64)}
    yunet: Any = build("yunet-n").eval()
    trunk: Any = build("scrfd-0.5g", plan).eval().trunk
    state = random_state(yunet)
    del state["stem.0.bias"]  # the norm that follows has one
    nn.init.zeros_(yunet.stem[0].bias)
    yunet.load_state_dict(state, strict=False)
    first = [value for name, value in state.items() if name.startswith(("stem.", "stages."))]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), first, strict=True)))
    x = torch.randn(2, 3, *sides)
    with torch.inference_mode():
        for found, wanted in zip(trunk(x), yunet.trunk(x), strict=True):
            torch.testing.assert_close(found, wanted)
            assert wanted.std() > 0


def test_the_neck_and_the_head_of_yunet() -> None:
    """From the same weights its scores and landmarks, twice for each cell."""
    plan = {
        "block": "yunet", "stem": (16, 16), "blocks": (4, 2, 2, 2), "widths": (64, 64, 64, 64), "neck": 64,
        "neck_block": "yunet", "head": 64, "head_depth": 1, "head_block": "yunet", "norm": "bn", "shared": False,
        "landmarks": True,
    }  # fmt: skip
    yunet: Any = build("yunet-n").eval()
    yunet.load_state_dict(random_state(yunet))
    net: Any = build("scrfd-0.5g", plan).eval()
    net.neck.lateral.load_state_dict(yunet.lateral.state_dict())
    for level, head in enumerate(net.heads):
        head.body[0].load_state_dict(yunet.shared[level][0].state_dict())
        for name, known in (("logits", "object_logits"), ("landmarks", "landmarks")):
            state = yunet.heads[known][level].state_dict()
            head.predict[name].load_state_dict({key: torch.cat([value, value]) for key, value in state.items()})
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        wanted, levels = yunet(x), net.neck(yunet.trunk(x))
        each = [head(level) for head, level in zip(net.heads, levels, strict=True)]
    found = {"logits": torch.cat([one["logits"][..., 0] for one in each], 1),
             "landmarks": torch.cat([one["landmarks"] for one in each], 1)}  # fmt: skip
    for name, values in (("logits", wanted["object_logits"][..., 0]), ("landmarks", wanted["landmarks"])):
        assert values.std() > 0
        torch.testing.assert_close(found[name], values.repeat_interleave(2, dim=1))


def test_one_block_of_yunet_has_the_channels_of_its_stage() -> None:
    plan = {"block": "yunet", "stem": (4, 6), "blocks": (1, 2, 3, 1), "widths": (8, 12, 16, 20)}
    trunk: Any = build("scrfd-0.5g", plan).trunk
    counts = [[layer[0].out_channels for layer in list(stage)[1:]] for stage in trunk.stages]
    assert counts == [[8], [8, 12], [12, 16, 16], [20]]
    assert trunk.channels == [12, 16, 20]


def test_an_image_of_one_cell() -> None:
    """Groups of one channel have one value there: norm leaves their biases."""
    net: Any = build("scrfd-0.5g").eval()
    norm = net.heads[0].body[0][0][1]
    nn.init.normal_(norm.bias)
    x = torch.randn(1, 16, 1, 1)
    torch.testing.assert_close(norm(x)[0, :, 0, 0], norm.bias, atol=1e-3, rtol=0)
    with torch.inference_mode():
        assert net(torch.randn(1, 3, 32, 32))["logits"].isfinite().all()


# ---- the decoder


def test_distances_by_hand() -> None:
    """Cell (1, 2) of the map of stride 16 over 64 x 96 pixels: the corner (32, 16), both anchors."""
    size = ImageSize(64, 96)
    first = 8 * 12 * 2 + (6 + 2) * 2
    outputs = {"logits": np.zeros(252), "distances": np.zeros((252, 4)), "landmarks": np.zeros((252, 10))}
    outputs["distances"][first + 1] = (1, 0.5, 2, 0.25)
    outputs["landmarks"][first + 1] = (-1, 0, 1, 0, 0, 0.5, -1, 1, 1, 1)
    rows = np.array([first, first + 1])
    assert DECODER.boxes(outputs, size, rows).tolist() == [[32, 16, 32, 16], [16, 8, 64, 20]]
    assert DECODER.landmarks(outputs, size, rows)[1].tolist() == [[16, 16], [48, 16], [32, 24], [16, 32], [48, 32]]
    del outputs["landmarks"]
    assert DECODER.landmarks(outputs, size, rows) is None
    anchors = DECODER.anchors(size)[rows]
    assert anchors.tolist() == [[0, -16, 64, 48], [-32, -48, 96, 80]]
    assert DECODER.level_counts(size) == [192, 48, 12]


def test_encode_is_the_inverse_of_decode() -> None:
    size, rng, rows = ImageSize(128, 160), np.random.default_rng(0), np.arange(3, 800, 41)
    corners, sides = rng.uniform(0, 100, (len(rows), 2)), rng.uniform(5, 60, (len(rows), 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    points = corners[:, None] + rng.uniform(0, 1, (len(rows), 5, 2)) * sides[:, None]
    points[0, 1] = np.nan
    count = sum(DECODER.level_counts(size))
    outputs = {"logits": np.zeros(count), "distances": np.zeros((count, 4)), "landmarks": np.zeros((count, 10))}
    outputs["distances"][rows], outputs["landmarks"][rows] = DECODER.encode(size, rows, boxes, points)
    np.testing.assert_allclose(DECODER.boxes(outputs, size, rows), boxes, atol=1e-4)
    np.testing.assert_allclose(DECODER.landmarks(outputs, size, rows), points, atol=1e-4)


# ---- published weights


def filled(name: str, model: dict[str, Any]) -> Any:
    """A net of random numbers, in which two biases of the neck are equal, as where nothing trained them."""
    net = build(name, model).eval()
    net.load_state_dict(random_state(net))
    for layer in ("merge.1.0", "halve.0.0"):
        nn.init.zeros_(net.get_submodule(f"neck.{layer}").bias)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize(
    ("name", "model"),
    [("scrfd-0.5g", {}), ("scrfd-0.5g", {**POINTS, "scaled": False}), ("scrfd-2.5g", POINTS), ("scrfd-1g", {})],
)
def test_published_weights_are_imported(name: str, model: dict[str, Any], tmp_path: Path) -> None:
    """Each array at its place: with norms folded, the nets are equal."""
    net = filled(name, model)
    (found,) = read_weights(peers.write(tmp_path / "net.onnx", scrfd_onnx(net)))
    assert (found.net, found.colour, found.scaling) == (name, "rgb", (127.5, 128.0))
    assert found.model == model_of(name, model)
    again = build(name, found.model).eval()
    again.load_state_dict(found.tensors())
    ours, theirs = fold_norms(again).state_dict(), fold_norms(net).state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, msg=key)


def test_a_net_of_another_size_is_refused(tmp_path: Path) -> None:
    data = scrfd_onnx(filled("scrfd-0.5g", {"blocks": (2, 3, 2, 5)}))
    with pytest.raises(CheckpointError, match="holds 55 convolutions, which are of no size of SCRFD"):
        read_weights(peers.write(tmp_path / "net.onnx", data))
    data = scrfd_onnx(filled("scrfd-0.5g", {})).replace(b"Mul", b"Sub")
    with pytest.raises(CheckpointError, match=r"lacks the arrays of the norm after heads\.0\.body\.0\.0\.0"):
        read_weights(peers.write(tmp_path / "net.onnx", data))
    data = scrfd_onnx(filled("scrfd-0.5g", {})).replace(b"scales.1.scale", b"scales.7.scale")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_weights(peers.write(tmp_path / "net.onnx", data))


PUBLISHED = {
    "scrfd_500m_gn_dynamic": "scrfd-0.5g",
    "scrfd_500m_bnkps_dynamic": "scrfd-0.5g",
    "scrfd_1g_gn_dynamic": "scrfd-1g",
    "scrfd_2.5g_gn_dynamic": "scrfd-2.5g",
}


# Measured elsewhere, with InsightFace's way to scale images. The larger ones, .9380, .9114, .7917 of 1g and .9525,
# .9311, .8241 of 2.5g, take a minute and have the same decoder; their outputs are compared below.
AP = {
    "scrfd_500m_gn_dynamic": (0.9185, 0.8828, 0.7450),
    "scrfd_500m_bnkps_dynamic": (0.9218, 0.8934, 0.7542),
}


@pytest.mark.data
@pytest.mark.parametrize("file", AP)
def test_average_precision_of_the_published_files(file: str, data_folder: Path, tmp_path: Path) -> None:
    """On the 300 dev photos, of boxes as the net predicts them: `mtcnn eval` clips them to the photo."""
    path, name = data_folder / "weights" / "scrfd" / f"{file}.onnx", PUBLISHED[file]
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    import_weights([path], tmp_path)
    find = ScaledDetector(load_detector(name, tmp_path, 0.02, coarse=False), "letterbox:640")
    names = load_image_list(data_folder / "wider" / "wider_face_dev_bbx_gt.txt")
    folder = data_folder / "wider" / "dev" / "images"
    found = {each: faces_to_rows(find(read_image(folder / f"{each}.jpg"))) for each in names}
    ap = evaluate(GroundTruth.load(data_folder / "wider" / "ground_truth"), found, names).ap
    assert tuple(ap[kind] for kind in ("easy", "medium", "hard")) == pytest.approx(AP[file], abs=0.003)


@pytest.mark.data
@pytest.mark.parametrize("file", PUBLISHED)
def test_outputs_of_the_published_files(file: str, data_folder: Path, tmp_path: Path) -> None:
    """As onnxruntime computes them, at three sizes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path, name = data_folder / "weights" / "scrfd" / f"{file}.onnx", PUBLISHED[file]
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    onnxruntime.set_default_logger_severity(3)  # the files name the lengths of 640 x 640
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    import_weights([path], tmp_path)
    net = load_module(weights_path(tmp_path, name), name)
    for height, width in ((640, 640), (480, 640), (96, 256)):
        x = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)) / 2
        parts = session.run(None, {"input.1": x.numpy()})
        with torch.inference_mode():
            found = {key: value[0].numpy() for key, value in net(x).items()}
        found["logits"] = 1 / (1 + np.exp(-found["logits"][:, None]))
        for key, values in (("logits", 1), ("distances", 4), ("landmarks", 10)):
            wanted = [part for part in parts if part.shape[1] == values]
            assert (key in found) is bool(wanted)
            if wanted:
                np.testing.assert_allclose(found[key], np.concatenate(wanted), atol=1e-4)
