"""`mtcnn train` of single-stage detectors and `mtcnn inspect matching`, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories import environment
from PIL import Image
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detectors.anchors import S3FD
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.load import load_module
from mtcnn.errors import RecipeError
from mtcnn.weights import MEAN_COLOUR
from prepare.records import ImageRecord
from prepare.synthetic import write_folder
from stages.crops.recipe import Recipe
from stages.graph.dag import Dag
from stages.graph.project import begun_detectors
from stages.objectives.matching import MatchSettings
from stages.photos.match_report import match_report, matched
from stages.photos.recipe import DetectorRecipe
from stages.photos.task import new_net
from stages.recipes import load_recipe, recipe_path

ROOT = Path(__file__).resolve().parent.parent
SMALL = """
net = "ssh"
[model]
width = 0.0625
[pictures]
sizes = [64]
[objective.sample]
anchors = 16
[train]
epochs = 1
steps = 2
batch = 4
val = 20
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    recipe_path(tmp_path / "work", "ssh").parent.mkdir(parents=True)
    (recipe_path(tmp_path / "work", "ssh")).write_text(SMALL)
    return tmp_path / "work"


# ---- train


def test_train_makes_weights_once(work: Path) -> None:
    first = run("train", "--net", "ssh", "--data", "synthetic:8", "--work", work, "--quiet")
    assert first.exit_code == 0, first.stderr
    path = weights_path(work, "ssh")
    assert first.stdout.strip() == str(path)
    assert load_module(path, "ssh") is not None
    again = run("train", "--net", "ssh", "--work", work, "--quiet")
    assert again.stdout.strip() == f"{path} (was fresh)"
    assert again.stderr == ""


def states(work: Path, *arguments: object) -> dict[str, tuple[str, str]]:
    """State and reason of each node, as `mtcnn status` prints them."""
    done = run("status", "--work", work, *arguments)
    assert done.exit_code == 0, done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return {name: (state, reason) for name, state, reason in rows}


def test_train_starts_from_weights(work: Path, tmp_path: Path) -> None:
    """They are copied into the work folder, where later commands find them."""
    net = new_net(load_recipe(DetectorRecipe, work, "ssh"))
    write(tmp_path / "ssh.pt", Checkpoint("ssh", net.state_dict(), scaling=MEAN_COLOUR))
    arguments = ["train", "--net", "ssh", "--work", work, "--quiet"]
    assert run(*arguments, "--data", "synthetic:8").exit_code == 0
    key = read(weights_path(work, "ssh")).recipe_hash
    assert "(was fresh)" not in run(*arguments, "--start", tmp_path / "ssh.pt").stdout, "it was random before"
    assert read(weights_path(work, "ssh")).recipe_hash != key
    assert "(was fresh)" in run(*arguments, "--start", tmp_path / "ssh.pt").stdout
    (tmp_path / "ssh.pt").unlink()
    assert "(was fresh)" in run(*arguments).stdout
    kept = weights_path(work, "ssh").with_name("start-ssh.safetensors")
    state = {name: value + 1 for name, value in read(kept).state.items()}
    write(kept, Checkpoint("ssh", state, scaling=MEAN_COLOUR))
    assert states(work)["ssh"] == ("stale", "changed: start")
    kept.unlink()
    assert states(work)["ssh"] == ("stale", "changed: start")


# ---- in the graph


def test_status_lists_detectors_in_the_folder(work: Path, tmp_path: Path) -> None:
    assert list(states(tmp_path / "other", "--data", "synthetic:3"))[-1] == "onet", "no detector was begun there"
    found = states(work, "--data", "synthetic:3")
    assert list(found)[-3:] == ["onet", "photos", "ssh"]
    assert {found[name][0] for name in ("photos", "ssh")} == {"missing"}
    assert found["ssh"][1] == f"nothing at {weights_path(work, 'ssh')}"
    recipe = DetectorRecipe("s3fd", model={"width": 0.0625})
    weights = Checkpoint("s3fd", new_net(recipe).state_dict(), scaling=MEAN_COLOUR)
    write(weights_path(work, "s3fd"), weights)
    found = states(work)
    assert list(found)[-4:] == ["onet", "photos", "ssh", "s3fd"]
    assert found["s3fd"] == ("stale", "made by another recipe or from other inputs")
    recipe_path(work, "ssh").write_text("net = 3")
    assert run("status", "--work", work).exit_code == 1


