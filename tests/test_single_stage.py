"""Training of single-stage detectors: it learns, resumes, runs in two processes, stops if the loss is not finite."""

from __future__ import annotations

import json
import pickle
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import signalled

from mtcnn.checkpoint import Checkpoint, read, write
from mtcnn.detectors.load import load_module
from mtcnn.detectors.trunks.mobilenet import MobileNet
from mtcnn.errors import CheckpointError, DataError, TrainingError
from mtcnn.weights import MEAN_COLOUR
from prepare import synthetic
from prepare.records import ImageRecord
from stages.graph.dag import Dag, Options
from stages.graph.ddp import launch
from stages.objectives.matching import MatchSettings
from stages.objectives.multibox import MultiBoxSettings
from stages.objectives.sampling import SampleSettings
from stages.photos.crops import PictureSettings
from stages.photos.nodes import detector_nodes, train_on_photos
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.scenes import ScenePool
from stages.photos.store import PhotoStore, build_photos
from stages.photos.task import DetectorTask, new_net

PICTURES = PictureSettings(sizes=(96.0,), crop=(0.3, 1.0))
SETTINGS = PhotoSchedule(epochs=2, steps=12, batch=8, lr=3e-3, warmup=4, ema=0.9, val=20.0)
RETINAFACE = DetectorRecipe("retinaface", {"width": 0.5}, replace(PICTURES, points=0.2), train=SETTINGS)
SSH = DetectorRecipe(
    "ssh", {"width": 0.0625}, PICTURES,
    MultiBoxSettings(match=MatchSettings(0.5, 0.3, 1.0), sample=SampleSettings(anchors=32), box=1.0), SETTINGS,
)  # fmt: skip
S3FD = DetectorRecipe(
    "s3fd", {"width": 0.0625}, replace(PICTURES, anchored=0.5),
    MultiBoxSettings(match=MatchSettings(0.35, 0.35, 0.0, 0.1), sample=SampleSettings(3.0)), SETTINGS,
)  # fmt: skip
RECORDS = synthetic.records(30, 0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photos.raw"
    assert build_photos(RECORDS, path, "data", quiet=True) == []
    return path


def job(photos: Path, folder: Path, recipe: DetectorRecipe = RETINAFACE, **changes: Any) -> partial[None]:
    given = {"records": RECORDS, "target": folder / f"weights-{recipe.net}.pt", "key": "key", "quiet": True}
    return partial(train_on_photos, recipe, photos=photos, **{**given, **changes})


def scene_pool(photos: PhotoStore, recipe: DetectorRecipe) -> ScenePool:
    """The pool of training pictures for `recipe`."""
    return DetectorTask(recipe, new_net(recipe), photos).pool


def metrics(folder: Path, net: str = "retinaface") -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / f"metrics-{net}.jsonl").read_text().splitlines()]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = read(one), read(other)
    assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())
    assert first.figures == second.figures


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    launch(job(photos, folder))
    return folder


# ---- it learns


def test_losses_fall(trained: Path) -> None:
    rows = metrics(trained)
    assert [row["epoch"] for row in rows] == [0, 1]
    for task in ("face", "box", "landmark"):
        assert rows[1][f"train_{task}"] < 0.95 * rows[0][f"train_{task}"]
        assert rows[1][f"val_{task}"] < rows[0][f"val_{task}"]
    weighted = rows[1]["train_face"] + 2 * rows[1]["train_box"] + rows[1]["train_landmark"]
    assert rows[1]["train_total"] == pytest.approx(weighted, abs=1e-3)


def test_trained_weights_detect(trained: Path) -> None:
    found = read(trained / "weights-retinaface.pt")
    assert (found.net, found.recipe_hash, found.recipe["model"]) == ("retinaface", "key", {"width": 0.5})
    assert found.figures["val_total"] == metrics(trained)[-1]["val_total"]
    net = load_module(trained / "weights-retinaface.pt", "retinaface")
    assert not net.training
    assert found.scaling == MEAN_COLOUR
    assert found.model == {"trunk": "mobilenet", "width": 0.5, "leak": 0.1}


@pytest.mark.parametrize("recipe", [SSH, S3FD], ids=["ssh", "s3fd"])
def test_the_other_detectors_learn(photos: Path, tmp_path: Path, recipe: DetectorRecipe) -> None:
    launch(job(photos, tmp_path, recipe))
    rows = metrics(tmp_path, recipe.net)
    assert rows[1]["val_face"] < 0.9 * rows[0]["val_face"]
    assert rows[1]["train_landmark"] == 0


def test_it_starts_from_given_weights(trained: Path, photos: Path, tmp_path: Path) -> None:
    gentle = replace(RETINAFACE, train=replace(SETTINGS, epochs=1, steps=2, lr=1e-7))
    weights = trained / "weights-retinaface.pt"
    launch(job(photos, tmp_path, gentle, start=weights))
    before, after = read(weights).tensors(), read(tmp_path / "weights-retinaface.pt").tensors()
    learned = [name for name, value in before.items() if value.ndim == 4]
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in learned)

    state = {name: torch.full_like(value, 0.01) for name, value in MobileNet().state_dict().items()}
    write(tmp_path / "trunk.pt", Checkpoint("trunk-mobilenet", state))
    launch(job(photos, tmp_path, replace(gentle, model={"width": 1.0}), start=tmp_path / "trunk.pt", key="2"))
    after = read(tmp_path / "weights-retinaface.pt").tensors()
    assert torch.allclose(after["trunk.stages.0.0.0.weight"], torch.tensor(0.01), atol=1e-4)


