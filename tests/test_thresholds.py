"""Default thresholds travel with the weights: from the recipe into the file, and from its header into detection."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from factories import ROOT, environment
from published_weights import facenet
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, has_weights, read, read_threshold, set_threshold, weights_path, write
from mtcnn.detector_settings import DetectorSettings
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.errors import CheckpointError, RecipeError
from mtcnn.importers import import_weights
from mtcnn.nets import NETS
from mtcnn.onnx_export import export_onnx
from mtcnn.scoring import Scoring
from mtcnn.thresholds import default_threshold, published_threshold
from mtcnn.weights import SIZES
from stages.crops.nodes import TrainOnStores
from stages.crops.recipe import Recipe, TrainSettings
from stages.photos.nodes import TrainOnPhotos
from stages.photos.recipe import DetectorRecipe
from stages.recipes import digest, load_recipe, read_recipe

PACKAGED = [net for net in (*SIZES, *DETECTORS) if has_weights(ROOT, net)]
CHOSEN = {"pnet": 0.25, "rnet": 0.5, "onet": 0.75}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Weights of the cascade with thresholds of their own, and of RetinaFace with one that differs from its entry's."""
    for net, threshold in CHOSEN.items():
        write(weights_path(tmp_path, net), Checkpoint(net, NETS[net]().state_dict(), threshold=threshold))
    spec, model = DETECTORS["retinaface"], model_of("retinaface")
    state = build("retinaface").state_dict()
    made = Checkpoint("retinaface", state, scaling=spec.scaling, model=model, threshold=0.125)
    write(weights_path(tmp_path, "retinaface"), made)
    return tmp_path


@pytest.mark.parametrize("net", PACKAGED)
def test_packaged_weights_carry_the_threshold_of_their_recipe(net: str) -> None:
    recipe: Any = load_recipe(Recipe if net in SIZES else DetectorRecipe, ROOT, net)
    found = read_threshold(weights_path(ROOT, net))
    assert found is not None
    assert found == recipe.train.threshold == read(weights_path(ROOT, net)).threshold


def test_the_cascade_and_retinaface_ship() -> None:
    assert {*SIZES, "retinaface"} <= set(PACKAGED)


@pytest.mark.parametrize(
    ("given", "thresholds"),
    [
        ({}, (0.25, 0.5, 0.75)),
        ({"score": 0.9}, (0.25, 0.5, 0.9)),
        ({"thresholds": 0.4}, (0.4, 0.4, 0.4)),
        ({"refine": "rnet"}, (0.25, 0.5)),
        ({"detector": "retinaface"}, (0.125,)),
        ({"detector": "retinaface", "thresholds": 0.6}, (0.6,)),
        ({"stage1": "retinaface", "refine": "rnet,onet"}, (0.125, 0.5, 0.75)),
        ({"detector": "ssh"}, (0.6,)),  # no file: that of its entry
    ],
)
def test_detection_takes_those_of_the_weights(models: Path, given: dict[str, Any], thresholds: tuple[float]) -> None:
    assert DetectorSettings(models, **given).thresholds == thresholds


def test_they_reach_the_stages(models: Path) -> None:
    cascade, single = Detector(models), Detector(models, detector="retinaface")
    stages: list[Any] = [cascade.proposer, *cascade.refiners, single.proposer]
    assert [stage.threshold for stage in stages] == [0.25, 0.5, 0.75, 0.125]
    assert cascade.settings.to_dict()["thresholds"] == [0.25, 0.5, 0.75]


def test_an_option_of_the_command_wins(models: Path, photo_folder: Path) -> None:
    """Nets of random weights score about a half: above 0.125, below 0.99."""
    words = ("detect", photo_folder / "astronaut.png", "--models", models, "--detector", "retinaface", "--json")
    own, same, none = run(*words), run(*words, "--threshold", 0.125), run(*words, "--threshold", 0.999)
    assert json.loads(own.stdout)["faces"] and own.stdout == same.stdout
    assert json.loads(none.stdout)["faces"] == []


