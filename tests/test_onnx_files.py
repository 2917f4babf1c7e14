"""Detectors in ONNX files: exports of this project, and files of others, find what the nets in them find."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_detectors import small_model, write_nets
from torch import Tensor, nn

from mtcnn import export
from mtcnn.checkpoint import weights_path
from mtcnn.compare import choose, costs
from mtcnn.compare.entries import LOWEST
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector
from mtcnn.detectors.onnx_file import FittedStage, load_onnx_file
from mtcnn.errors import CheckpointError, SettingsError
from mtcnn.onnx_graph.counts import counted
from mtcnn.runtimes.onnx_forms import FORMS, _scrfd, _yunet
from mtcnn.types import Faces, ImageSize

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the legacy exporter
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

IMAGE = np.random.default_rng(4).integers(0, 256, (75, 130, 3), np.uint8)
EXPECTED = "expected a file that mtcnn export wrote, or SCRFD or YuNet as their authors export them"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of small nets, and their files."""
    made = tmp_path_factory.mktemp("onnx")
    nets = {name: _lively(name) for name in ("yunet-s", "scrfd-0.5g", "scrfd-10g")}
    write_nets(nets, made)
    for name, net in nets.items():
        other = _YuNetFile(net) if name == "yunet-s" else _ScrfdFile(net)
        other.write(made / f"other-{name}.onnx")
    export("yunet-s", made / "yunet-s.onnx", made)
    export("yunet-s", made / "fixed.onnx", made, shape=(96, 160))
    export("yunet-s", made / "two.onnx", made, shape=(96, 160), batch=2)
    export("yunet-s", made / "whole.onnx", made, with_nms=True, thresholds=0.1)
    export("yunet-s", made / "inputs.onnx", made, with_nms=True, as_inputs=True)
    return made


# Means and standard deviations of outputs: many faces, of different scores and sizes.
LIVELY = {"logits": (-2.0, 1.5), "class_logits": (0.0, 1.0), "object_logits": (0.5, 2.0), "distances": (2.0, 0.7),
          "boxes": (0.5, 0.5), "landmarks": (0.0, 1.0)}  # fmt: skip


def _lively(name: str) -> nn.Module:
    """A small net whose last convolutions are scaled: those of an untrained net are near 0."""
    torch.manual_seed(0)
    net, scaling = build(name, small_model(name)).train(), DETECTORS[name].scaling
    mean, divisor = float(scaling[0]), scaling[1]  # type: ignore[arg-type]
    x = (torch.from_numpy(IMAGE[:64, :128].transpose(2, 0, 1)[None].copy()).float() - mean) / divisor
    with torch.no_grad():
        net(x)
        found = net.eval()(x)
        for output, (mean, std) in LIVELY.items():
            layers = [layer for key, layer in net.named_modules()
                      if isinstance(layer, nn.Conv2d) and f".{output}" in key]  # fmt: skip
            for layer in layers[1::2] if name == "yunet-s" else layers:
                layer.weight *= std / found[output].std()
                layer.bias.fill_(mean)  # type: ignore[union-attr]
    return net


class _File(nn.Module):
    """A net as another project exports it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.outputs(x).values())

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def write(self, path: Path) -> None:
        x = torch.zeros(1, 3, 64, 96)
        found = self.outputs(x)
        axes = {"input.1": {2: "height", 3: "width"}} | {name: {found[name].ndim - 2: "rows"} for name in found}
        torch.onnx.export(self.eval(), (x,), str(path), input_names=["input.1"], output_names=list(found),
                          dynamic_axes=axes, opset_version=17, dynamo=False)  # fmt: skip


class _ScrfdFile(_File):
    """Outputs (A, values), whose names say nothing, as in InsightFace's files."""

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {f"output.{i}": value[0] for i, value in enumerate(self.net.deployed(x).values())}  # type: ignore[operator]


class _YuNetFile(_File):
    """BGR in; scores of each level, then boxes, then points."""

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        found, cells = self.net(x.flip(1)), []
        for stride in (8, 16, 32):
            cells.append(-(-x.shape[2] // stride) * -(-x.shape[3] // stride))
        kinds = {"cls": "class_logits", "obj": "object_logits", "bbox": "boxes", "kps": "landmarks"}
        made = {}
        for kind, name in kinds.items():
            values = found[name].sigmoid() if kind in ("cls", "obj") else found[name]
            for stride, part in zip((8, 16, 32), values.split(cells, dim=1), strict=True):
                made[f"{kind}_{stride}"] = part
        return made


def same(found: Faces, wanted: Faces) -> None:
    assert len(found) == len(wanted) > 3
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.02)
    assert (found.landmarks is None) == (wanted.landmarks is None)
    if found.landmarks is not None and wanted.landmarks is not None:
        np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.02)