def test_run_makes_a_detector_alone(work: Path) -> None:
    first = run("run", "--net", "ssh", "--data", "synthetic:8", "--work", work, "--quiet")
    assert first.exit_code == 0, first.stderr
    assert first.stdout == "made photos, ssh\n"
    told = [line.split(":")[0] for line in first.stderr.splitlines() if ": making " in line]
    assert told == ["photos", "ssh"]
    assert run("run", "--net", "ssh", "--work", work).stdout == "all fresh\n"
    found = states(work)
    assert {name: state for name, (state, _) in found.items() if state == "fresh"} == {
        "photos": "fresh",
        "ssh": "fresh",
    }

    (work / "photos.raw").unlink()
    assert states(work)["photos"][0] == "missing"
    assert run("run", "--net", "ssh", "--work", work).stdout == "all fresh\n", "nobody asks for the photos"
    recipe = recipe_path(work, "ssh")
    recipe.write_text(SMALL.replace("steps = 2", "steps = 3").replace("width = 0.0625", "width = 0.125"))
    assert states(work)["ssh"] == ("stale", "changed: recipe section [model], recipe section [train]")
    assert run("run", "--net", "ssh", "--work", work, "--quiet").stdout == "made photos, ssh\n"
    other = states(work, "--data", "synthetic:9")
    assert (other["photos"], other["ssh"]) == (("stale", "changed: data"), ("stale", "changed: photos"))


def test_run_without_a_name_makes_the_cascade(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dag, "ensure", lambda self, *targets, say: list(targets))
    done = run("run", "--work", work, "--data", "synthetic:3")
    assert done.stdout == "made crops-12, pnet-draft, crops-12-hard, pnet, crops-24, rnet, crops-48, onet\n"
    recipe_path(work, "ssh").write_text("net = 3")
    assert run("run", "--work", work).stdout == done.stdout, "whatever the recipe of a detector says"


def test_trained_weights_detect(work: Path, photo_folder: Path) -> None:
    recipe_path(work, "retinaface").parent.mkdir()
    recipe_path(work, "retinaface").write_text(SMALL.replace("ssh", "retinaface").replace("0.0625", "0.125"))
    done = run("train", "--net", "retinaface", "--data", "synthetic:8", "--work", work, "--quiet")
    assert done.exit_code == 0, done.stderr
    arguments = ["--stage1", "retinaface", "--thresholds", "0.4", "0.7", "0.7", "--json"]
    found = run("detect", photo_folder / "astronaut.png", "--models", work, *arguments)
    assert found.exit_code == 0, found.stderr
    faces = json.loads(found.stdout)["faces"]
    net = load_module(weights_path(work, "retinaface"), "retinaface")
    assert len(next(net.parameters())) == 1, "an eighth as wide as the packaged one"
    detector = Detector(work, thresholds=0.4, stage1="retinaface")
    assert faces == json.loads(json.dumps(detector.detect(photo_folder / "astronaut.png").to_dicts()))
    assert faces


# ---- more of train


