"""`mtcnn.train`, `evaluate` and `export`: what the commands do, with typed results and callbacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import write_recipes
from run_command import run
from sample_data import lay_out

import mtcnn
from mtcnn.api.training import Batch, Epoch, TrainResult, app_module
from mtcnn.checkpoint import read
from mtcnn.detector_settings import DetectorSettings
from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.metrics.fddb import FddbResult
from mtcnn.metrics.landmarks import LandmarkResult
from mtcnn.metrics.wider import WiderResult

ROOT = Path(__file__).resolve().parent.parent


class StopError(Exception):
    """Raised by a callback."""


# ---- training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Epoch], list[Batch]]:
    """PNet, trained in a few seconds with both callbacks, in a folder in which one of them had stopped it before."""
    work = write_recipes(tmp_path_factory.mktemp("api") / "work")
    epochs: list[Epoch] = []
    batches: list[Batch] = []

    def stop(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.net == "pnet":
            raise StopError

    with pytest.raises(StopError):
        mtcnn.train("pnet", "synthetic:8", work, on_epoch=stop)
    result = mtcnn.train("pnet", work=work, on_epoch=epochs.append, on_batch=batches.append)
    return result, epochs, batches


def test_result_of_a_training(trained: tuple[TrainResult, list[Epoch], list[Batch]]) -> None:
    result, _, _ = trained
    assert result.nets == ("pnet",)
    assert result.made == ("pnet",), "the crops and the draft were there"
    assert result.weights == {"pnet": result.work / "models-12" / "weights-pnet.safetensors"}
    assert read(result.weights["pnet"]).figures["epochs"] == len(result.epochs["pnet"])
    again = mtcnn.train("pnet", work=result.work)
    assert again.made == ()
    assert again.epochs == result.epochs


def test_callbacks(trained: tuple[TrainResult, list[Epoch], list[Batch]]) -> None:
    """Each epoch is seen once, though one callback ended the first call; a step is seen by the call that takes it."""
    result, epochs, batches = trained
    seen = [each for each in epochs if each.net == "pnet"]
    assert seen == list(result.epochs["pnet"])
    assert [each.epoch for each in seen] == list(range(seen[0].epochs))
    assert {each.net for each in epochs} == {"pnet-draft", "pnet"}
    log = (result.work / "models-12" / "metrics-pnet.jsonl").read_text().splitlines()
    assert [{"epoch": each.epoch, **each.metrics} for each in seen] == [json.loads(line) for line in log]
    for epoch in seen[1:]:
        losses = [each.losses["total"] for each in batches if (each.net, each.epoch) == ("pnet", epoch.epoch)]
        assert [each.step for each in batches if each.epoch == epoch.epoch] == list(range(len(losses)))
        assert np.mean(losses) == pytest.approx(epoch.metrics["train_total"], abs=1e-5)


def test_weights_do_not_depend_on_callbacks(trained: Any, tmp_path: Path) -> None:
    result: TrainResult = trained[0]
    plain = mtcnn.train("pnet", "synthetic:8", write_recipes(tmp_path / "work"))
    one, other = read(plain.weights["pnet"]), read(result.weights["pnet"])
    assert all(np.array_equal(value, other.state[name]) for name, value in one.state.items())
    assert plain.made == ("crops-12", "pnet-draft", "crops-12-hard", "pnet")


def test_command_and_function_are_the_same(trained: Any) -> None:
    result: TrainResult = trained[0]
    done = run("train", "--net", "12", "--work", result.work)
    assert done.stdout == f"{result.weights['pnet']} (was fresh)\n"


def test_a_single_net_of_the_cascade_is_no_detector(trained: Any) -> None:
    with pytest.raises(MtcnnError, match="pnet alone is no detector; expected all of pnet, rnet, onet"):
        trained[0].detector()


RECIPE = """
net = "slim"
objective = {name = "multibox"}
train = {epochs = 1, steps = 2, batch = 2, warmup = 1, val = 40}
"""


def test_a_detector_is_trained_used_and_measured(tmp_path: Path) -> None:
    (tmp_path / "models-full" / "slim").mkdir(parents=True)
    (tmp_path / "models-full" / "slim" / "recipe.toml").write_text(RECIPE)
    lines: list[str] = []
    result = mtcnn.train("slim", ["synthetic:6"], tmp_path, say=lines.append)
    assert result.made == ("photos", "slim")
    assert any(line.startswith("slim: made in ") for line in lines)
    detector = result.detector(score=0.9)
    assert (detector.settings.stages, detector.settings.thresholds) == (("slim",), (0.9,))
    outcome = result.measure()
    assert outcome is not None
    assert 0 < outcome.photos == outcome.of == len(result.validation)
    assert 0 <= outcome.ap <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "qnet"}, "net is 'qnet'; expected one of pnet, rnet"),
        ({"net": "slim", "hard_from": "pnet"}, "hard_from is 'pnet'; expected none for a detector"),
        ({"net": "onet", "hard_from": "slim"}, "hard_from is 'slim'; expected pnet or rnet"),
        ({"net": "onet", "teacher": "t"}, "teacher is 't'; expected none for onet"),
        ({"teacher": "t"}, "teacher is 't'; expected none for the cascade"),
    ],
)
def test_settings_of_a_training_are_checked(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        mtcnn.train(**arguments, work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


def test_a_module_of_the_caller_with_our_name(tmp_path: Path) -> None:
    """It is loaded already, or lies in the caller's folder, which comes first on sys.path."""
    (tmp_path / "stages.py").write_text("MINE = 1\n")
    begin = "import sys; sys.path.insert(0, '.'); import mtcnn\n"
    end = "try: mtcnn.train('pnet', 'synthetic:3', 'work')\nexcept mtcnn.MtcnnError as error: print(error)"
    loaded = python(f"{begin}import stages\n{end}", tmp_path)
    assert loaded.stdout.startswith("a module named stages is loaded from "), loaded.stderr
    assert loaded.stdout.count("\n") == 1
    found = python(f"{begin}from mtcnn.api.training import app_module\nprint(app_module('stages.run_log'))", tmp_path)
    assert str(ROOT / "stages" / "run_log.py") in found.stdout, found.stderr


