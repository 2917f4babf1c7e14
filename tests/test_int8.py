"""A detector in int8: calibrated on photos, smaller, and with almost the same faces; what is lost is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from run_command import run

import mtcnn
from mtcnn import Faces
from mtcnn.detectors import DETECTORS
from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.onnx_graph.int8 import CalibrationPhotos, _after_the_last, agreement

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Array = NDArray[Any]


@pytest.fixture(scope="module")
def folder(photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos of one face, of sizes that are no multiples of 32, and a file that is none."""
    made = tmp_path_factory.mktemp("photos")
    for k in range(6):
        face = photos["astronaut"][10 + 3 * k : 240, 120 + 5 * k : 340]
        Image.fromarray(face).save(made / f"{k}.png")
    (made / "7.jpg").write_bytes(b"no photo")
    return made


def float_convolutions(path: Path) -> int:
    nodes = onnx.load(str(path)).graph.node
    quantised = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    return sum(node.op_type == "Conv" and node.input[1] not in quantised for node in nodes)


def test_a_net(folder: Path, tmp_path: Path) -> None:
    made = mtcnn.export("retinaface", tmp_path / "r.onnx", int8=folder)
    plain = mtcnn.export("retinaface", tmp_path / "f.onnx")
    assert plain.agreement is None
    assert made.agreement is not None
    assert (made.agreement.calibrated, made.agreement.photos) == (3, 3)  # in turns; the seventh is no photo
    assert made.agreement.found == made.agreement.faces == 3 and made.agreement.more == 0
    assert made.agreement.overlap > 0.9 and made.agreement.score < 0.1
    assert made.difference < 1e-3
    assert made.path.stat().st_size < 0.6 * plain.path.stat().st_size
    nodes = [node.op_type for node in onnx.load(str(made.path)).graph.node]
    assert nodes.count("QuantizeLinear") > 30
    assert float_convolutions(made.path) == 9  # the heads: three of each level
    facts = [ort.InferenceSession(str(path)).get_modelmeta().custom_metadata_map for path in (made.path, plain.path)]
    assert facts[0] == facts[1]


def test_a_whole_detector_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    done = run("export", "retinaface", tmp_path / "r.onnx", "--with-nms", "--int8", folder)
    assert done.exit_code == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "boxes, scores, landmarks; before int8 equal to Detector within" in first
    assert second.startswith("int8: 3 of the 3 faces of float32 in 3 photos, 0 others; mean IoU 0.9")
    assert second.endswith("calibrated on 3 photos")
    assert not done.stderr
    image = np.asarray(Image.open(folder / "1.png"))
    boxes, scores, _ = ort.InferenceSession(str(tmp_path / "r.onnx")).run(None, {"image": image})
    assert len(boxes) == 1 and scores[0] > 0.5


def test_scaled_inputs_of_one_shape(folder: Path, tmp_path: Path) -> None:
    """SCRFD's file takes scaled images. The photos are fitted to the shape."""
    from small_detectors import small_nets, write_nets

    name = "scrfd-0.5g"
    models = write_nets({name: small_nets()[name]}, tmp_path / "models")
    made = mtcnn.export(name, tmp_path / "s.onnx", models, shape=(64, 96), int8=folder)
    assert made.agreement is not None and made.agreement.calibrated == 3
    session = ort.InferenceSession(str(made.path))
    assert session.get_inputs()[0].shape == [1, 3, 64, 96]
    photos = CalibrationPhotos(folder, DETECTORS[name], (64, 96))
    assert {image.shape for image in photos.calibrated} == {(64, 96, 3)}
    scales = {node.input[0]: node for node in onnx.load(str(made.path)).graph.node if node.op_type == "QuantizeLinear"}
    numbers = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(str(made.path)).graph.initializer}
    assert numbers[scales["images"].input[1]] == pytest.approx(2 / 255, rel=0.1)  # -1 to 1, not 0 to 255


def test_the_nodes_after_the_last_convolution() -> None:
    from mtcnn.onnx_graph.builder import Graph

    g, kernel = Graph(), np.zeros((3, 3, 1, 1), np.float32)
    first = g.op("Relu", g.op("Conv", g.input("x", np.float32, [1, 3, 4, 4]), kernel))
    second = g.op("Conv", g.op("Add", first, np.float32(1)), kernel)
    third = g.op("Conv", first, kernel)
    model = g.model([("y", g.op("Add", second, third), np.float32, [1, 3, 4, 4])], {})
    for k, node in enumerate(model.graph.node):
        node.name = f"{k} {node.op_type}"
    assert sorted(_after_the_last(model.graph)) == ["3 Conv", "4 Conv", "5 Add", "6 Identity"]


class Drawn:
    """As many photos."""

    def __init__(self, count: int) -> None:
        self.calibrated, self.compared = [np.zeros((9, 9, 3), np.uint8)] * 2, [np.zeros((9, 9, 3), np.uint8)] * count


def faces(*boxes: tuple[float, ...], score: float = 0.9) -> Faces:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(table, np.full(len(table), score, np.float32))


def test_agreement() -> None:
    ours = faces((0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60))
    theirs = faces((0, 0, 10, 8), (0, 0, 10, 6), (20, 6, 30, 16), score=0.8)  # IoU .8, .6, .25
    found = agreement(Drawn(2), lambda _: ours, lambda _: theirs)  # type: ignore[arg-type]
    assert (found.photos, found.faces, found.found, found.more) == (2, 6, 2, 4)
    assert found.overlap == pytest.approx(0.8) and found.score == pytest.approx(0.1)
    none = agreement(Drawn(1), lambda _: ours, lambda _: faces())  # type: ignore[arg-type]
    assert (none.faces, none.found, none.more) == (3, 0, 0) and np.isnan(none.overlap)
    assert str(none).startswith("int8: 0 of the 3 faces of float32 in 1 photos, 0 others; nothing in common")


def test_one_photo_serves_both(photos: Any, tmp_path: Path) -> None:
    Image.fromarray(photos["astronaut"]).resize((900, 700)).save(tmp_path / "a.png")
    found = CalibrationPhotos(tmp_path, DETECTORS["retinaface"])
    assert len(found.calibrated) == 1 and found.compared is found.calibrated
    assert found.calibrated[0].shape == (498, 640, 3)  # shrunk
    (x,) = found.inputs()
    assert x.shape == (1, 3, 512, 640) and x.max() > 200


def test_refusals(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    with pytest.raises(MtcnnError, match="none is no folder; expected one with photos for int8"):
        mtcnn.export("retinaface", out, int8=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MtcnnError, match="empty has no photos that can be read; expected a hundred or so for int8"):
        mtcnn.export("retinaface", out, with_nms=True, int8=tmp_path / "empty")
    for net in ("pnet", "onet", "mtcnn"):
        with pytest.raises(SettingsError, match=f"expected none for {net}: it is for single-stage detectors"):
            mtcnn.export(net, out, int8=folder)
    with pytest.raises(SettingsError, match="batch is 2; expected 1 with int8"):
        mtcnn.export("retinaface", out, shape=(64, 64), batch=2, int8=folder)
    assert not out.exists()