def test_train_under_torchrun(work: Path, tmp_path: Path) -> None:
    """The photos decoded by the first process, the net trained by both, each with pictures of another size."""
    recipe = recipe_path(work, "ssh")
    recipe.write_text(SMALL.replace("[64]", "[64, 96, 128]"))
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "mtcnn", "train", "--net", "ssh", "--data", "synthetic:8", "--quiet"]
    done = subprocess.run(
        [*runner, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ssh: making") == 1
    assert len((weights_path(work, "ssh").with_name("metrics-ssh.jsonl")).read_text().splitlines()) == 1
    assert load_module(weights_path(work, "ssh"), "ssh") is not None


def test_train_errors(work: Path, tmp_path: Path) -> None:
    given = ["train", "--net", "ssh", "--data", "synthetic:3", "--work", work, "--quiet"]
    missing = run(*given, "--start", tmp_path / "none.pt")
    assert missing.exit_code == 1
    assert "none.pt, which is no file; expected weights of the net" in missing.stderr
    assert run(*given, "--hard-from", "pnet").exit_code == 2
    assert run("train", "--net", "12", "--teacher", tmp_path / "x.pt").exit_code == 2
    assert run("train", "--net", "vgg").exit_code == 2
    for line, message in (
        ("net = 'onet'", "net is onet; expected one of retinaface"),
        ("net = 'ssh'\n[model]\nwidth = 0.0", "a layer without channels; expected larger numbers"),
        ("net = 'ssh'\n[model]\nwidth = 'wide'", "model.width is 'wide'; expected a value like 1.0"),
        ("net = 'ssh'\n[model]\ndepth = 3", "model.depth is not a setting of ssh; expected one of width"),
        ("net = 'ssh'\nmodel = 3", "model is 3; expected a table"),
        ("net = 'ssh'\n[match]\npositive = 2.0", "match.positive is 2.0; expected a number from 0 to 1"),
        ("net = 'ssh'\n[pictures]\nsizes = [33]", "pictures.sizes is [33.0]; expected multiples of 32"),
        ("net = 's3fd'", "net is s3fd; expected ssh, as its path says"),
    ):
        recipe_path(work, "ssh").write_text(line)
        wrong = run(*given)
        assert wrong.exit_code == 1, wrong.stderr
        assert message in wrong.stderr
        assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize("net", ["retinaface", "ssh", "s3fd"])
def test_packaged_recipes(net: str) -> None:
    """They load, and have the settings of the papers."""
    recipe = load_recipe(DetectorRecipe, ROOT, net)
    assert (recipe.net, recipe.model) == (net, {})
    bands = {"retinaface": (0.35, 0.35, 0.2, 0.0), "ssh": (0.5, 0.3, 1.0, 0.0), "s3fd": (0.35, 0.35, 0.0, 0.1)}[net]
    assert recipe.objective.match == MatchSettings(*bands)
    assert (recipe.objective.sample.anchors, recipe.objective.sample.negatives) == {
        "retinaface": (0, 7.0), "ssh": (256, 7.0), "s3fd": (0, 3.0)
    }[net]  # fmt: skip
    assert load_recipe(Recipe, ROOT, "pnet").net == "pnet", "beside them"


# ---- inspect


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    write_folder(tmp_path, 4, seed=3)
    return tmp_path


@pytest.mark.parametrize("objective", ["atss", "heat-map", "simota"])
def test_matching_of_another_objective_is_one_line(tmp_path: Path, photo_folder: Path, objective: str) -> None:
    path = recipe_path(tmp_path, "slim")
    path.parent.mkdir(parents=True)
    path.write_text(f'net = "slim"\nobjective = {{name = "{objective}"}}\n')
    (labels := tmp_path / "labels.txt").write_text("astronaut.png\n1\n10 10 50 50\n")
    with pytest.raises(RecipeError, match=f"recipe of slim: objective is {objective}, which does not match"):
        match_report("slim", photo_folder / "astronaut.png", f"wider:{labels}:{photo_folder}", tmp_path)


def test_inspect_matching(drawn: Path) -> None:
    labels = drawn / "wider" / "wider_face_train_bbx_gt.txt"
    lines = labels.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line in ("2", "3", "4"))
    image, faces = drawn / "wider" / "train" / "images" / lines[row - 1], int(lines[row])
    table = run("inspect", "matching", image, labels, "--net", "s3fd", "--draw", drawn / "m.png")
    assert table.exit_code == 0, table.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.stdout.splitlines()]
    assert rows[0] == ["face", "box", "best IoU", "before", "after"]
    assert [cells[0] for cells in rows[2:]] == [*(str(i + 1) for i in range(faces)), "mean"]
    before, after = ([int(cells[k]) for cells in rows[2:-1]] for k in (3, 4))
    assert rows[-1][3:] == [f"{sum(part) / faces:.2f}" for part in (before, after)]
    assert all(b <= a for b, a in zip(before, after, strict=True))
    whole = json.loads(run("inspect", "matching", image, labels, "--net", "s3fd", "--json").stdout)
    assert [face["after"] for face in whole["faces"]] == after
    picture = np.asarray(Image.open(drawn / "m.png")).astype(int)
    original = np.asarray(Image.open(image)).astype(int)
    assert picture.shape == original.shape
    changed = (picture != original).any(axis=2)
    x1, y1, x2, y2 = (round(v) for v in whole["faces"][0]["box"])
    assert changed[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3].any()
    other = run("inspect", "matching", image, f"wider:{labels}", "--net", "ssh")
    assert other.exit_code == 0
    assert other.stdout != table.stdout