def test_weights_that_do_not_fit(trained: Path, photos: Path, tmp_path: Path) -> None:
    for recipe, message in (
        (SSH, "holds weights of retinaface; expected ssh"),
        (replace(RETINAFACE, model={"width": 1.0}), "fit"),
    ):
        with pytest.raises(CheckpointError, match=message):
            launch(job(photos, tmp_path, recipe, start=trained / "weights-retinaface.pt"))


# ---- the pictures of an epoch


def test_pictures_depend_on_seed_and_epoch_alone(photos: Path) -> None:
    recipe = replace(RETINAFACE, train=replace(SETTINGS, steps=3))
    pool = scene_pool(PhotoStore(photos, RECORDS), recipe)
    again = scene_pool(PhotoStore(photos, RECORDS), recipe)
    first, second = ([x for x, _ in each.batches(1)] for each in (pool, again))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], next(pool.batches(2))[0])
    assert not torch.equal(first[0], first[1])


def test_processes_share_the_pictures_of_an_epoch(photos: Path) -> None:
    recipe = replace(RETINAFACE, train=replace(SETTINGS, steps=2))
    pool = scene_pool(PhotoStore(photos, RECORDS), recipe)
    whole = [x for x, _ in pool.batches(0)]
    parts = [[x for x, _ in pool.batches(0, rank, 2)] for rank in (0, 1)]
    for step in (0, 1):
        assert torch.equal(torch.cat([parts[0][step], parts[1][step]]), whole[step])


def test_sizes_vary_and_pixels_do_not(photos: Path) -> None:
    recipe = replace(RETINAFACE, pictures=replace(PICTURES, sizes=(64.0, 128.0)), train=replace(SETTINGS, steps=12))
    pool = scene_pool(PhotoStore(photos, RECORDS), recipe)
    shapes = [[tuple(x.shape) for x, _ in pool.batches(0, rank, 2)] for rank in (0, 1)]
    assert {shape for part in shapes for shape in part} == {(4, 3, 64, 64), (1, 3, 128, 128)}
    assert shapes[0] != shapes[1], "each process has sizes of its own"


def test_pages_of_a_training_have_no_face_of_the_validation_part(photos: Path) -> None:
    pool = scene_pool(PhotoStore(photos, RECORDS), RETINAFACE)
    assert 0 < len(set(pool.faces[:, 0]) & set(pool.scenes)) == len(set(pool.faces[:, 0]))
    assert 0 < len(set(pool.val_faces[:, 0]) & set(pool.val)) == len(set(pool.val_faces[:, 0]))


def test_an_epoch_takes_every_image_once_before_any_twice(photos: Path) -> None:
    recipe = replace(RETINAFACE, train=replace(SETTINGS, steps=3, batch=8, val=20.0))
    pool = scene_pool(PhotoStore(photos, RECORDS), recipe)
    drawn: list[int] = []

    def note(image: int, size: int, rng: Any) -> Any:
        drawn.append(image)
        return ScenePool.scene(pool, image, size, rng)

    pool.scene = note  # type: ignore[method-assign]
    list(pool.batches(0))
    assert len(drawn) == 24
    assert len(set(drawn[: len(pool.scenes)])) == min(24, len(pool.scenes))
    assert not set(drawn) & set(pool.val.tolist())


def test_implausible_points_are_on_no_page(photos: Path) -> None:
    """All at one position, as in some rows of the landmark sets; and ignored faces."""
    points = RECORDS[1].landmarks.copy()
    assert len(points) >= 2
    points[0] = points[0].mean(axis=0)
    changed = [*RECORDS[:1], replace(RECORDS[1], landmarks=points), *RECORDS[2:]]
    ignored = [*RECORDS[:1], replace(RECORDS[1], ignore=np.ones(len(points), bool)), *RECORDS[2:]]
    net = new_net(RETINAFACE)
    whole, fewer, none = (
        DetectorTask(RETINAFACE, net, PhotoStore(photos, each)).pool for each in (RECORDS, changed, ignored)
    )
    assert len(fewer.faces) == len(whole.faces) - 1
    assert [1, 0] not in fewer.faces.tolist()
    assert len(none.faces) == len(whole.faces) - len(points)


def test_no_image_with_all_its_faces_labelled(photos: Path, tmp_path: Path) -> None:
    partly = [ImageRecord(record.path, record.boxes, record.landmarks, complete=False) for record in RECORDS]
    with pytest.raises(DataError, match="no image with all its faces labelled"):
        launch(job(photos, tmp_path, records=partly))


# ---- killed, in several processes, and what cannot go on

