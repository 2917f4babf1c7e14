"""Training: it learns, resumes exactly after a kill, and stops when the loss is not finite."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import make_crops, random_crops, write_crops
from processes import signalled

from mtcnn.checkpoint import read
from mtcnn.errors import DataError, TrainingError
from mtcnn.nets import load_net, to_input
from mtcnn.scoring import Scoring
from prepare.labels import Kind
from prepare.store import CropStore
from stages import fit as training
from stages.crops.nodes import train_on_stores
from stages.crops.recipe import Mix, TrainSettings
from stages.fit import learning_rate
from stages.graph.ddp import launch

PNET = TrainSettings(epochs=4, steps=40, batch=96, lr=4e-3, warmup=20, ema=0.98, recall=0.9)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 3,000 crops of 30 drawn scenes, for PNet."""
    return make_crops(tmp_path_factory.mktemp("crops") / "crops-12.lmdb", scenes=30, negatives=60, tries=8)


def job(stores: Path, folder: Path, settings: TrainSettings = PNET, **changes: Any) -> partial[None]:
    """A quiet training of PNet, in `folder`."""
    given = {
        "net": "pnet",
        "stores": [stores],
        "target": folder / "w.safetensors",
        "key": "key",
        "quiet": True,
    }
    return partial(train_on_stores, **{**given, "settings": settings, **changes})


def metrics(folder: Path, name: str = "pnet") -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / f"metrics-{name}.jsonl").read_text().splitlines()]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = read(one), read(other)
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())
    assert first.figures == second.figures