def test_inspect_without_labels_uses_detections(photo_folder: Path) -> None:
    done = run("inspect", "matching", photo_folder / "astronaut.png", "--net", "retinaface", "--json")
    assert done.exit_code == 0, done.stderr
    faces = json.loads(done.stdout)["faces"]
    assert len(faces) == 1
    assert faces[0]["before"] == faces[0]["after"] > 3, "RetinaFace has no second stage"


def test_inspect_errors(drawn: Path, photo_folder: Path) -> None:
    labels = drawn / "wider" / "wider_face_train_bbx_gt.txt"
    for arguments, code, message in (
        ((photo_folder / "astronaut.png", labels, "--net", "s3fd"), 1, "names astronaut.png 0 times"),
        ((drawn / "none.png", "--net", "s3fd"), 1, "none.png"),
        ((photo_folder / "astronaut.png", "voc:none", "--net", "s3fd"), 1, "none"),
        ((photo_folder / "astronaut.png", "--net", "pnet"), 2, "pnet"),
        ((photo_folder / "astronaut.png",), 2, "--net"),
    ):
        done = run("inspect", "matching", *arguments)
        assert done.exit_code == code, done.stderr
        assert message in done.stderr


def test_a_report_leaves_out_ignored_faces() -> None:
    boxes = np.array([[10, 10, 60, 60], [5, 100, 40, 140], [70, 70, 110, 118]], np.float32)
    record = ImageRecord(Path("x"), boxes, ignore=np.array([False, True, False]))
    image = np.zeros((160, 160, 3), np.uint8)
    report = matched(image, record, SsdCodes(S3FD), MatchSettings(0.35, 0.35, 0.0, 0.1))
    assert [row["box"] for row in report.rows()] == boxes[[0, 2]].tolist()
    alone = ImageRecord(Path("x"), boxes[[2]])
    assert (
        report.rows()[1]["before"]
        == matched(image, alone, SsdCodes(S3FD), MatchSettings(0.35, 0.35, 0.0)).rows()[0]["before"]
    )
    nobody = matched(image, ImageRecord(Path("x")), SsdCodes(S3FD), MatchSettings())
    assert nobody.rows() == []
    assert "mean" not in nobody.table()
    assert (nobody.picture() == image).all()


def test_a_detector_without_a_recipe(tmp_path: Path) -> None:
    """It is trained with a recipe written by the user."""
    work = tmp_path / "work"
    done = run("train", "--net", "retinaface-r50", "--work", work, "--data", "synthetic:2")
    recipe = recipe_path(work, "retinaface-r50")
    assert done.exit_code == 1
    assert done.stderr == f"mtcnn: no recipe for retinaface-r50: none is packaged; write one at {recipe}\n"


def test_files_are_moved_from_their_old_location(work: Path) -> None:
    """A work folder whose detectors lie beside PNet keeps its recipes, weights and logs; a newer file stays."""
    former, folder = work / "models-12", recipe_path(work, "ssh").parent
    former.mkdir()
    for name in ("recipe-s3fd.toml", "weights-retinaface.pt", "weights-retinaface-r50.pt", "metrics-ssh.jsonl"):
        (former / name).write_text(name)
    (former / "recipe-ssh.toml").write_text("old")
    (former / "weights-pnet.pt").write_text("pnet")
    assert begun_detectors(work) == ["retinaface", "ssh", "s3fd"]
    assert recipe_path(work, "s3fd").read_text() == "recipe-s3fd.toml"
    for net in ("retinaface", "retinaface-r50"):
        assert weights_path(work, net).with_suffix(".pt").read_text() == f"weights-{net}.pt"
    assert (folder / "metrics-ssh.jsonl").read_text() == "metrics-ssh.jsonl"
    assert recipe_path(work, "ssh").read_text() == SMALL
    assert sorted(path.name for path in former.iterdir()) == ["recipe-ssh.toml", "weights-pnet.pt"]