PROGRAM = """
import pickle, sys
from stages.graph.ddp import launch
launch(pickle.load(open(sys.argv[1], "rb")))
"""


def test_killed_and_resumed_gives_the_same_weights(trained: Path, photos: Path, tmp_path: Path) -> None:
    """Killed in the second epoch."""
    given, weights = job(photos, tmp_path), tmp_path / "weights-retinaface.pt"
    (tmp_path / "job").write_bytes(pickle.dumps(given))
    place, call = "stages.fit:Training.step", SETTINGS.steps + 5
    killed = signalled(place, call, signal.SIGKILL, PROGRAM, tmp_path / "job")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "train-retinaface.pt").exists()
    assert not weights.exists(), "killed before its end"
    launch(given)
    assert_same_weights(weights, trained / "weights-retinaface.pt")
    rows = [
        [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in metrics(f)]
        for f in (tmp_path, trained)
    ]
    assert rows[0] == rows[1], "every epoch once"


def test_two_processes_equal_one(photos: Path, tmp_path: Path) -> None:
    """SSH has no batch norm, so the arithmetic is that of one process with the whole batch, in another order.

    After three steps the weights agree to 1e-5 of what they have moved. Later they part: Adam divides a gradient by its
    size, so that the rounding of one near 0 does not stay small, and then other background is the hardest.
    """
    recipe = replace(
        SSH,
        objective=replace(SSH.objective, sample=SampleSettings(3.0)),
        train=replace(SSH.train, epochs=1, steps=3, lr=1e-3),
    )
    for processes in (1, 2):
        launch(job(photos, tmp_path / str(processes), recipe), processes)
    one, two = (read(tmp_path / str(processes) / "weights-ssh.pt").tensors() for processes in (1, 2))
    begun = new_net(recipe).state_dict()
    moved, differs = (sum(float((other[name] - one[name]).square().sum()) for name in one) for other in (begun, two))
    assert moved > 0.1**2
    assert differs < 1e-4**2 * moved
    rows = [metrics(tmp_path / str(processes), "ssh") for processes in (1, 2)]
    assert len(rows[1]) == 1, "written by one of the two"
    assert rows[1][0]["val_total"] == pytest.approx(rows[0][0]["val_total"], abs=1e-4)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite(photos: Path, tmp_path: Path, processes: int) -> None:
    wild = replace(SSH, train=replace(SSH.train, lr=1e30, warmup=0, clip=1e30))
    with pytest.raises(TrainingError, match=r"the loss of ssh is (nan|inf) at step \d+; expected a finite number"):
        launch(job(photos, tmp_path, wild), processes)
    assert not (tmp_path / "weights-ssh.pt").exists()


# ---- photos


def test_photos_are_decoded_once_for_all(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = PhotoStore(photos, RECORDS)
    assert len(kept) == len(RECORDS)
    assert (kept[7] == synthetic.image_of(RECORDS[7].path)).all()
    recipes = [replace(each, train=replace(SETTINGS, epochs=1, steps=1)) for each in (SSH, S3FD)]
    Dag(tmp_path, detector_nodes(tmp_path, recipes, RECORDS, "data"), Options(quiet=True)).ensure("ssh")
    monkeypatch.setattr("stages.photos.store.image_of", lambda record: pytest.fail("decoded again"))
    dag = Dag(tmp_path, detector_nodes(tmp_path, recipes, RECORDS, "data"), Options(quiet=True))
    assert dag.ensure("s3fd") == ["s3fd"], "by the photos that are there"


def test_large_photos_are_shrunk_with_their_labels(tmp_path: Path) -> None:
    records = synthetic.records(3, 5)
    build_photos(records, tmp_path / "p.raw", "k", longest=160, quiet=True)
    kept = PhotoStore(tmp_path / "p.raw", records)
    assert kept[1].shape == (120, 160, 3)
    assert np.allclose(kept.records[1].boxes, records[1].boxes / 2)
    assert np.allclose(kept.records[1].landmarks, records[1].landmarks / 2, equal_nan=True)


def test_unreadable_photos_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    records = [RECORDS[0], ImageRecord(tmp_path / "bad.jpg"), RECORDS[2]]
    problems = build_photos(records, tmp_path / "p.raw", "k", quiet=True)
    assert len(problems) == 1
    assert "bad.jpg" in str(problems[0])
    assert (tmp_path / "skipped-p.txt").read_text() == f"{problems[0]}\n"
    kept = PhotoStore(tmp_path / "p.raw", records)
    assert [record.path for record in kept.records] == [RECORDS[0].path, RECORDS[2].path]
    assert (kept[1] == synthetic.image_of(RECORDS[2].path)).all()


def test_photos_of_other_records(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no photos of these 3 records"):
        PhotoStore(photos, RECORDS[:3])
    with pytest.raises(DataError, match="holds no photos"):
        PhotoStore(tmp_path / "none.raw", RECORDS)
    build_photos(RECORDS[:2], tmp_path / "p.raw", "k", quiet=True)
    build_photos(RECORDS[:3], tmp_path / "p.raw", "other", quiet=True)
    assert len(PhotoStore(tmp_path / "p.raw", RECORDS[:3])) == 3
