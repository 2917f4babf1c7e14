"""Training on labels without landmarks: this is announced at the start, and detection then returns none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import mtcnn, write_recipes
from numpy.typing import NDArray

from mtcnn import MTCNN
from mtcnn.cascade import Detector
from mtcnn.checkpoint import load_weights, read, weights_path, write
from mtcnn.errors import DataError, MtcnnError
from mtcnn.nets import module_of, weights_of
from mtcnn.weights import SIDES, Weights
from prepare import synthetic
from prepare.records import ImageRecord
from stages.graph.project import open_project
from stages.labels import have_landmarks, label_fault

POINTS = np.array([[[20, 20], [40, 20], [30, 30], [22, 42], [38, 42]]], np.float32)
Picture = NDArray[np.uint8]
BOX = np.array([[10, 10, 50, 60]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `mtcnn run` has trained the cascade on boxes alone, in ./work."""
    folder = tmp_path_factory.mktemp("boxes")
    synthetic.write_folder(folder / "data", 12, 0)
    shutil.rmtree(folder / "data" / "landmarks")
    write_recipes(folder / "work", dict.fromkeys((12, 24, 48), ("[crops]", "[crops]\nval = 40.0")))
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    done = mtcnn("run", "--data", "data", "--workers", 1, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_cascade_trains_and_announces_it_at_the_start(said: str, folder: Path) -> None:
    lines = said.splitlines()
    (told,) = [i for i, line in enumerate(lines) if line.startswith("onet: trains without landmarks")]
    assert told < next(i for i, line in enumerate(lines) if "making" in line)
    found = read(weights_path(folder / "work", "onet"))
    assert not found.has_landmarks
    assert found.recipe["mix"]["landmark"] == 0
    assert all(read(weights_path(folder / "work", net)).has_landmarks for net in ("pnet", "rnet"))
    assert "pnet: making work/models-12/weights-pnet.safetensors (stage 4 of 8, about 0:0" in said
    assert re.search(r"average precision 0\.\d{3} on \d+ validation photos, \d+ faces", lines[-2])
    assert lines[-1] == "now try: mtcnn detect photo.jpg --models work"
    assert mtcnn("status", folder=folder).stdout.count(" fresh ") == 8


def test_added_landmarks_make_only_onet_stale(said: str, folder: Path, tmp_path: Path) -> None:
    """And its data: the recipe's landmark settings apply again."""
    shutil.copytree(folder / "work", tmp_path / "work")
    dag = open_project(tmp_path / "work", sources=("synthetic:12",))
    assert not dag.nodes["onet"].note
    assert dag.nodes["onet"].action.settings.mix.landmark == 1  # type: ignore[attr-defined]


@pytest.fixture
def astronaut(photos: dict[str, Picture]) -> Picture:
    return photos["astronaut"]


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """The packaged cascade, its ONet marked as trained without landmarks."""
    for net in SIDES:
        found = read(weights_path(Path(__file__).resolve().parent.parent, net))
        write(weights_path(tmp_path, net), type(found)(**{**vars(found), "has_landmarks": net != "onet"}))
    return tmp_path


def test_faces_have_no_landmarks(untrained: Path, astronaut: Picture) -> None:
    usual, found = Detector().detect(astronaut), Detector(untrained).detect(astronaut)
    assert found.landmarks is None
    assert usual.landmarks is not None
    np.testing.assert_array_equal(found.boxes, usual.boxes)  # the same suppression as with landmarks
    np.testing.assert_array_equal(found.scores, usual.scores)
    behind = Detector(untrained, stage1="pnet", refine="rnet").detect(astronaut)
    assert behind.landmarks is None


def test_modules_know_that_landmarks_are_untrained(untrained: Path) -> None:
    weights = load_weights(weights_path(untrained, "onet"), "onet")
    assert not weights.has_landmarks
    assert not weights.turned().has_landmarks
    assert not weights_of(module_of(weights)).has_landmarks
    assert Weights("onet", weights.state).has_landmarks


def test_mtcnn_knows_that_landmarks_are_untrained(untrained: Path, astronaut: Picture) -> None:
    mtcnn = MTCNN(models=untrained)
    boxes, _ = mtcnn.detect(astronaut)
    assert len(boxes) == 1
    with pytest.raises(MtcnnError, match="without landmarks"):
        mtcnn.detect(astronaut, landmarks=True)
    assert "keypoints" not in mtcnn.detect_faces(astronaut)[0]
    other = MTCNN()
    other.onet.load_state_dict(mtcnn.onet.state_dict())
    assert "keypoints" not in other.detect_faces(astronaut)[0]


# ---- what labels allow


def test_have_landmarks_looks_at_the_training_part() -> None:
    train = next(p for p in (Path(f"{i}.jpg") for i in range(99)) if not ImageRecord(p).is_val(20))
    val = next(p for p in (Path(f"{i}.jpg") for i in range(99)) if ImageRecord(p).is_val(20))
    assert have_landmarks([ImageRecord(train, BOX, POINTS)], 20)
    assert not have_landmarks([ImageRecord(train, BOX), ImageRecord(val, BOX, POINTS)], 20)
    assert have_landmarks([ImageRecord(val, BOX, POINTS)], 0)
    four = POINTS.copy()
    four[0, 2] = np.nan
    assert not have_landmarks([ImageRecord(train, BOX, four)], 20)
    assert not have_landmarks([ImageRecord(train, BOX, np.full((1, 5, 2), 7, np.float32))], 20)
    assert not have_landmarks([ImageRecord(train, BOX, POINTS, np.array([True]))], 20)


@pytest.mark.parametrize(("record", "fault"), [
    (ImageRecord(Path("a"), BOX), ""),
    (ImageRecord(Path("a"), BOX, POINTS, complete=False), "no photo to train pnet on has all its faces labelled"),
    (ImageRecord(Path("a")), "no photo to train pnet on has a labelled face"),
    (ImageRecord(Path("a"), BOX, ignore=np.array([True])), "no photo to train pnet on has a labelled face"),
    (ImageRecord(Path("a"), np.full((1, 4), np.nan)), "no photo to train pnet on has a labelled face"),
])  # fmt: skip
def test_unusable_labels(record: ImageRecord, fault: str) -> None:
    assert label_fault("pnet", [record], 0).startswith(fault)
    assert bool(label_fault("pnet", [record], 0)) == bool(fault)


@pytest.mark.parametrize("net", ["pnet", "retinaface"])
def test_unusable_labels_are_rejected_before_any_work(tmp_path: Path, net: str) -> None:
    synthetic.write_folder(tmp_path / "data", 6, 0)
    points = tmp_path / "data" / "landmarks" / "faces_train.csv"
    dag = open_project(tmp_path / "work", [net], (f"points:{points}",))  # which does not name all faces of a photo
    with pytest.raises(DataError, match="labelled"):
        dag.ensure(net)
    assert not [path for path in (tmp_path / "work").iterdir() if path.suffix in (".lmdb", ".raw")]
