"""`mtcnn eval` with detection: drawn photos, random weights, all scales, missing photos and weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_command import run
from sample_data import EVENT, lay_out, write_text

ROOT = Path(__file__).resolve().parent.parent
THRESHOLDS = ("--thresholds", "0.6", "0.5", "0.3")  # at which nets of random weights let something through


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("drawn"))


def _truth_of(folder: Path) -> tuple[Any, ...]:
    return "--ground-truth", folder / "ground_truth"


@pytest.mark.parametrize("scale", [(), ("--scale", "vga", "--flip"), ("--scale", "multi", "--flip")])
def test_written_detections_give_the_same_figures(
    drawn: Path, random_models: Path, tmp_path: Path, scale: tuple[str, ...]
) -> None:
    """The detection files of a run give the figures of the run."""
    own = (
        "--photos",
        drawn / "images",
        "--models",
        random_models,
        *THRESHOLDS,
        *scale,
        "--min-face",
        40,
        "--workers",
        1,
    )
    done = run(
        "eval",
        "wider",
        drawn / "found.zip",
        *_truth_of(drawn),
        *own,
        "--write",
        tmp_path / "mine",
        "--json",
        "--strict",
    )
    assert (done.exit_code, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    assert list(values) == ["found.zip", "mtcnn"]
    detector = values["mtcnn"].pop("detector")
    assert detector["scale"] == (scale[1] if scale else "original")
    assert detector["flip"] is bool(scale)
    assert detector["thresholds"] == [0.6, 0.5, 0.3]
    assert not values["mtcnn"]["restricted"]
    assert values["mtcnn"]["detections"] > 0
    again = json.loads(run("eval", "wider", tmp_path / "mine", *_truth_of(drawn), "--json").stdout)["mine"]
    assert again.pop("ap") == pytest.approx(values["mtcnn"].pop("ap"), abs=1e-3)
    assert again == values["mtcnn"]


def test_photos_restrict_the_result(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    part = tmp_path / "images" / EVENT
    part.mkdir(parents=True)
    for path in sorted((drawn / "images" / EVENT).iterdir())[:2]:
        (part / path.name).write_bytes(path.read_bytes())
    bad = sorted(part.iterdir())[0]
    bad.write_text("no image")
    own = ("--photos", tmp_path / "images", "--models", random_models, "--workers", "1")
    words = ("eval", "wider", drawn / "found.zip", *_truth_of(drawn), *own)
    done, strict = run(*words), run(*words, "--strict")
    # The photo that cannot be read is named, and its faces are missed: it stays in the figures.
    assert done.stdout.startswith("2 images of a list, AP by difficulty")
    assert "mtcnn: models " in done.stdout
    assert "scale original, flip False" in done.stdout
    assert done.stderr.splitlines()[0].startswith(f"{bad}: is not an image that can be read; expected an image")
    assert f"{EVENT}/{bad.stem}: no detections; counted as none found" in done.stderr
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert strict.stderr.startswith(f"mtcnn: {bad}: is not an image")


def test_missing_weights_and_folders(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    words = ("eval", "wider", *_truth_of(drawn), "--photos", drawn / "images", "--workers", "1")
    done = run(*words, "--models", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mtcnn: no weights at {tmp_path}/models-12/weights-pnet.safetensors")
    file = write_text(tmp_path / "file", "")
    done = run(*words, "--models", random_models, "--write", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mtcnn: {file} cannot be written (")
    assert "cannot be written" in done.stderr
    done = run(*words, "--models", random_models, "--min-face", "-1")
    assert (done.exit_code, "--min-face is -1.0; expected a number above 0" in done.stderr) == (2, True)


def test_detect_on_the_photos_of_fddb(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    """Without result files the photos are searched, in two processes; the result file written gives the same again."""
    words = ("--folds", drawn / "FDDB-folds", "--photos", drawn / "originalPics", "--json")
    own = ("--models", random_models, *THRESHOLDS, "--workers", "2")
    command = [sys.executable, "-m", "mtcnn", "eval", "fddb", *words, *own, "--write", f"{tmp_path}/my-"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{drawn}/FDDB-folds: 1 folds; the protocol has 10, figures cannot be compared\n"
    values = json.loads(done.stdout)["mtcnn"]
    assert values.pop("detector")["models"] == str(random_models)
    assert {path.name for path in tmp_path.iterdir()} == {"my-ContROC.txt", "my-DiscROC.txt", "my-detections.txt"}
    again = json.loads(run("eval", "fddb", tmp_path / "my-detections.txt", *words).stdout)["my-detections.txt"]
    assert again == values


def test_landmarks(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("eval", "landmarks", drawn / "faces_test.csv", "--models", random_models, *THRESHOLDS, "--workers", "1")
    done = run(*words, "--plot", tmp_path / "ced.png")
    assert (done.exit_code, done.stderr) == (0, "")
    faces = len((drawn / "faces_test.csv").read_text().splitlines()) - 1
    assert done.stdout.startswith(f"{faces} faces in 3 images, mean distance")
    assert f"of {faces} |" in done.stdout
    assert (tmp_path / "ced.png").stat().st_size > 0
    values = json.loads(run(*words, "--json").stdout)["mtcnn"]
    assert (values["protocol"], values["faces"], values["images"]) == ("landmarks", faces, 3)


def test_bad_landmark_files(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    lines = (drawn / "faces_test.csv").read_text().splitlines()
    labels = write_text(
        tmp_path / "bad.csv", "\n".join([lines[0], "x.jpg,1,2", lines[1], "none.jpg" + lines[1][lines[1].index(",") :]])
    )
    words = ("eval", "landmarks", labels, "--photos", drawn, "--models", random_models, "--workers", "1")
    done, strict = run(*words), run(*words, "--strict")
    assert done.exit_code == 0
    told = done.stderr.splitlines()
    assert told[0] == f"{labels}:2: expected a path, four box cells and ten numbers; row left out"
    assert told[1].startswith(f"{drawn}/none.jpg: no such file")
    assert told[2] == "none.jpg: no found faces; counted as missed"
    assert (strict.exit_code, strict.stdout, strict.stderr) == (1, "", f"mtcnn: {told[0]}\n")
    missing = run("eval", "landmarks", tmp_path / "none.csv", "--models", random_models)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr.startswith(f"mtcnn: {tmp_path}/none.csv: cannot be read (No such file or directory)")