@pytest.mark.parametrize(
    ("file", "name"),
    [("yunet-s", "yunet-s"), ("other-yunet-s", "yunet-s"), ("other-scrfd-0.5g", "scrfd-0.5g"),
     ("other-scrfd-10g", "scrfd-10g")],
)  # fmt: skip
def test_net_finds_the_same_faces(folder: Path, file: str, name: str) -> None:
    """At a size that is no multiple of 32, on images of odd sides, with the threshold given."""
    found = load_onnx_file(folder / f"{file}.onnx", 0.05)
    same(found(IMAGE), load_detector(name, folder, 0.05, engine="torch", coarse=False)(IMAGE))
    assert len(found(np.zeros((0, 5, 3), np.uint8))) == 0


def test_threshold_of_a_file(folder: Path) -> None:
    assert load_onnx_file(folder / "yunet-s.onnx").threshold == DETECTORS["yunet-s"].threshold  # type: ignore[union-attr]
    assert load_onnx_file(folder / "other-scrfd-0.5g.onnx").threshold == 0.5  # type: ignore[union-attr]


def test_file_of_one_size(folder: Path) -> None:
    """A smaller image is padded, a larger one shrunk, and its faces are in its own pixels."""
    found = load_onnx_file(folder / "fixed.onnx", 0.05)
    assert isinstance(found, FittedStage)
    own = load_detector("yunet-s", folder, 0.05, engine="torch", coarse=False)
    padded = np.zeros((96, 160, 3), np.uint8)
    padded[:75, :130] = IMAGE
    same(found(IMAGE), own(padded))
    large = np.repeat(np.repeat(padded, 3, axis=0), 3, axis=1)
    wanted = own(padded)
    assert wanted.landmarks is not None
    same(found(large), Faces(wanted.boxes * 3, wanted.scores, wanted.landmarks * 3))
    assert len(found(np.zeros((0, 5, 3), np.uint8))) == 0


def test_whole_detector_as_a_row(folder: Path) -> None:
    """Its threshold limits what it finds, which its label says, unless it is an input."""
    whole, inputs, plain = choose([str(folder / f"{name}.onnx") for name in ("whole", "inputs", "yunet-s")])
    assert [entry.label for entry in (whole, inputs, plain)] == [
        "whole.onnx, scores from 0.1", "inputs.onnx", "yunet-s.onnx"
    ]  # fmt: skip
    own = plain.detector()(IMAGE)
    same(inputs.detector()(IMAGE), own)
    same(whole.detector()(IMAGE), own[own.scores >= 0.1])
    assert own.scores.min() < 0.1
    assert own.boxes.min() >= 0
    assert max(own.boxes[:, 2]) <= 130
    assert len(inputs.detector(measured=False)(IMAGE)) < len(own)


def test_rows_of_files(folder: Path) -> None:
    file = str(folder / "yunet-s.onnx")
    rows = choose([file, file, "yunet-s", f"{folder}/yunet-s"], scales=["original", "320"], refine="rnet")
    assert [row.label for row in rows[:4]] == ["yunet-s.onnx", "yunet-s.onnx+rnet", "yunet-s", f"{folder}/yunet-s"]
    assert rows[2].missing() == "no weights of yunet-s"
    assert [row.label for row in rows if row.scale == "320"][:2] == ["yunet-s.onnx @320", "yunet-s.onnx+rnet @320"]
    assert len({row.key() for row in rows if not row.missing()}) == len(rows) - 2
    found, wanted = (choose([name], refine="rnet")[1].detector()(IMAGE) for name in (file, f"{folder}/yunet-s"))
    same(found, wanted)
    copy = folder / "deep" / "yunet-s.onnx"
    copy.parent.mkdir()
    copy.write_bytes(Path(file).read_bytes())
    twins = choose([file, str(copy)])
    assert [row.label for row in twins] == [file, str(copy)]
    assert twins[0].key() == twins[1].key()


def test_counts_of_a_file(folder: Path) -> None:
    """Multiply-adds are those of the net; parameters lack batch norms, which the export has folded."""
    (net,), (file,) = choose([f"{folder}/yunet-s"]), choose([str(folder / "other-yunet-s.onnx")])
    wanted, found = costs.arithmetic(net), costs.arithmetic(file)
    assert found["mflops_640x480"] == wanted["mflops_640x480"]
    assert 0.9 * wanted["parameters"] < found["parameters"] < wanted["parameters"]
    fixed = costs.arithmetic(choose([str(folder / "fixed.onnx")])[0])
    assert "mflops_640x480" not in fixed
    assert "mflops_640x480" not in costs.arithmetic(choose([str(folder / "whole.onnx")])[0])
    odd = costs.arithmetic(choose([str(folder / "other-scrfd-0.5g.onnx")])[0])
    assert odd["mflops_320x240"] > 0


