"""`mtcnn detect` as users run it: stdout, stderr, files and exit status."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from run_command import problems, visible

import cli
import mtcnn
from mtcnn.cascade import Detector
from mtcnn.engine.notice import LINE
from mtcnn.images import read_image
from mtcnn.pictures.draw import save_image

ROOT = Path(__file__).resolve().parent.parent
# Random nets, and a threshold that lets everything pass: a dozen faces an image.
SETTINGS: dict[str, Any] = {"min_face": 30, "scale_factor": 0.5, "thresholds": (0, 0, 0)}
OPTIONS = ["--min-face", "30", "--scale-factor", "0.5", "--thresholds", "0", "0", "0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/a.png, photos/b.jpg (turned by EXIF, 44 wide and 60 high), photos/sub/c.png (16-bit gray)."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    save_image(photos / "a.png", rng.integers(0, 256, (50, 70, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (44, 60, 3), dtype=np.uint8)).save(photos / "b.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 65536, (48, 52), dtype=np.uint16)).save(photos / "sub" / "c.png")
    return photos


def detect(models: Path, *arguments: object) -> Result:
    return run("detect", *arguments, "--models", models, *OPTIONS)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], prog_name="mtcnn")


def assert_done(result: Result) -> None:
    assert result.exit_code == 0, result.output
    assert problems(result.stderr) == ""


def assert_usage_error(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: mtcnn detect")
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


# ---- results


def test_json_equals_the_detector(random_models: Path, folder: Path) -> None:
    result = detect(random_models, folder, "--json")
    assert_done(result)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    paths = [folder / "a.png", folder / "b.jpg", folder / "sub" / "c.png"]
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert [(row["width"], row["height"]) for row in rows] == [(70, 50), (44, 60), (52, 48)]  # as a viewer sees them
    detector = Detector(random_models, **SETTINGS)
    for row, path in zip(rows, paths, strict=True):
        faces = detector.detect(path)
        assert len(faces)
        assert row["faces"] == faces.to_dicts()


def test_csv(random_models: Path, folder: Path) -> None:
    result = detect(random_models, folder / "a.png", "--csv")
    assert_done(result)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    faces = Detector(random_models, **SETTINGS).detect(folder / "a.png").to_dicts()
    assert len(rows) == len(faces) > 0
    for row, face in zip(rows, faces, strict=True):
        assert row["image"] == str(folder / "a.png")
        assert [float(row[name]) for name in ("x1", "y1", "x2", "y2")] == face["box"]
        assert float(row["score"]) == face["score"]
        assert [float(row["x_nose"]), float(row["y_nose"])] == face["landmarks"][2]


def test_text(random_models: Path, folder: Path) -> None:
    result = detect(random_models, folder / "a.png")
    assert_done(result)
    first, *rest = result.stdout.splitlines()
    assert first == f"{folder / 'a.png'}: {len(rest)} faces"
    scores = [float(line.split()[-1]) for line in rest]
    assert scores == sorted(scores, reverse=True)


def test_pattern(random_models: Path, folder: Path) -> None:
    """For shells that do not expand them."""
    result = detect(random_models, folder / "*.*", "--json")
    assert_done(result)
    assert [Path(json.loads(line)["image"]).name for line in result.stdout.splitlines()] == ["a.png", "b.jpg"]


def test_draw_into_a_folder(random_models: Path, folder: Path, tmp_path: Path) -> None:
    result = detect(random_models, folder, "--draw", tmp_path / "drawn", "--json")
    assert_done(result)
    assert len(result.stdout.splitlines()) == 3
    assert visible(tmp_path / "drawn") == ["a.png", "b.jpg", "c.png"]
    drawn = read_image(tmp_path / "drawn" / "a.png")
    assert drawn.shape == (50, 70, 3)
    assert not np.array_equal(drawn, read_image(folder / "a.png"))
    assert read_image(tmp_path / "drawn" / "b.jpg").shape == (60, 44, 3)  # upright, and not turned again


def test_draw_to_a_file(random_models: Path, folder: Path, tmp_path: Path) -> None:
    assert_done(detect(random_models, folder / "a.png", "--draw", tmp_path / "out.jpg"))
    assert read_image(tmp_path / "out.jpg").shape == (50, 70, 3)


def test_no_face_is_no_error(random_models: Path, folder: Path) -> None:
    arguments = ("detect", folder / "a.png", "--models", random_models, "--thresholds", 1, 1, 1)
    for style, expected in ((), "0 faces"), (["--json"], '"faces": []'), (["--csv"], "image,x1"):
        result = run(*arguments, *style)
        assert_done(result)
        assert len(result.stdout.splitlines()) == 1
        assert expected in result.stdout


# ---- problems


def test_bad_files_are_reported_and_the_others_processed(random_models: Path, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:300])
    (folder / "text.png").write_text("no picture")
    result = detect(random_models, folder, folder / "missing.png", "--json")
    assert result.exit_code == 1
    assert [Path(json.loads(line)["image"]).name for line in result.stdout.splitlines()] == ["a.png", "b.jpg", "c.png"]
    told = problems(result.stderr).splitlines()
    assert len(told) == 3
    for name, problem in zip(("broken.jpg", "text.png", "missing.png"), told, strict=True):
        assert problem.startswith("mtcnn: skipped ")
        assert str(folder / name) in problem


def test_names_that_match_nothing(random_models: Path, folder: Path) -> None:
    (folder / "empty").mkdir()
    for name in ("empty", "*.webp"):
        result = detect(random_models, folder / name, folder / "a.png")
        assert result.exit_code == 1
        assert "a.png: " in result.stdout
        assert f"no image in {folder / name}" in result.stderr


def test_missing_models(folder: Path, tmp_path: Path) -> None:
    result = detect(tmp_path, folder)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"mtcnn: no weights at {tmp_path / 'models-12' / 'weights-pnet.safetensors'}")
    assert "--models" in line
    assert isinstance(run("--debug", "detect", folder, "--models", tmp_path).exception, mtcnn.MtcnnError)


def test_missing_device(random_models: Path, folder: Path) -> None:
    result = detect(random_models, folder, "--device", "gpu")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("mtcnn: device 'cuda'")


def test_unwritable_picture(random_models: Path, folder: Path) -> None:
    result = detect(random_models, folder / "a.png", "--draw", folder / "b.jpg" / "under" / "a.png")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("mtcnn: ")
    assert "b.jpg" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-face", "0"], "--min-face is 0.0; expected"),
        (["--min-face", "small"], "'small' is not a valid float"),
        (["--scale-factor", "1.5"], "--scale-factor is 1.5; expected"),
        (["--thresholds", "0.5", "0.5", "7"], "expected three numbers from 0 to 1"),
        (["--json", "--csv"], "--json and --csv are both given"),
        (["--minface", "20"], "No such option"),
    ],
)
def test_usage_errors(random_models: Path, folder: Path, options: list[str], message: str) -> None:
    assert_usage_error(run("detect", folder / "a.png", "--models", random_models, *options), message)


def test_usage_errors_of_draw(random_models: Path, folder: Path) -> None:
    for images, draw, why in (
        (folder, "out.png", "out.png is one file, for "),
        (folder / "a.png", "a.png", "a.png is the source itself; expected a folder, or a new file"),
    ):
        result = run("detect", images, "--models", random_models, "--draw", folder / draw)
        assert_usage_error(result, why)
    assert read_image(folder / "a.png").shape == (50, 70, 3)


def test_no_images_named() -> None:
    assert_usage_error(run("detect"), "Missing argument")


# ---- the real command


def test_in_a_new_process(random_models: Path, folder: Path) -> None:
    """Only results on stdout, problems on stderr, and the exit status."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "mtcnn", *map(str, arguments)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")

    shown = command("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: mtcnn ")
    assert "detect" in shown.stdout
    (folder / "text.png").write_text("no picture")
    found = command("detect", folder / "text.png", folder / "a.png", "--json", "--models", random_models, *OPTIONS)
    assert found.returncode == 1
    (line,) = found.stdout.splitlines()
    assert json.loads(line)["faces"] == Detector(random_models, **SETTINGS).detect(folder / "a.png").to_dicts()
    assert len([line for line in problems(found.stderr).splitlines() if LINE not in line]) == 1


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert mtcnn.__version__ in result.stdout
