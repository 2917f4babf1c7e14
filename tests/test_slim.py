"""A slim installation: the cascade and RetinaFace detect in NumPy, and the rest says what to install.

benchmarks/slim_install.py makes a real one, and weighs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import write_clip

from mtcnn import Detector
from mtcnn.boxes import ios, iou
from mtcnn.checkpoint import Checkpoint, load_weights, packaged_weights, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import _in_numpy, _in_torch, build, model_of
from mtcnn.engine import plain
from mtcnn.engine.pnet import FastPNet
from mtcnn.engine.refine import FastRefiner
from mtcnn.libraries import SLIM_LACKS
from mtcnn.nms import nms
from mtcnn.pictures.draw import save_image
from mtcnn.resample import resample, resample_many
from mtcnn.runtimes.plain import PlainPNet, PlainRefiner
from mtcnn.runtimes.plain_graph import GRAPH
from mtcnn.runtimes.plans import write_graph
from mtcnn.weights import SIDES, Weights
from stages.photos.nodes import TrainOnPhotos
from stages.photos.recipe import DetectorRecipe
from stages.recipes import load_recipe

ROOT = Path(__file__).resolve().parent.parent

SLIM = f"""
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {sorted(SLIM_LACKS)}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Lacking())
"""
COMMAND = SLIM + "sys.argv = ['mtcnn', *sys.argv[1:]]\nfrom mtcnn.__main__ import main\nmain()\n"


def slim(folder: Path, *words: object, program: str = COMMAND) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: Any) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    face = np.ascontiguousarray(photos["astronaut"][:280, 60:360])
    save_image(folder / "face.png", face)
    save_image(folder / "coffee.png", photos["coffee"])
    write_clip(folder / "clip.mp4", [face] * 4)
    return folder


def test_photos_give_the_faces_of_a_full_installation(folder: Path) -> None:
    done = slim(folder, "detect", "face.png", "coffee.png", "--json", "--crop", "crops", "--draw", "drawn")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        expected = Detector().detect(folder / row["image"])
        found = row["faces"]
        assert len(found) == len(expected)
        for face, wanted in zip(found, expected.to_dicts(), strict=True):
            assert face["box"] == pytest.approx(wanted["box"], abs=0.5)
            assert face["score"] == pytest.approx(wanted["score"], abs=0.003)
            assert np.allclose(face["landmarks"], wanted["landmarks"], atol=0.5)
    assert len(rows[0]["faces"]) == 1
    assert (folder / "crops" / "face-face1.png").is_file()


def test_videos(folder: Path) -> None:
    done = slim(folder, "detect", "clip.mp4", "--json", "--track", "--blur", "hidden.mp4")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["faces"]) for row in rows] == [1, 1, 1, 1]
    assert (folder / "hidden.mp4").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--net", "pnet", "--data", "synthetic:3"),
        ("run", "--data", "synthetic:3"),
        ("flops", "retinaface"),
    ],
    ids=" ".join,
)
def test_the_rest_says_what_to_install(folder: Path, words: tuple[str, ...]) -> None:
    done = slim(folder, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "a slim installation can only detect; run: pip install torch numba lmdb" in done.stderr


def test_export_says_what_to_install(folder: Path) -> None:
    """Also onnx, which brings the rest as it is an extra of the whole installation."""
    lacking = SLIM.replace("['llvmlite'", "['onnx', 'onnxruntime', 'llvmlite'")
    done = slim(folder, "export", "pnet", program=lacking + COMMAND.removeprefix(SLIM))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mtcnn: no package onnx; expected it for ONNX: pip install 'mtcnn-cascade[export]'\n"


@pytest.mark.parametrize("detector", ["fast", "best"])
def test_retinaface_gives_the_faces_of_a_full_installation(folder: Path, detector: str) -> None:
    done = slim(folder, "detect", "face.png", "coffee.png", "--json", "--detector", detector, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "mtcnn: retinaface: NumPy" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows[0]["faces"]) == 1
    for row in rows:
        expected = Detector(detector=detector).detect(folder / row["image"]).to_dicts()
        assert len(row["faces"]) == len(expected)
        for face, wanted in zip(row["faces"], expected, strict=True):
            assert face["box"] == pytest.approx(wanted["box"], abs=0.5)
            assert face["score"] == pytest.approx(wanted["score"], abs=0.003)


def test_a_detector_without_a_graph(folder: Path) -> None:
    shutil.copytree(packaged_weights() / "models-full", folder / "other" / "models-full")
    graph = folder / "other" / "models-full" / "retinaface" / "graph.json"
    words = ("detect", "face.png", "--detector", "retinaface", "--models", "other")
    graph.write_text('{"key"')
    done = slim(folder, *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "graph.json is damaged; expected what `mtcnn weights import` wrote" in done.stderr
    content = json.loads((packaged_weights() / "models-full" / "retinaface" / "graph.json").read_text())
    content["graph"]["nodes"][1]["kernel"] = 5
    graph.write_text(json.dumps(content))
    assert "does not fit the graph.json beside it; import it again" in slim(folder, *words).stderr
    graph.unlink()
    done = slim(folder, *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no package torch; without it retinaface needs graph.json beside its weights" in done.stderr


def test_train_in_python_says_what_to_install(folder: Path) -> None:
    program = (
        SLIM + "import mtcnn\ntry: mtcnn.train('pnet', 'synthetic:3')\nexcept mtcnn.MtcnnError as error: print(error)"
    )
    done = slim(folder, program=program)
    assert "pip install torch numba lmdb" in done.stdout, done.stderr


def test_requirements_are_those_of_the_full_installation() -> None:
    listed = (ROOT / "requirements-detect.txt").read_text(encoding="utf-8").splitlines()
    full = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for line in listed:
        if not line.startswith("#"):
            assert f"\n    {line.replace('-headless', '')}\n" in full, line


# ---- plain code computes what compiled code does


@pytest.mark.parametrize("name", ["yunet-n", "slim", "scrfd-0.5g", "rfb", "vgg-light", "retinaface"])
def test_single_stage_nets(tmp_path: Path, name: str) -> None:
    """Of those that a plan expresses: torch gives the same."""
    spec, model = DETECTORS[name], {"vgg-light": {"width": 0.25}}.get(name, {})
    path = weights_path(tmp_path, name)
    net = build(name, model)
    for key, value in net.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    write(path, Checkpoint(name, net.state_dict(), scaling=spec.scaling, model=model_of(name, model)))
    if not write_graph(path, name):
        pytest.fail(f"no plan expresses {name}")
    image = np.random.default_rng(0).integers(0, 256, (spec.multiple * 2, spec.multiple * 3, 3), dtype=np.uint8)
    found, wanted = _in_numpy(path, name)(image), _in_torch(path, name, "cpu")(image)
    assert [*found] == [*wanted]
    for key, values in wanted.items():
        assert found[key].shape == values.shape
        assert np.allclose(found[key], values, atol=1e-3 * max(1.0, float(np.abs(values).max())))


def test_the_packaged_graph_is_that_of_the_packaged_weights(tmp_path: Path) -> None:
    """After another architecture was trained: `write_graph` of `runtimes.plans` writes it anew."""
    path = weights_path(packaged_weights(), "retinaface")
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    assert write_graph(copy, "retinaface")
    assert copy.with_name(GRAPH).read_text() == path.with_name(GRAPH).read_text()


@pytest.mark.parametrize("left", [None, "", "{}", '{"key": "of another net"}', "[" * 9999])
def test_the_graph_that_a_killed_training_left_out(tmp_path: Path, left: str | None) -> None:
    """It is written after the weights; the same command writes it where it is missing, damaged or of weights before."""
    recipe = load_recipe(DetectorRecipe, packaged_weights(), "slim")
    path = weights_path(tmp_path, "slim")
    write(path, Checkpoint("slim", build("slim").state_dict(), scaling=DETECTORS["slim"].scaling, model=recipe.model))
    graph = path.with_name(GRAPH)
    assert write_graph(path, "slim")
    whole = graph.read_bytes()
    graph.unlink()
    if left is not None:
        graph.write_text(left)
    node = TrainOnPhotos(recipe, (), tmp_path / "photos.raw")
    node.update(path)
    assert graph.read_bytes() == whole
    os.utime(graph, ns=(1, 1))
    node.update(path)
    assert graph.stat().st_mtime_ns == 1, "written again"


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("boxes", "nms", "resample"):
        monkeypatch.setattr(f"mtcnn.{module}.kernel", plain.PLAIN.__getitem__)


def some_boxes(count: int) -> Any:
    rng = np.random.default_rng(count)
    corners = rng.integers(-10, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 40, (count, 2))], axis=1).astype(np.float64)
    return boxes, rng.integers(0, 5, count) / 5  # with ties, and empty boxes


@pytest.mark.parametrize("count", [0, 1, 2, 70])
def test_nms_and_overlaps(count: int, request: pytest.FixtureRequest) -> None:
    boxes, scores = some_boxes(count)
    kinds = [(threshold, kind, limit) for threshold in (0.0, 0.3, 0.5, 1.0) for kind in ("iou", "ios")
             for limit in (None, 5)]  # fmt: skip
    compiled = [nms(boxes, scores, threshold, kind, limit).tolist() for threshold, kind, limit in kinds]  # type: ignore[arg-type]
    overlap = [iou(boxes, boxes[:7]), ios(boxes, boxes[:7])]
    request.getfixturevalue("uncompiled")
    assert [nms(boxes, scores, *kind).tolist() for kind in kinds] == compiled  # type: ignore[arg-type]
    assert np.array_equal([iou(boxes, boxes[:7]), ios(boxes, boxes[:7])], overlap)


def test_resampling(photos: Any, request: pytest.FixtureRequest) -> None:
    image = np.ascontiguousarray(photos["astronaut"][:90, :130])
    places = np.array([[-20, -9, 40, 51], [3.3, 5.1, 20.4, 22.2], [60, 40, 200, 180], [5, 5, 5, 9], [np.nan] * 4,
                       [500, 500, 540, 540], [0, 0, 130, 90]])  # fmt: skip
    sizes = [(90, 130), (45, 65), (31, 47), (180, 200), (1, 1)]
    whole = [resample(image, *size) for size in sizes]
    exact = resample_many(image, places, 24, exact=True)
    request.getfixturevalue("uncompiled")
    for size, expected in zip(sizes, whole, strict=True):
        assert np.abs(resample(image, *size).astype(int) - expected).max() <= 1
    assert np.abs(resample_many(image, places, 24, exact=True) - exact).max() < 1e-3


def weights(net: str) -> Weights:
    found = load_weights(weights_path(packaged_weights(), net), net)
    state = {name: value.copy() for name, value in found.state.items()}
    slope = next(name for name in state if ".prelu." in name)
    state[slope][::2] *= -1  # then pooling before PReLU gives other values
    return Weights(net, state)


@pytest.mark.parametrize("side", [(12, 12), (13, 40), (64, 97), (300, 250)])
def test_pnet(photos: Any, side: tuple[int, int]) -> None:
    level, net = np.ascontiguousarray(photos["astronaut"][: side[0], : side[1]]), weights("pnet")
    rows = (side[0] - 1) // 2 - 4
    for first, last in ((0, rows), (rows // 3, rows), (0, 0)):
        found, wanted = (of.cells(level, -3.0, first, last) for of in (PlainPNet(net), FastPNet(net)))
        assert np.array_equal(found.rows, wanted.rows)
        assert np.array_equal(found.columns, wanted.columns)
        assert np.allclose(found.logits, wanted.logits, atol=1e-3)
        assert np.allclose(found.offsets, wanted.offsets, atol=1e-3)


@pytest.mark.parametrize("net", ["rnet", "onet", "cnet"])
@pytest.mark.parametrize("count", [0, 1, 65])
def test_refiners(net: str, count: int) -> None:
    side, given = SIDES[net], weights(net)
    crops = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    found, wanted = PlainRefiner(given)(crops), FastRefiner(given)(crops)
    assert np.allclose(found.logits, wanted.logits, atol=2e-3)
    assert np.allclose(found.offsets, wanted.offsets, atol=2e-3)
    assert (found.landmarks is None) is (wanted.landmarks is None)
    if found.landmarks is not None and wanted.landmarks is not None:
        assert found.landmarks.shape == (count, 5, 2)
        assert np.allclose(found.landmarks, wanted.landmarks, atol=2e-3)