@pytest.fixture(scope="module")
def trained(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken training."""
    folder = tmp_path_factory.mktemp("trained")
    launch(job(crops, folder))
    return folder


def test_it_learns(trained: Path) -> None:
    rows = metrics(trained)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["train_face"] < 0.8 * rows[0]["train_face"]
    assert rows[-1]["train_box"] < 0.8 * rows[0]["train_box"]
    assert rows[-1]["val_total"] < 0.8 * rows[0]["val_total"]
    assert rows[-1]["val_recall"] > 0.5
    assert all(row["val_landmark"] == row["train_landmark"] == 0 for row in rows)
    for row in rows:
        assert row["val_score"] == pytest.approx(row["val_recall"] - PNET.box * row["val_box"], abs=2e-5)
    assert (trained / "curves-pnet.png").stat().st_size > 1000


def test_the_best_epoch_is_saved_with_its_recipe(trained: Path) -> None:
    found = read(trained / "w.safetensors")
    assert (found.net, found.recipe_hash) == ("pnet", "key")
    assert found.figures == {"val_score": max(row["val_score"] for row in metrics(trained)), "epochs": 4}
    assert found.recipe["lr"] == PNET.lr
    assert found.recipe["mix"] == {"neg": 3.0, "part": 1.0, "pos": 1.0, "landmark": 0.0}


def test_scores_are_shifted_to_the_recall(trained: Path, crops: Path) -> None:
    """A share of `recall` of the validation faces scores 0.5 or more."""
    store = CropStore(crops)
    rows = np.flatnonzero(store.val & (store.kinds == Kind.POS))
    assert len(rows) > 50
    with torch.no_grad():
        net = load_net(trained / "w.safetensors", "pnet")
        logits = net(to_input(store.read(rows).crops)).face_logits.flatten()
    store.close()
    assert float((logits >= 0).float().mean()) == pytest.approx(PNET.recall, abs=2 / len(rows))


def test_another_key_restarts(trained: Path, crops: Path, tmp_path: Path) -> None:
    launch(job(crops, tmp_path, replace(PNET, epochs=1)))
    assert len(metrics(tmp_path)) == 1
    launch(job(crops, tmp_path, replace(PNET, epochs=2, seed=1), key="other"))
    rows = metrics(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[0]["train_total"] != metrics(trained)[0]["train_total"]
    assert read(tmp_path / "w.safetensors").recipe_hash == "other"


def test_finished_training_is_not_repeated(trained: Path, crops: Path, tmp_path: Path) -> None:
    for name in ("train-pnet.pt", "metrics-pnet.jsonl"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    launch(job(crops, tmp_path))  # the weights were lost, the last checkpoint was not
    assert_same_weights(tmp_path / "w.safetensors", trained / "w.safetensors")
    assert metrics(tmp_path) == metrics(trained)


def test_a_damaged_checkpoint_restarts(trained: Path, crops: Path, tmp_path: Path) -> None:
    (tmp_path / "train-pnet.pt").write_bytes((trained / "train-pnet.pt").read_bytes()[:-100])
    (tmp_path / "metrics-pnet.jsonl").write_text((trained / "metrics-pnet.jsonl").read_text() + '{"epoch": 4, "tra')
    with pytest.warns(UserWarning, match=r"train-pnet\.pt is damaged; pnet is trained from the start"):
        launch(job(crops, tmp_path))
    assert_same_weights(tmp_path / "w.safetensors", trained / "w.safetensors")
    assert [row["epoch"] for row in metrics(tmp_path)] == [0, 1, 2, 3]


def test_starts_from_given_weights(trained: Path, crops: Path, tmp_path: Path) -> None:
    gentle = replace(PNET, epochs=1, lr=1e-6, recall=0)
    launch(job(crops, tmp_path, gentle, start=trained / "w.safetensors"))
    before, after = (
        read(trained / "w.safetensors").tensors(),
        read(tmp_path / "w.safetensors").tensors(),
    )
    assert all(torch.allclose(value, after[name], atol=1e-3) for name, value in before.items())


# ---- killed

PROGRAM = """
import pickle, sys
from stages import fit as training
from stages.graph.ddp import launch
launch(pickle.load(open(sys.argv[1], "rb")))
"""


def test_killed_and_resumed_gives_the_same_weights(trained: Path, crops: Path, tmp_path: Path) -> None:
    given, weights = job(crops, tmp_path), tmp_path / "w.safetensors"
    (tmp_path / "job").write_bytes(pickle.dumps(given))
    # In the first epoch; in the second; when an epoch is in the log but not in the checkpoint.
    for place, call in (("step", 25), ("step", PNET.steps + 25), ("save", 2)):
        killed = signalled(f"stages.fit:Training.{place}", call, signal.SIGKILL, PROGRAM, tmp_path / "job")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["epoch"] for row in metrics(tmp_path)] == [0, 1, 2]
    assert not weights.exists(), "killed before its end"
    launch(given)
    assert_same_weights(weights, trained / "w.safetensors")
    timed = {"seconds", "samples_per_second"}
    rows = [[{k: v for k, v in row.items() if k not in timed} for row in metrics(f)] for f in (tmp_path, trained)]
    assert rows[0] == rows[1], "every epoch once"


@pytest.mark.parametrize("epochs", [1, 2])
def test_dropout_and_two_stores_resume_too(tmp_path: Path, epochs: int) -> None:
    """ONet: dropout, landmarks and blur are random too."""
    rng = np.random.default_rng(0)
    kinds = [Kind.NEG, Kind.NEG, Kind.PART, Kind.POS, Kind.LANDMARK]
    stores = [write_crops(tmp_path / n, [random_crops(rng, 48, kinds) for _ in range(8)], (1,)) for n in "ab"]
    score = Scoring(before=0.5, temperature=2.0)
    settings = TrainSettings(epochs=3, steps=3, batch=20, mix=Mix(landmark=1), blur=0.3, warmup=2, score=score)
    whole, broken = tmp_path / "1" / "w.pt", tmp_path / "2" / "w.pt"
    train_on_stores("onet", stores, settings, whole, "k", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        save = torch.save

        def killed(state: Any, path: Path) -> None:
            if state["epoch"] > epochs:
                raise KeyboardInterrupt
            save(state, path)

        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train_on_stores("onet", stores, settings, broken, "k", quiet=True)
    train_on_stores("onet", stores, settings, broken, "k", quiet=True)
    assert_same_weights(whole, broken)
    assert read(broken).scoring == score, "the recipe's, for detection"
    assert [row["epoch"] for row in metrics(broken.parent, "onet")] == [0, 1, 2]


# ---- what cannot go on


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite(crops: Path, tmp_path: Path, processes: int) -> None:
    wild = replace(PNET, lr=1e30, warmup=0)
    with pytest.raises(
        TrainingError, match=r"the loss of pnet is (nan|inf) at step \d+; expected a finite number"
    ) as e:
        launch(job(crops, tmp_path, wild), processes)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "w.safetensors").exists()


def test_missing_crops(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no LANDMARK crops"):
        launch(job(crops, tmp_path, replace(PNET, mix=Mix(landmark=1))))
    with pytest.raises(DataError, match="no crops at"):
        launch(job(tmp_path / "nothing", tmp_path))


def test_mixed_precision(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = replace(PNET, epochs=1, steps=10)
    mixed = replace(exact, mixed=True)

    def weights(name: str, settings: TrainSettings, bfloat16: bool) -> Path:
        monkeypatch.setattr(training, "_processor_has_bfloat16", lambda: bfloat16)  # any processor can imitate it
        launch(job(crops, tmp_path / name, settings))
        return tmp_path / name / "w.safetensors"

    plain = weights("exact", exact, True)
    assert_same_weights(plain, weights("without", mixed, False))
    whole = weights("mixed", mixed, True)
    assert all(value.dtype == torch.float32 for value in read(whole).tensors().values())
    assert any(not torch.equal(value, read(plain).tensors()[name]) for name, value in read(whole).tensors().items())
    losses = [metrics(path.parent)[-1]["train_total"] for path in (plain, whole)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_no_held_images(tmp_path: Path) -> None:
    stores = make_crops(tmp_path / "crops", scenes=4, val=0)
    launch(job(stores, tmp_path, replace(PNET, epochs=1, steps=2)))
    assert math.isfinite(metrics(tmp_path)[0]["val_total"]), "judged on training crops then"


def test_rate_warms_up_and_falls() -> None:
    settings = TrainSettings(epochs=4, steps=100, lr=0.01, warmup=50)
    rates = [learning_rate(step, settings) for step in range(400)]
    assert rates[0] == pytest.approx(0.01 / 50)
    assert rates[49] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.01)
    assert rates[225] == pytest.approx(0.01 * (0.01 + 0.99 / 2)), "half of the way down"
    assert rates[399] == pytest.approx(0.01 * 0.01, rel=0.02)
    assert all(low < high for low, high in itertools.pairwise(rates[:50]))
    assert all(high > low for high, low in itertools.pairwise(rates[50:]))
    assert all(math.isfinite(learning_rate(step, TrainSettings(epochs=1, steps=5, warmup=9))) for step in range(5))
