"""Nets with untrained landmarks: detection, export and output files have none."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from run_command import run
from small_detectors import small_nets, write_nets

from mtcnn.cascade import Detector
from mtcnn.checkpoint import packaged_weights, read, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector, load_runtime
from mtcnn.types import ImageSize
from mtcnn.weights import SIZES
from prepare import synthetic
from prepare.records import ImageRecord
from stages.objectives.distill import DistillSettings
from stages.photos.crops import PictureSettings
from stages.photos.recipe import DetectorRecipe
from stages.photos.task import no_landmarks
from stages.recipes import recipe_path

Picture = NDArray[np.uint8]
EMPTY = np.zeros((0, 40, 3), np.uint8)
POINTED = [name for name, spec in DETECTORS.items() if "landmarks" in spec.decoder.names]
RECIPE = """
net = "retinaface"
[model]
width = 0.125
[pictures]
sizes = [96]
points = 0.5
[train]
epochs = 1
steps = 4
batch = 4
val = 20
"""


def marked(path: Path, source: Path, net: str) -> None:
    """A copy of weights marked as having untrained landmarks."""
    write(weights_path(path, net), replace(read(weights_path(source, net)), has_landmarks=False))


# ---- a training on boxes alone, by the commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes with boxes and, in a CSV, points; a recipe in ./work of a small net, trained for four steps."""
    folder = tmp_path_factory.mktemp("boxes")
    synthetic.write_folder(folder / "data", 12, 0)
    for work in ("work", "pointed"):
        recipe_path(folder / work, "retinaface").parent.mkdir(parents=True)
        recipe_path(folder / work, "retinaface").write_text(RECIPE)
    shutil.move(folder / "data" / "landmarks", folder / "landmarks")
    Image.fromarray(synthetic.draw_scene(3, 1)[0]).save(folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    done = run("train", "--net", "retinaface", "--work", folder / "work", "--data", folder / "data", "--quiet")
    assert done.exit_code == 0, done.stderr
    return str(done.stderr)


def test_it_is_reported_and_recorded_in_the_weights(said: str, folder: Path) -> None:
    (line,) = [line for line in said.splitlines() if "landmarks" in line]
    assert line.endswith(
        "; trains without landmarks, as no face to train on has five labelled points; "
        "detection with it gives boxes alone"
    )
    assert not read(weights_path(folder / "work", "retinaface")).has_landmarks


def test_files_of_detections_have_no_landmarks(said: str, folder: Path, tmp_path: Path) -> None:
    words = ("detect", folder / "photo.png", "--models", folder / "work", "--detector", "retinaface", "--score", 0.01)
    done, table = run(*words, "--json"), run(*words, "--csv")
    assert done.exit_code == 0, done.stderr
    faces = json.loads(done.stdout)["faces"]
    assert len(faces) > 3, done.stderr
    assert not any("landmarks" in face for face in faces)
    rows = list(csv.DictReader(table.stdout.splitlines()))
    assert len(rows) == len(faces)
    points = [name for name in rows[0] if name.startswith(("x_", "y_"))]
    assert len(points) == 10 and {row[name] for row in rows for name in points} == {""}
    aligned = run(*words, "--crop", tmp_path / "crops", "--crop-align")
    assert aligned.exit_code != 0 and "landmarks" in aligned.stderr


def test_the_export_leaves_them_out(said: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = run("export", "retinaface", tmp_path / "net.onnx", "--models", folder / "work")
    assert "net.onnx: logits, boxes; equal to torch" in done.stdout, done.stderr


def test_added_points_are_trained_on(said: str, folder: Path) -> None:
    """From incomplete photos, through pages only: RECIPE has some."""
    points = folder / "landmarks" / "faces_train.csv"
    shutil.copytree(folder / "data", folder / "wider-and-points" / "data")
    shutil.copytree(folder / "landmarks", folder / "wider-and-points" / "landmarks")
    text = points.read_text().replace("../wider/", "../data/wider/")
    (folder / "wider-and-points" / "landmarks" / "faces_train.csv").write_text(text)
    done = run("train", "--net", "retinaface", "--work", folder / "pointed", "--quiet", "--data", folder / "data",
               "--data", f"points:{folder / 'wider-and-points' / 'landmarks' / 'faces_train.csv'}")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "without landmarks" not in done.stderr
    assert read(weights_path(folder / "pointed", "retinaface")).has_landmarks


# ---- what runs such nets


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small nets with untrained landmarks."""
    nets = small_nets()
    folder = write_nets(nets, tmp_path_factory.mktemp("models"))
    for net in nets:
        marked(folder, folder, net)
    return folder


@pytest.mark.parametrize("name", POINTED)
def test_every_detector_can_lack_landmarks(models: Path, name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    outputs = load_runtime(weights_path(models, name), name)(image[:64, :64])
    assert tuple(outputs) == tuple(each for each in DETECTORS[name].decoder.names if each != "landmarks")
    find = load_detector(name, models, threshold=0)
    assert len(find(image)) and find(image).landmarks is None
    assert find(EMPTY).landmarks is None
    assert DETECTORS[name].decoder.decode(outputs, ImageSize(64, 64)).landmarks is None


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """The packaged RetinaFace and cascade; the former is marked."""
    marked(tmp_path, packaged_weights(), "retinaface")
    for net in SIZES:
        write(weights_path(tmp_path, net), read(weights_path(packaged_weights(), net)))
    return tmp_path


@pytest.mark.parametrize("engine", [None, "torch", "onnx"])
def test_boxes_do_not_change(without: Path, photos: dict[str, Picture], engine: str | None) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    usual = Detector(detector="retinaface", engine=engine)
    found = Detector(without, detector="retinaface", engine=engine)
    one, two = usual.detect(photos["astronaut"]), found.detect(photos["astronaut"])
    assert two.landmarks is None and one.landmarks is not None
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert found.proposer(EMPTY).landmarks is None
    empty = usual.proposer(EMPTY).landmarks
    assert empty is not None and empty.shape == (0, 5, 2)
    many = found.detect(np.tile(photos["astronaut"], (3, 3, 1)))  # two looks
    assert len(many) == 9 and many.landmarks is None


def test_onet_gives_points_again(without: Path, photos: dict[str, Picture]) -> None:
    alone = Detector(without, stage1="retinaface", refine="rnet").detect(photos["astronaut"])
    assert len(alone) and alone.landmarks is None
    found = Detector(without, stage1="retinaface", refine="rnet,onet").detect(photos["astronaut"])
    assert found.landmarks is not None and np.isfinite(found.landmarks).all()


def test_landmarks_of_such_nets_are_not_measured(without: Path, tmp_path: Path, photos: dict[str, Picture]) -> None:
    Image.fromarray(photos["astronaut"]).save(tmp_path / "a.png")
    columns = [
        f"{axis}_{part}" for part in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"
    ]
    (tmp_path / "faces.csv").write_text(
        f"path,x1,y1,x2,y2,{','.join(columns)}\na.png,175,65,275,205,205,110,245,110,226,135,208,155,245,155\n"
    )
    marked(without, packaged_weights(), "onet")
    words = ("eval", "landmarks", tmp_path / "faces.csv", "--models", without)
    for options in (("--detector", "retinaface"), ()):  # the cascade, whose ONet is of boxes alone
        done = run(*words, *options)
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1].startswith("mtcnn: these models find no landmarks to measure")
    assert run("eval", "landmarks", tmp_path / "faces.csv").exit_code == 0


def test_an_onet_of_boxes_alone_is_exported_without_landmarks(without: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    marked(without, packaged_weights(), "onet")
    done = run("export", "onet", tmp_path / "onet.onnx", "--models", without)
    assert "onet.onnx: face_logits, offsets; equal to torch" in done.stdout, done.stderr
    assert ", landmarks; equal" in run("export", "onet", tmp_path / "usual.onnx").stdout


# ---- what trains landmarks

BOX = np.array([[10, 10, 50, 60]], np.float32)
POINTS = np.array([[[20, 20], [40, 20], [30, 30], [22, 42], [38, 42]]], np.float32)
LABELS = DetectorRecipe("retinaface")
PAGES = replace(LABELS, pictures=PictureSettings(points=0.1))


@pytest.mark.parametrize(("recipe", "record", "why"), [
    (LABELS, ImageRecord(Path("a"), BOX, POINTS), ""),
    (LABELS, ImageRecord(Path("a"), BOX), "no face to train on has five labelled points"),
    (LABELS, ImageRecord(Path("a"), BOX, POINTS, complete=False), "no face to train on has five labelled points"),
    (PAGES, ImageRecord(Path("a"), BOX, POINTS, complete=False), ""),
    (replace(LABELS, objective=replace(LABELS.objective, landmark=0.0)), ImageRecord(Path("a"), BOX, POINTS),
     "objective.landmark is 0"),
    (DetectorRecipe("ssh"), ImageRecord(Path("a"), BOX), ""),  # it has none to train
])  # fmt: skip
def test_why_landmarks_are_not_trained(recipe: DetectorRecipe, record: ImageRecord, why: str) -> None:
    recipe = replace(recipe, train=replace(recipe.train, val=0.0))
    assert no_landmarks(recipe, [record]) == why


def test_a_student_learns_the_landmarks_that_its_teacher_has(without: Path) -> None:
    recipe = replace(LABELS, objective=DistillSettings())
    teacher = weights_path(packaged_weights(), "retinaface")
    assert no_landmarks(recipe, [ImageRecord(Path("a"))], teacher) == ""
    boxes_alone = weights_path(without, "retinaface")
    assert no_landmarks(recipe, [ImageRecord(Path("a"), BOX, POINTS)], boxes_alone) == "its teacher has learned none"
    assert no_landmarks(LABELS, [ImageRecord(Path("a"), BOX)], teacher).startswith("no face")  # multibox has no teacher