def test_weights_that_do_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published threshold, for the cascade and for an entry that names its own."""
    for net in NETS:
        write(weights_path(tmp_path, net), Checkpoint(net, NETS[net]().state_dict()))
        assert read_threshold(weights_path(tmp_path, net)) is None
    assert DetectorSettings(tmp_path).thresholds == (0.6, 0.7, 0.7)
    monkeypatch.setitem(DETECTORS, "ssh", replace(DETECTORS["ssh"], threshold=0.3))
    assert DetectorSettings(tmp_path, detector="ssh").thresholds == (0.3,)


def test_the_header_alone_is_read(models: Path) -> None:
    """And neither torch nor Numba is loaded for it."""
    path = weights_path(models, "onet")
    with path.open("r+b") as file:  # the numbers become NaN, which `read` refuses
        start = 8 + int.from_bytes(file.read(8), "little")
        file.seek(start)
        file.write(b"\xff" * (path.stat().st_size - start))
    with pytest.raises(CheckpointError, match="NaN"):
        read(path)
    code = (
        "import sys; from pathlib import Path; from mtcnn.thresholds import default_threshold; "
        "print(default_threshold(Path(sys.argv[1]), 'onet'), sorted({'torch', 'numba'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0.75 []\n", "")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 99, None])
def test_a_file_that_cannot_be_read_is_left_to_who_reads_it(tmp_path: Path, content: bytes | None) -> None:
    path = weights_path(tmp_path, "pnet")
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert default_threshold(path, "pnet") == 0.6
    with pytest.raises(CheckpointError, match="truncated" if content is not None else "no such file"):
        Detector(tmp_path)


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_no_threshold_at_all(tmp_path: Path, threshold: Any) -> None:
    path = tmp_path / "weights.safetensors"
    write(path, Checkpoint("pnet", NETS["pnet"]().state_dict(), threshold=threshold))
    assert read_threshold(path) is None
    with pytest.raises(CheckpointError, match=r"has a threshold of .*; expected a number from 0 to 1") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_imports_and_exports_carry_it(tmp_path: Path, models: Path) -> None:
    (tmp_path / "rnet.pt").write_bytes(facenet("rnet"))
    (imported,) = import_weights([tmp_path / "rnet.pt"], tmp_path / "imported")
    assert read_threshold(imported.path) == published_threshold("rnet") == 0.7
    exported = export_onnx("pnet", tmp_path / "pnet.onnx", models)
    facts = {each.key: each.value for each in onnx.load(str(exported.path)).metadata_props}
    assert json.loads(facts["threshold"]) == CHOSEN["pnet"]


# ---- recipes


@pytest.mark.parametrize("kind", [TrainSettings, type(DetectorRecipe("ssh").train)])
def test_it_is_part_of_no_digest(kind: Any) -> None:
    assert len({digest(kind(threshold=value)) for value in (None, 0.1, 0.9)}) == 1
    assert digest(kind(seed=1)) != digest(kind())


def test_recipes_name_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('net = "ssh"\n[train]\nthreshold = 1\n')
    assert read_recipe(DetectorRecipe, path).train.threshold == 1.0
    for value, message in (("1.5", "threshold is 1.5; expected a number from 0 to 1"), ('"x"', "a finite number")):
        path.write_text(f'net = "ssh"\n[train]\nthreshold = {value}\n')
        with pytest.raises(RecipeError, match=message):
            read_recipe(DetectorRecipe, path)


def test_another_one_is_written_into_weights_that_are_there(models: Path, tmp_path: Path) -> None:
    path = weights_path(models, "retinaface")
    before = read(path)
    recipe = DetectorRecipe("retinaface")
    for threshold, wanted in ((None, 0.125), (0.5, 0.5), (None, 0.5)):
        train = dataclasses.replace(recipe.train, threshold=threshold)
        action = TrainOnPhotos(replace(recipe, train=train), (), tmp_path / "photos.raw")
        action.update(path)
        assert read_threshold(path) == wanted
    after = read(path)
    assert {name: value.tobytes() for name, value in after.state.items()} == {
        name: value.tobytes() for name, value in before.state.items()
    }
    assert list(after.state) == list(before.state) and after.model == before.model


def test_a_file_with_the_same_threshold_is_not_written(models: Path) -> None:
    path = weights_path(models, "pnet")
    before = path.stat()
    set_threshold(path, CHOSEN["pnet"])
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns


def test_score_settings_that_no_key_depends_on_are_written_too(models: Path) -> None:
    """So that changing them in a recipe changes weights that are fresh, without training."""
    path = weights_path(models, "onet")
    before = read(path)
    wanted = Scoring(before=9.0, detector_temperature=3.0, detector_offsets=0.25, second=0.75, margin=0.5)
    free = [each.name for each in dataclasses.fields(Scoring) if not each.metadata.get("hashed", True)]
    assert free == ["detector_temperature", "detector_offsets", "second", "margin"]
    TrainOnStores("onet", "onet", (), TrainSettings(score=wanted)).update(path)
    after = read(path)
    assert after.scoring == replace(before.scoring, **{name: getattr(wanted, name) for name in free})
    assert after.threshold == before.threshold and after.recipe_hash == before.recipe_hash
    inode = path.stat().st_ino
    TrainOnStores("onet", "onet", (), TrainSettings(score=wanted)).update(path)
    assert path.stat().st_ino == inode, "nothing to write"
