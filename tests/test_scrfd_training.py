"""SCRFD in training: killed and resumed, in two processes, on photos without faces, and close faces found."""

from __future__ import annotations

import json
import math
import pickle
import signal
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import signalled
from small_detectors import small_model
from test_atss import CASES, DECODER, said
from test_yunet_training import PROGRAM, RECORDS, losses_of
from torch.multiprocessing.spawn import spawn

from mtcnn.checkpoint import packaged_weights, read, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import model_of
from stages.graph.ddp import launch
from stages.objectives.atss import Atss, AtssSettings
from stages.objectives.targets import stack
from stages.photos.crops import PictureSettings
from stages.photos.nodes import train_on_photos
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.store import build_photos
from stages.recipes import load_recipe, recipe_path

NET = "scrfd-0.5g"
SIZES = [name for name in DETECTORS if name.startswith("scrfd")]
MODEL = {**small_model(NET), "landmarks": True}
RECIPE = DetectorRecipe(
    NET, MODEL, PictureSettings((96.0, 128.0), crop=(0.3, 2.0), points=0.2), AtssSettings(),
    PhotoSchedule(epochs=2, steps=12, batch=8, lr=6e-3, warmup=4, ema=0.9, val=20.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photos.raw"
    assert build_photos(RECORDS, path, "data", quiet=True) == []
    return path


def job(photos: Path, folder: Path, recipe: DetectorRecipe = RECIPE, **changes: Any) -> partial[None]:
    given = {"records": RECORDS, "target": weights_path(folder, recipe.net), "key": "key", "quiet": True}
    return partial(train_on_photos, recipe, photos=photos, **{**given, **changes})


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    launch(job(photos, folder))
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    file = weights_path(folder, NET).with_name(f"metrics-{NET}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_losses_fall(trained: Path) -> None:
    first, last = metrics(trained)
    assert last["train_box"] < 0.9 * first["train_box"]
    weighted = last["train_face"] + 2 * last["train_box"] + 0.1 * last["train_landmark"]
    assert last["train_total"] == pytest.approx(weighted, abs=1e-3)
    assert last["train_landmark"] > 0
    assert read(weights_path(trained, NET)).model == model_of(NET, MODEL)


def test_killed_and_called_again_ends_with_the_same_weights(trained: Path, photos: Path, tmp_path: Path) -> None:
    given, weights = job(photos, tmp_path), weights_path(tmp_path, NET)
    (tmp_path / "job").write_bytes(pickle.dumps(given))
    killed = signalled("stages.fit:Training.step", RECIPE.train.steps + 5, signal.SIGKILL, PROGRAM, tmp_path / "job")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not weights.exists()
    launch(given)
    one, other = read(weights), read(weights_path(trained, NET))
    assert all(np.array_equal(value, other.state[name]) for name, value in one.state.items())
    assert one.figures == other.figures


@pytest.mark.parametrize("ignored", [False, True])
def test_photos_without_faces_alone(photos: Path, tmp_path: Path, ignored: bool) -> None:
    """Or whose faces are all ignored; and in bfloat16, where the processor has it."""
    few = [
        replace(each, ignore=np.ones(len(each.boxes), bool)) if ignored
        else replace(each, boxes=each.boxes[:0], landmarks=each.landmarks[:0], ignore=each.ignore[:0])
        for each in RECORDS
    ]  # fmt: skip
    recipe = replace(
        RECIPE, pictures=replace(RECIPE.pictures, points=0.0), train=replace(RECIPE.train, steps=3, mixed=True)
    )
    launch(job(photos, tmp_path, recipe, records=few))
    last = metrics(tmp_path)[-1]
    assert math.isfinite(last["train_face"]) and last["train_face"] > 0
    assert (last["train_box"], last["train_landmark"]) == (0, 0)


def test_two_processes_run(photos: Path, tmp_path: Path) -> None:
    launch(job(photos, tmp_path, replace(RECIPE, train=replace(RECIPE.train, epochs=1, steps=3))), 2)
    assert len(metrics(tmp_path)) == 1, "written by one of the two"


@pytest.mark.parametrize("case", ["faces", "one without faces", "incomplete"])
def test_losses_of_two_processes_are_those_of_one(case: str, tmp_path: Path) -> None:
    """Their mean, as gradients are averaged; one process may have no face."""
    scenes, objective = CASES[case], Atss(AtssSettings(), DECODER)
    outputs = {name: value.detach() for name, value in said(3, 2).items()}
    spawn(losses_of, (str(tmp_path), objective, outputs, scenes), nprocs=2)  # type: ignore[no-untyped-call]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    whole = objective.loss(outputs, stack([objective.targets(made) for made in scenes]))
    for name, value in whole.items():
        assert (parts[0][name] + parts[1][name]) / 2 == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize("name", SIZES)
def test_the_recipe_describes_the_whole_net(name: str) -> None:
    """Each setting stands there, with the value that the entry has."""
    recipe = load_recipe(DetectorRecipe, packaged_weights(), name)
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in model_of(name).items()}
    assert tomllib.loads(recipe_path(packaged_weights(), name).read_text())["model"] == wanted
    assert recipe.objective == AtssSettings() and recipe.pictures.crop == (0.3, 2.0)
