"""`mtcnn eval` as a user runs it: figures worked out by hand, every kind of bad input, drawn photos, files written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from small_data import EVENT, lay_out, write_detections, write_mats, write_text

from cli import main

ROOT = Path(__file__).resolve().parent.parent
THRESHOLDS = ("--thresholds", "0.6", "0.5", "0.3")  # at which nets of random weights let something through


def run(*words: object) -> Any:
    """(exit_code, stdout, stderr) of `mtcnn eval`. What escapes as an exception is a bug, and is raised here."""
    done = CliRunner().invoke(main, ["eval", *map(str, words)], prog_name="mtcnn")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


# ---- WIDER FACE

# The case that test_wider.py works out: AP 1/2 where face B does not count, 5/9 where it does; medium is as hard here.
_BOXES = {"e/a": [[0, 0, 8, 8], [100, 0, 8, 8]], "e/b": [[0, 0, 8, 8]]}
_ALL = {"e/a": [1, 2], "e/b": [1]}
_COUNTED = {"easy": {"e/a": [1], "e/b": [1]}, "medium": _ALL, "hard": _ALL}
_FOUND: dict[str, list[list[float]]] = {
    "e/a": [[3, 0, 8, 8, 3], [0, 0, 8, 8, 2.75], [100, 0, 8, 8, 2.5], [50, 50, 8, 8, 1]],
    "e/b": [],
}
_AP = "| 0.5000 | 0.5556 | 0.5556 |      2 |"


@pytest.fixture
def wider(tmp_path: Path) -> Path:
    write_mats(tmp_path / "truth", _BOXES, _COUNTED)
    write_detections(tmp_path / "found", _FOUND)
    return tmp_path


def test_wider_by_hand(wider: Path) -> None:
    done = run("wider", wider / "found", f"other={wider / 'found'}", "--ground-truth", wider / "truth", "--strict")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 images, AP by difficulty",
        "",
        "| detector |   easy | medium |   hard | images |",
        "| -------- | -----: | -----: | -----: | -----: |",
        f"| found    {_AP}",
        f"| other    {_AP}",
    ]


def test_wider_json_and_plot(wider: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = wider / "pr.png"
    done = run("wider", wider / "found", "--ground-truth", wider / "truth", "--json", "--plot", plot)
    assert json.loads(done.stdout) == {
        "found": {
            "protocol": "wider",
            "images": 2,
            "restricted": False,
            "detections": 4,
            "faces": {"easy": 2, "medium": 3, "hard": 3},
            "ap": {"easy": 0.5, "medium": 0.555556, "hard": 0.555556},
        }
    }
    with Image.open(plot) as picture:
        assert (picture.format, picture.width) == ("PNG", 3 * 5 * 120)
    failed = run("wider", wider / "found", "--ground-truth", wider / "truth", "--plot", wider / "none" / "pr.png")
    assert (failed.exit_code, _AP in failed.stdout) == (1, True)
    assert failed.stderr.startswith(f"mtcnn: {wider}/none/pr.png: plot cannot be written")


def test_wider_on_a_list_of_images(wider: Path) -> None:
    """Only image a: 2 faces, hard: 1/1, 1/2, 2/3, 2/4 at recall 1/2, 1/2, 1, 1, so 1/2 + 1/2 * 2/3 = 5/6."""
    names = write_text(wider / "list.txt", "e/a.jpg\n")
    done = run("wider", wider / "found", "--ground-truth", wider / "truth", "--images", names, "--strict")
    assert done.stdout.startswith("1 images of a list, AP by difficulty")
    assert "| found    | 1.0000 | 0.8333 | 0.8333 |      1 |" in done.stdout


# (file, its text, its line or none, what is said, AP printed): the rest of the input is the case above.
_BAD_FILES = [
    ("e/a", "a\nmany\n", 2, "second line is 'many', expected the number of faces; read as empty", None),
    ("e/b", "b\n2\n1 1 5 5 1.5\n", 2, "count is 2, but 1 rows follow; read as empty", _AP),
    ("e/b", "b\n0\n1 1 5 5 1.5\n", 2, "count is 0, but 1 rows follow; the rest is not read", _AP),
    ("e/b", "b\n1\n1 x 5 5 1.5\n", 3, "expected 'x y w h score', got '1 x 5 5 1.5'; row left out", _AP),
    ("e/b", "b\n1\nnan 1 5 5 1.5\n", 3, "NaN or infinity in [nan, 1.0, 5.0, 5.0, 1.5]; row left out", _AP),
    ("e/b", "b\n1\n1 1 5 5 inf\n", 3, "NaN or infinity in [1.0, 1.0, 5.0, 5.0, inf]; row left out", _AP),
    # A false positive after the last hit changes nothing; before it, precision 2/3 becomes 2/4.
    ("e/b", "b\n1\n1 1 -5 5 1\n", 3, "size -5 x 5 is negative; it counts as a false positive", _AP),
    ("e/b", "b\n1\n1 1 -5 5 2.9\n", 3, "size -5 x 5 is negative; it counts as a false positive", "| 0.5000 | 0.5000 |"),
    ("e/a", "a\n4\n50 50 8 8 1\n3 0 8 8 3\n0 0 8 8 2.75\n100 0 8 8 2.5\n", 4, "scores are not falling; sorted", _AP),
    ("e/z", "z\n0\n", None, "e/z: detections, but not in the ground truth; left out", _AP),
    ("f/a", "a\n0\n", None, "f: is not an event of the ground truth; its detections are left out", _AP),
    ("stray", "stray\n0\n", None, "is not in an event's folder; expected <event>/<image>.txt; left out", _AP),
]


@pytest.mark.parametrize(("name", "text", "line", "message", "ap"), _BAD_FILES)
def test_bad_detection_files(wider: Path, name: str, text: str, line: int | None, message: str, ap: str | None) -> None:
    file = write_text(wider / "found" / f"{name}.txt", text)
    words = ("wider", wider / "found", "--ground-truth", wider / "truth")
    done, strict = run(*words), run(*words, "--strict")
    assert done.exit_code == 0
    assert message in done.stderr
    assert ap is None or ap in done.stdout
    if line is not None:
        assert done.stderr.startswith(f"{file}:{line}: ")
    # With --strict the same line ends it, and there is no table to mistake for a result.
    first = done.stderr.splitlines()[0]
    assert (strict.exit_code, strict.stdout, strict.stderr) == (1, "", f"mtcnn: {first}\n")


def test_missing_detections_of_an_image(wider: Path) -> None:
    (wider / "found/e/b.txt").unlink()
    words = ("wider", wider / "found", "--ground-truth", wider / "truth")
    done, strict = run(*words), run(*words, "--strict")
    assert (done.exit_code, done.stderr) == (0, "e/b: no detections; counted as none found\n")
    assert _AP in done.stdout
    assert (strict.exit_code, strict.stderr) == (1, "mtcnn: e/b: no detections; counted as none found\n")


def test_all_problems_are_told(wider: Path) -> None:
    """In one run, each with its file and line, before the table; --strict ends at the first."""
    write_text(wider / "found/e/a.txt", "a\n2\n0 0 8 8 nan\n0 0 -8 8 1\n")
    write_text(wider / "found/e/b.txt", "b\nx\n")
    write_text(wider / "found/g/c.txt", "c\n0\n")
    done = run("wider", wider / "found", "--ground-truth", wider / "truth")
    found = str(wider / "found")
    assert [line.replace(found, "found") for line in done.stderr.splitlines()] == [
        "found/e/a.txt:3: NaN or infinity in [0.0, 0.0, 8.0, 8.0, nan]; row left out",
        "found/e/a.txt:4: size -8 x 8 is negative; it counts as a false positive",
        "found/e/b.txt:2: second line is 'x', expected the number of faces; read as empty",
        "g: is not an event of the ground truth; its detections are left out",
        "detections: all scores are 1; the official normalisation divides by zero, AP is 0",
    ]
    assert "| 0.0000 | 0.0000 | 0.0000 |" in done.stdout


def test_an_image_of_the_list_that_has_no_labels(wider: Path) -> None:
    names = write_text(wider / "list.txt", "e/a.jpg\ne/q.jpg\n")
    words = ("wider", wider / "found", "--ground-truth", wider / "truth", "--images", names)
    done, strict = run(*words), run(*words, "--strict")
    message = "e/q: in the list of images, but not in the ground truth; left out\n"
    assert (done.exit_code, done.stderr) == (0, message)
    assert (strict.exit_code, strict.stderr) == (1, f"mtcnn: {message}")


def test_labels_as_text(wider: Path) -> None:
    labels = write_text(wider / "gt.txt", "e/a.jpg\n3\n0 0 20 20 0 0 0 0 0 0\ne/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n")
    write_detections(wider / "found", {"e/a": [[0, 0, 20, 20, 0.9], [50, 50, 5, 5, 0.1]]})
    words = ("wider", wider / "found", "--ground-truth", labels)
    done, strict = run(*words), run(*words, "--strict")
    message = f"{labels}:2: face count is 3, but 1 rows follow; the rows are taken\n"
    assert (done.exit_code, done.stderr) == (0, message)
    assert done.stdout.startswith("2 images, AP by face height in pixels")
    assert (strict.exit_code, strict.stderr) == (1, f"mtcnn: {message}")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("{}/none", "--ground-truth", "{}/truth"), 1, "{}/none: does not exist; expected a folder or archive"),
        (("{}/found", "--ground-truth", "{}/none.txt"), 1, "{}/none.txt: cannot be read (No such file or directory)"),
        (("{}/found", "--ground-truth", "{}/found"), 1, "{}/found/wider_face_val.mat: cannot be read"),
        (("{}/found", "--ground-truth", "{}/truth", "--images", "{}/none"), 1, "{}/none: cannot be read (No such"),
        (("{}/text.zip", "--ground-truth", "{}/truth"), 1, "{}/text.zip: cannot be read"),
        (("--ground-truth", "{}/truth", "--photos", "{}/none"), 1, "{}/none: no photos in it; expected <event>/"),
        (("--ground-truth", "{}/truth"), 2, "nothing to evaluate; expected DETECTIONS, or --photos"),
        (("{}/found", "--ground-truth", "{}/truth", "--scale", "big"), 2, "scale is 'big'; expected original, vga"),
        (("{}/found", "{}/found", "--ground-truth", "{}/truth"), 2, "the name 'found' is taken; expected one of its"),
        (("mtcnn={}/found", "--ground-truth", "{}/truth"), 2, "the name 'mtcnn' is taken"),
        (("{}/found",), 2, "Missing option '--ground-truth'"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_what_cannot_be_read_or_done(
    wider: Path, words: tuple[str, ...], status: int, message: str, strict: bool
) -> None:
    """Strict or not: one line that names it, nothing on stdout."""
    write_text(wider / "text.zip", "no archive")
    done = run("wider", *(word.format(wider) for word in words), *["--strict"] * strict)
    assert (done.exit_code, done.stdout) == (status, "")
    assert message.format(wider) in done.stderr
    assert len(done.stderr.splitlines()) == 1 or status == 2


# ---- FDDB

# The case that test_fddb.py works out: discrete 1/2, continuous 0.26 from no false positive on.
_FOLD = "d/p\n1\n2.0 2.0 0.0 5.0 5.0  1\nd/q\n1\n2.0 2.0 0.0 5.0 5.0  1\n"
_RESULT = "d/p\n3\n5 5 2 2 0.8\n3 3 4 4 0.9\n-2 -2 3 3 0.5\nd/q\n0\n"
_RATES = "0.5000 / 0.2600 | 0.5000 / 0.2600 | 0.5000 / 0.2600 | 0.5000 / 0.2600 |      2 |"


@pytest.fixture
def fddb(tmp_path: Path) -> Path:
    for number in range(1, 11):
        write_text(tmp_path / f"folds/FDDB-fold-{number:02}-ellipseList.txt", _FOLD if number == 1 else "")
    write_text(tmp_path / "sizes.csv", "path,width,height\nd/p,11,11\nd/q,11,11\n")
    write_text(tmp_path / "result.txt", _RESULT)
    return tmp_path


def test_fddb_by_hand(fddb: Path) -> None:
    words = ("--folds", fddb / "folds", "--sizes", fddb / "sizes.csv", "--strict", "--write", fddb / "roc" / "my")
    done = run("fddb", fddb / "result.txt", *words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"| result.txt | {_RATES}" in done.stdout
    assert (fddb / "roc/myDiscROC.txt").read_text() == "0.5 2 0.5\n0.5 1 0.8\n0.5 0 0.9\n0 0 1.79769e+308\n"
    assert (fddb / "roc/myContROC.txt").read_text() == "0.26 2\n0.26 1\n0.26 0\n0 0\n"
    values = json.loads(run("fddb", fddb / "result.txt", *words, "--json").stdout)
    assert values["result.txt"]["tpr_at_false_positives"]["1000"] == {"discrete": 0.5, "continuous": 0.26}


def test_fddb_side_by_side(fddb: Path) -> None:
    pytest.importorskip("matplotlib")
    write_text(fddb / "none.txt", "d/p\n0\nd/q\n0\n")
    words = (
        "--folds",
        fddb / "folds",
        "--sizes",
        fddb / "sizes.csv",
        "--plot",
        fddb / "roc.png",
        "--write",
        fddb / "x-",
    )
    done = run("fddb", f"mine={fddb / 'result.txt'}", fddb / "none.txt", *words)
    assert f"| mine     | {_RATES}" in done.stdout
    assert "| none.txt | 0.0000 / 0.0000 |" in done.stdout
    assert (fddb / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in fddb.glob("x-*")) == [
        "x-mine-ContROC.txt", "x-mine-DiscROC.txt", "x-none.txt-ContROC.txt", "x-none.txt-DiscROC.txt",
    ]  # fmt: skip


_RATES_OF_ONE = "0.5000 / 0.2600 |"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("d/q\n0\n", "d/q\nfew\n", 7, "no count after the image name; the rows that follow are taken"),
        ("d/p\n3\n", "0.5 2\nd/p\n3\n", 1, "numbers before the first image name; left out"),
        ("d/p\n3\n", "d/p\n4\n", 2, "count is 4, but 3 rows follow; the rows are taken"),
        ("-2 -2 3 3 0.5", "-2 -2 nan 3 0.5", 5, "NaN or infinity; row left out"),
        ("-2 -2 3 3 0.5", "-2 -2 3 0.5", 5, "4 numbers in a row; expected 5; row left out"),
        ("-2 -2 3 3 0.5", "1 1 -3 -3 0.5", 5, "size -3 x -3 is negative; drawn mirrored, as the tool does"),
        ("d/q\n0\n", "d/q\n0\nd/p\n0\n", 8, "d/p has detections twice; the first are taken"),
        ("d/q\n0\n", "", None, "d/q: no detections; counted as none found"),
        ("d/q\n0\n", "d/q\n0\nd/x\n0\n", None, "d/x: detections, but not in the folds; left out"),
    ],
)
def test_bad_result_files(fddb: Path, old: str, new: str, line: int | None, message: str) -> None:
    file = write_text(fddb / "result.txt", _RESULT.replace(old, new, 1))
    words = ("fddb", file, "--folds", fddb / "folds", "--sizes", fddb / "sizes.csv")
    done, strict = run(*words), run(*words, "--strict")
    assert done.exit_code == 0
    assert _RATES_OF_ONE in done.stdout
    expected = message if line is None else f"{file}:{line}: {message}"
    assert done.stderr.splitlines()[0] == expected
    assert (strict.exit_code, strict.stdout, strict.stderr) == (1, "", f"mtcnn: {expected}\n")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("{}/none", "--folds", "{}/folds", "--sizes", "{}/sizes.csv"), 1, "{}/none: cannot be read (No such file"),
        (("{}/result.txt", "--folds", "{}", "--sizes", "{}/sizes.csv"), 1, "{}: no FDDB-fold-01-ellipseList.txt in it"),
        (("{}/result.txt", "--folds", "{}/folds"), 1, "d/p: image size unknown (2 of 2 images); FDDB clips regions"),
        (("{}/result.txt", "--folds", "{}/folds", "--sizes", "{}/result.txt"), 1, "result.txt:1: columns are 'd/p'"),
        (("--folds", "{}/folds"), 2, "nothing to evaluate; expected DETECTIONS, or --photos"),
        (("--folds", "{}/folds", "--photos", "{}/none"), 1, "{}/none: no photo of the folds in it; expected d/p.jpg"),
    ],
)
def test_what_fddb_cannot_do_without(fddb: Path, words: tuple[str, ...], status: int, message: str) -> None:
    done = run("fddb", *(word.format(fddb) for word in words))
    assert (done.exit_code, done.stdout) == (status, "")
    assert message.format(fddb) in done.stderr


def test_fewer_folds_are_reported(fddb: Path) -> None:
    (fddb / "folds/FDDB-fold-10-ellipseList.txt").unlink()
    words = ("fddb", fddb / "result.txt", "--folds", fddb / "folds", "--sizes", fddb / "sizes.csv")
    assert "9 folds; the protocol has 10" in run(*words).stderr
    assert run(*words, "--strict").exit_code == 1


# ---- this project's detector, on drawn photos


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("drawn"))


def _truth_of(folder: Path) -> tuple[Any, ...]:
    return "--ground-truth", folder / "ground_truth"


@pytest.mark.parametrize("scale", [(), ("--scale", "vga", "--flip"), ("--scale", "multi", "--flip")])
def test_detect_write_and_evaluate_again(
    drawn: Path, random_models: Path, tmp_path: Path, scale: tuple[str, ...]
) -> None:
    """What a run writes gives, as a detection file, the figures of the run."""
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
        "wider", drawn / "found.zip", *_truth_of(drawn), *own, "--write", tmp_path / "mine", "--json", "--strict"
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
    again = json.loads(run("wider", tmp_path / "mine", *_truth_of(drawn), "--json").stdout)["mine"]
    assert again.pop("ap") == pytest.approx(values["mtcnn"].pop("ap"), abs=1e-3)
    assert again == values["mtcnn"]


def test_photos_of_a_part_restrict_the_result(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    part = tmp_path / "images" / EVENT
    part.mkdir(parents=True)
    for path in sorted((drawn / "images" / EVENT).iterdir())[:2]:
        (part / path.name).write_bytes(path.read_bytes())
    bad = sorted(part.iterdir())[0]
    bad.write_text("no image")
    words = (
        "wider",
        drawn / "found.zip",
        *_truth_of(drawn),
        "--photos",
        tmp_path / "images",
        "--models",
        random_models,
    )
    done, strict = run(*words, "--workers", "1"), run(*words, "--workers", "1", "--strict")
    # The photo that cannot be read is named, and its faces are missed: it stays in the figures.
    assert done.stdout.startswith("2 images of a list, AP by difficulty")
    assert "mtcnn: models " in done.stdout
    assert "scale original, flip False" in done.stdout
    assert done.stderr.splitlines()[0].startswith(f"{bad}: is not an image that can be read; expected an image")
    assert f"{EVENT}/{bad.stem}: no detections; counted as none found" in done.stderr
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert strict.stderr.startswith(f"mtcnn: {bad}: is not an image")


def test_weights_and_folders_that_are_missing(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    words = ("wider", *_truth_of(drawn), "--photos", drawn / "images", "--workers", "1")
    done = run(*words, "--models", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mtcnn: no weights at {tmp_path}/models-12/weights-pnet.pt")
    file = write_text(tmp_path / "file", "")
    done = run(*words, "--models", random_models, "--write", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mtcnn: {file}/{EVENT}/")
    assert "cannot be written" in done.stderr
    done = run(*words, "--models", random_models, "--min-face", "-1")
    assert (done.exit_code, "min_face is -1.0; expected a size" in done.stderr) == (2, True)


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
    again = json.loads(run("fddb", tmp_path / "my-detections.txt", *words).stdout)["my-detections.txt"]
    assert again == values


def test_landmarks(drawn: Path, random_models: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("landmarks", drawn / "faces_test.csv", "--models", random_models, *THRESHOLDS, "--workers", "1")
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
    words = ("landmarks", labels, "--photos", drawn, "--models", random_models, "--workers", "1")
    done, strict = run(*words), run(*words, "--strict")
    assert done.exit_code == 0
    told = done.stderr.splitlines()
    assert told[0] == f"{labels}:2: expected a path, four box cells and ten numbers; row left out"
    assert told[1].startswith(f"{drawn}/none.jpg: no such file")
    assert told[2] == "none.jpg: no found faces; counted as missed"
    assert (strict.exit_code, strict.stdout, strict.stderr) == (1, "", f"mtcnn: {told[0]}\n")
    missing = run("landmarks", tmp_path / "none.csv", "--models", random_models)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr.startswith(f"mtcnn: {tmp_path}/none.csv: cannot be read (No such file or directory)")


@pytest.mark.data
def test_published_figures_by_the_command(data_folder: Path) -> None:
    """The archive as it was published, its oddities and all, over the official lists: one line a command."""
    archive = data_folder / "eval/wider/retinaface_mnet025_val.tar.xz"
    done = run("wider", f"mnet={archive}", "--ground-truth", data_folder / "wider/ground_truth", "--json", "--strict")
    ap = json.loads(done.stdout)["mnet"]["ap"]
    assert np.allclose([ap["easy"], ap["medium"], ap["hard"]], [0.9070, 0.8816, 0.7382], atol=2e-4)