def test_files_of_other_forms(folder: Path, tmp_path: Path) -> None:
    export("pnet", tmp_path / "pnet.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    net = nn.Conv2d(3, 4, 3)
    torch.onnx.export(net, (torch.zeros(1, 3, 64, 96),), str(tmp_path / "conv.onnx"), dynamo=False)
    torch.onnx.export(nn.Linear(8, 2), (torch.zeros(1, 8),), str(tmp_path / "linear.onnx"), dynamo=False)
    for name, words in {
        "pnet": "holds pnet, a part of the cascade; expected a detector: mtcnn export writes one",
        "text": "is no detector for ONNX; expected a file that onnxruntime can load",
        "conv": f"is no detector of a known form; for 64 x 96 pixels it gives .* [1, 4, 62, 94]; {EXPECTED}",
        "linear": f"[1, 8]; {EXPECTED}",
    }.items():
        with pytest.raises(CheckpointError) as error:
            choose([str(tmp_path / f"{name}.onnx")])
        assert all(part in str(error.value) for part in words.split(".*")), error.value
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"takes 2 images at a time; expected 1, as exported without `batch`"):
        choose([str(folder / "two.onnx")])
    with pytest.raises(SettingsError, match=r"none\.onnx does not exist; expected an ONNX file of a detector"):
        choose([str(tmp_path / "none.onnx")])
    with pytest.raises(SettingsError, match=r"expected nothing, \+rnet or \+rnet\+onet after the file"):
        choose([str(folder / "whole.onnx+onet")])
    with pytest.raises(CheckpointError, match=r"has no weights of slim; expected a folder of models"):
        choose([f"{tmp_path}/slim"])


def test_forms_need_scores_and_every_output() -> None:
    """Logits, a missing level and one output more are other forms."""
    size = ImageSize(64, 96)
    assert FORMS.keys() == {"SCRFD", "YuNet"}

    def made(kinds: Mapping[str, int], each: int) -> dict[str, Any]:
        return {f"{kind}_{stride}": np.full((each * 6144 // stride**2, count), 0.5, np.float32)
                for kind, count in kinds.items() for stride in (8, 16, 32)}  # fmt: skip

    scrfd, yunet = made({"a": 1, "b": 4, "c": 10}, 2), made({"cls": 1, "obj": 1, "bbox": 4, "kps": 10}, 1)
    for read, outputs, score in ((_scrfd, scrfd, "a_8"), (_yunet, yunet, "obj_16")):
        assert read(outputs, size) is not None
        assert read({**outputs, score: outputs[score] * 3}, size) is None
        assert read({**outputs, "more": np.zeros((3, 3), np.float32)}, size) is None
        assert read({name: value for name, value in outputs.items() if name != score}, size) is None
    assert _scrfd(yunet, size) is None
    assert _yunet(scrfd, size) is None
    found = _scrfd({name: value for name, value in scrfd.items() if not name.startswith("c")}, size)
    assert found is not None
    assert "landmarks" not in found


def test_a_size_that_a_net_does_not_take_is_extended_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A net that adds levels, such as YuNet's published file: onnxruntime would print its error of the first size."""
    from onnx import TensorProto, helper, numpy_helper, save

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["fine"]),
        helper.make_node("MaxPool", ["fine"], ["coarse"], kernel_shape=[32, 32], strides=[32, 32], ceil_mode=1),
        helper.make_node("Resize", ["coarse", "", "scales"], ["again"]),
        helper.make_node("Add", ["fine", "again"], ["sum"]),
    ]
    arrays = [numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "weight"),
              numpy_helper.from_array(np.array([1, 1, 32, 32], np.float32), "scales")]  # fmt: skip
    total = helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "levels", [image], [total], arrays)
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(tmp_path / "net.onnx")
    )
    assert counted(tmp_path / "net.onnx", {"at": (240, 320)})["at"] == 3 * 256 * 320 / 1e6
    assert capfd.readouterr().err == ""


@pytest.mark.data
def test_published_yunet_equals_its_import(data_folder: Path, tmp_path: Path) -> None:
    from mtcnn.images import read_image
    from mtcnn.importers import import_weights

    weights = data_folder / "weights" / "yunet"
    import_weights([weights / "yunet_n.pth"], tmp_path)
    assert weights_path(tmp_path, "yunet-n").is_file()
    photo = read_image(sorted((data_folder / "wider" / "dev" / "images").glob("*/*.jpg"))[0])
    found = load_onnx_file(weights / "yunet_n_dynamic.onnx", LOWEST)(photo)
    same(found, load_detector("yunet-n", tmp_path, LOWEST, coarse=False)(photo))