def test_unknown_module_of_ours_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"stages\.nothing"):
        app_module("stages.nothing")


# ---- evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, random_models: Path) -> Path:
    return lay_out(tmp_path_factory.mktemp("evaluated"))


def test_wider(folder: Path, random_models: Path) -> None:
    settings = {"models": random_models, "min_face": 40.0}
    found = mtcnn.evaluate(
        folder / "labels.txt", folder / "images", detections={"given": folder / "found.zip"}, detector=settings
    )
    assert (found.protocol, list(found.results)) == ("wider", ["given", "mtcnn"])
    result: WiderResult = found["given"]
    assert max(result.ap.values()) > 0.4
    assert found.settings is not None
    assert (found.settings["min_face"], found.settings["scale"]) == (40, "original")
    words = (folder / "found.zip", "--photos", folder / "images", "--ground-truth", folder / "labels.txt")
    options = ("--models", random_models, "--min-face", 40, "--workers", 1)
    text = run("eval", "wider", f"given={words[0]}", *words[1:], *options).stdout
    assert text == f"{found}\n"
    values = run("eval", "wider", f"given={words[0]}", *words[1:], *options, "--json").stdout
    assert json.loads(values) == found.to_dict()


def test_a_detector_is_evaluated_as_it_is(folder: Path, random_models: Path) -> None:
    detector = mtcnn.Detector(random_models, min_face=40, thresholds=(0.6, 0.3, 0.1))
    given = mtcnn.evaluate(folder / "labels.txt", folder / "images", detector=detector)
    named = mtcnn.evaluate(
        folder / "labels.txt",
        folder / "images",
        detector={"models": random_models, "min_face": 40, "thresholds": (0.6, 0.3, 0.1)},
    )
    assert given.to_dict() == named.to_dict()


def test_fddb_and_landmarks(folder: Path, random_models: Path) -> None:
    found = mtcnn.evaluate(
        folder / "FDDB-folds",
        folder / "originalPics",
        protocol="fddb",
        detections=folder / "result.txt",
        write=folder / "roc-",
    )
    curve: FddbResult = found["result.txt"]
    assert curve.discrete[-1] > 0.4
    assert (folder / "roc-DiscROC.txt").is_file()
    assert found.settings is None
    points = mtcnn.evaluate(folder / "faces_test.csv", protocol="landmarks", detector={"models": random_models})
    errors: LandmarkResult = points["mtcnn"]
    assert errors.faces > 0
    assert "mtcnn: models" in str(points)


def test_curves_are_drawn(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    found = mtcnn.evaluate(folder / "ground_truth", detections=[folder / "found.zip"])
    assert found.plot(folder / "pr.png").stat().st_size > 1000


def test_problems_are_listed(folder: Path) -> None:
    (folder / "list-of-two.txt").write_text((folder / "list.txt").read_text() + "event/stranger.jpg\n")
    given: Any = {"detections": [folder / "found.zip"], "labels": folder / "list-of-two.txt"}
    found = mtcnn.evaluate(folder / "labels.txt", **given)
    assert [str(each) for each in found.problems] == [
        "event/stranger: in the list of images, but not in the ground truth; left out"
    ]
    with pytest.raises(MtcnnError, match="event/stranger"):
        mtcnn.evaluate(folder / "labels.txt", **given, strict=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "coco"}, "protocol is 'coco'; expected one of wider, fddb, landmarks"),
        ({"protocol": "fddb", "labels": "x"}, "labels is 'x'; expected none for the protocol fddb"),
        ({"protocol": "landmarks", "write": "x"}, "write is 'x'; expected none for the protocol landmarks"),
        ({"sizes": "x"}, "sizes is 'x'; expected none for the protocol wider"),
        ({"detector": {"min_face": 0}}, "min_face is 0; expected"),
        ({}, "nothing to evaluate"),
    ],
)
def test_settings_of_an_evaluation_are_checked(arguments: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        mtcnn.evaluate("labels.txt", **arguments)


# ---- export


def test_export(random_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    made = mtcnn.export("pnet", models=random_models)
    assert made.path == Path("pnet.onnx")
    assert made.path.is_file()
    assert made.outputs == ("face_logits", "offsets")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "qnet"}, "net is 'qnet'; expected one of pnet"),
        ({"net": "pnet", "path": "a.txt"}, r"a\.txt is no name for an ONNX file; expected a suffix \.onnx"),
        ({"net": "pnet", "batch": 2}, "batch is for a file with `shape`"),
    ],
)
def test_settings_of_an_export_are_checked(arguments: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        mtcnn.export(**arguments)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({}, "mtcnn"), ({"detector": "mtcnn"}, "mtcnn"), ({"stage1": "pnet"}, "mtcnn"),
     ({"detector": "best"}, "retinaface+rnet+onet"),
     ({"detector": "retinaface"}, "retinaface"), ({"stage1": "retinaface", "refine": "rnet"}, "retinaface+rnet"),
     ({"refine": "none"}, "pnet")],
)  # fmt: skip
def test_results_are_named_after_the_detector(tmp_path: Path, settings: dict[str, Any], name: str) -> None:
    assert DetectorSettings(**settings).title == name
    with pytest.raises(mtcnn.MtcnnError, match=r"named|taken"):
        mtcnn.evaluate(tmp_path, tmp_path, detections={name: tmp_path / "x"}, detector=settings)
