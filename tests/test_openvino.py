"""OpenVINO as an engine: the outputs of every net are those of torch, in any thread and process."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from run_command import run
from small_detectors import small_nets, write_nets
from torch import nn

from mtcnn import Detector, Faces
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector
from mtcnn.detectors.single_stage import pad
from mtcnn.errors import CheckpointError, MtcnnError, SettingsError
from mtcnn.runtimes import cascade
from mtcnn.runtimes.torch import TorchRuntime

Array = NDArray[Any]

every = pytest.mark.parametrize("name", [name for name, spec in DETECTORS.items() if not spec.missing_package])


@pytest.fixture
def openvino() -> Any:
    pytest.importorskip("onnx")
    return pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return small_nets()


@pytest.fixture(scope="module")
def models(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nets(nets, tmp_path_factory.mktemp("models"))


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(found: Faces, wanted: Faces) -> None:
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)


# ---- without the package, and settings


@pytest.mark.parametrize("settings", [{"detector": "retinaface"}, {"detector": "best"}, {}])
def test_a_missing_package(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MtcnnError, match=r"no package openvino; expected it: pip install 'mtcnn-cascade\[openvino\]'"):
        Detector(engine="openvino", **settings)


def test_a_missing_package_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = run("detect", str(tmp_path / "none.jpg"), "--engine", "openvino")
    assert done.exit_code == 1
    assert "no package openvino" in done.stderr and "Traceback" not in done.stderr


def test_it_runs_on_a_cpu_and_for_nets_that_are_not_compiled() -> None:
    with pytest.raises(SettingsError, match="engine is 'openvino' with refine 'none' on cpu; expected it for RNet"):
        Detector(engine="openvino", refine="none")
    with pytest.raises(SettingsError, match="engine is 'openvino' on cuda; expected torch, or onnx or openvino on cpu"):
        load_detector("retinaface", device="cuda", engine="openvino")


# ---- with it


@every
def test_outputs_are_those_of_torch(
    openvino: Any, nets: dict[str, nn.Module], models: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first by a graph for any size, then by one for the size."""
    monkeypatch.setattr("mtcnn.runtimes.openvino.STEADY", 2)
    spec, runtime = DETECTORS[name], load_detector(name, models, engine="openvino").runtime
    image = pad(noise(64, 96), spec.multiple, spec.padding)
    wanted = TorchRuntime(nets[name], spec.scaling)(image)
    for _ in range(3):
        found = runtime(image)
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_crops(openvino: Any, random_models: Path, name: str) -> None:
    net: Any = Detector(random_models).refiners[name == "onet"]
    crops = np.random.default_rng(0).random((5, *(2 * [48 if name == "onet" else 24]), 3), np.float32) * 255
    run_it, compiled = cascade.crop_runner(net.net, "cpu", "openvino"), cascade.crop_runner(net.net, "cpu")
    for part in (crops, crops[:1], crops[:0]):
        for found, wanted in zip(run_it(part), compiled(part), strict=True):
            assert (found is None) is (wanted is None)
            if found is not None and wanted is not None:
                assert found.shape == wanted.shape
                np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"detector": "best"}])
def test_a_detector(openvino: Any, photos: Any, settings: dict[str, Any]) -> None:
    """The same faces, in threads that share it, in a copy, and in a process that was forked after its first use."""
    ours, detector = Detector(**settings), Detector(**settings, engine="openvino")
    face = photos["astronaut"][20:260, 120:340]
    images = [np.ascontiguousarray(face[k:, k:]) for k in (0, 3, 11)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(detector.detect, images * 2))
    wanted = [ours.detect(image) for image in images]
    assert all(len(faces) for faces in wanted)
    for faces, expected in zip(found, wanted * 2, strict=True):
        assert_same(faces, expected)
    assert_same(pickle.loads(pickle.dumps(detector)).detect(images[0]), wanted[0])
    _forked.append(detector)
    with multiprocessing.get_context("fork").Pool(1) as processes:
        assert_same(processes.apply(_in_a_fork, (images[0],)), wanted[0])
    compiled = {"pnet"} & {*detector.engines}
    assert detector.engines == {name: "compiled code" if name in compiled else "OpenVINO" for name in detector.stages}


_forked: list[Detector] = []


def _in_a_fork(image: NDArray[np.uint8]) -> Faces:
    torch.set_num_threads(1)
    return _forked[-1].detect(image)


def test_other_files(openvino: Any, tmp_path: Path) -> None:
    from mtcnn.runtimes.openvino import OpenVinoRuntime

    path = tmp_path / "net.onnx"
    with pytest.raises(CheckpointError, match=r"net\.onnx cannot be read \(No such file"):
        OpenVinoRuntime(path)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"net\.onnx is no detector; expected a file that this project exported"):
        OpenVinoRuntime(path)
