"""`mtcnn eval wider` as a user runs it: figures computed by hand, files written, all kinds of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import run
from sample_data import write_detections, write_mats, write_text

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
    done = run(
        "eval", "wider", wider / "found", f"other={wider / 'found'}", "--ground-truth", wider / "truth", "--strict"
    )
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
    done = run("eval", "wider", wider / "found", "--ground-truth", wider / "truth", "--json", "--plot", plot)
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
    failed = run(
        "eval", "wider", wider / "found", "--ground-truth", wider / "truth", "--plot", wider / "none" / "pr.png"
    )
    assert (failed.exit_code, failed.stdout) == (1, "")  # told before the work
    assert failed.stderr.startswith(f"mtcnn: {wider}/none/pr.png: plot cannot be written")


def test_wider_on_a_list_of_images(wider: Path) -> None:
    """Only image a: 2 faces, hard: 1/1, 1/2, 2/3, 2/4 at recall 1/2, 1/2, 1, 1, so 1/2 + 1/2 * 2/3 = 5/6."""
    names = write_text(wider / "list.txt", "e/a.jpg\n")
    done = run("eval", "wider", wider / "found", "--ground-truth", wider / "truth", "--labels", names, "--strict")
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
    words = ("eval", "wider", wider / "found", "--ground-truth", wider / "truth")
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
    words = ("eval", "wider", wider / "found", "--ground-truth", wider / "truth")
    done, strict = run(*words), run(*words, "--strict")
    assert (done.exit_code, done.stderr) == (0, "e/b: no detections; counted as none found\n")
    assert _AP in done.stdout
    assert (strict.exit_code, strict.stderr) == (1, "mtcnn: e/b: no detections; counted as none found\n")


def test_all_problems_are_reported(wider: Path) -> None:
    """In one run, each with its file and line, before the table; --strict ends at the first."""
    write_text(wider / "found/e/a.txt", "a\n2\n0 0 8 8 nan\n0 0 -8 8 1\n")
    write_text(wider / "found/e/b.txt", "b\nx\n")
    write_text(wider / "found/g/c.txt", "c\n0\n")
    done = run("eval", "wider", wider / "found", "--ground-truth", wider / "truth")
    found = str(wider / "found")
    assert [line.replace(found, "found") for line in done.stderr.splitlines()] == [
        "found/e/a.txt:3: NaN or infinity in [0.0, 0.0, 8.0, 8.0, nan]; row left out",
        "found/e/a.txt:4: size -8 x 8 is negative; it counts as a false positive",
        "found/e/b.txt:2: second line is 'x', expected the number of faces; read as empty",
        "g: is not an event of the ground truth; its detections are left out",
        "detections: all scores are 1; the official normalisation divides by zero, AP is 0",
    ]
    assert "| 0.0000 | 0.0000 | 0.0000 |" in done.stdout


def test_a_listed_image_without_labels(wider: Path) -> None:
    names = write_text(wider / "list.txt", "e/a.jpg\ne/q.jpg\n")
    words = ("eval", "wider", wider / "found", "--ground-truth", wider / "truth", "--labels", names)
    done, strict = run(*words), run(*words, "--strict")
    message = "e/q: in the list of images, but not in the ground truth; left out\n"
    assert (done.exit_code, done.stderr) == (0, message)
    assert (strict.exit_code, strict.stderr) == (1, f"mtcnn: {message}")


def test_labels_as_text(wider: Path) -> None:
    labels = write_text(wider / "gt.txt", "e/a.jpg\n3\n0 0 20 20 0 0 0 0 0 0\ne/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n")
    write_detections(wider / "found", {"e/a": [[0, 0, 20, 20, 0.9], [50, 50, 5, 5, 0.1]]})
    words = ("eval", "wider", wider / "found", "--ground-truth", labels)
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
        (("{}/found", "--ground-truth", "{}/truth", "--labels", "{}/none"), 1, "{}/none: cannot be read (No such"),
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
def test_unusable_input(wider: Path, words: tuple[str, ...], status: int, message: str, strict: bool) -> None:
    """Strict or not: one line that names it, nothing on stdout."""
    write_text(wider / "text.zip", "no archive")
    done = run("eval", "wider", *(word.format(wider) for word in words), *["--strict"] * strict)
    assert (done.exit_code, done.stdout) == (status, "")
    assert message.format(wider) in done.stderr
    assert len(done.stderr.splitlines()) == 1 or status == 2


@pytest.mark.data
def test_published_figures(data_folder: Path) -> None:
    """The published archive, with its irregularities, evaluated with the official lists."""
    archive = data_folder / "eval/wider/retinaface_mnet025_val.tar.xz"
    done = run(
        "eval", "wider", f"mnet={archive}", "--ground-truth", data_folder / "wider/ground_truth", "--json", "--strict"
    )
    ap = json.loads(done.stdout)["mnet"]["ap"]
    assert np.allclose([ap["easy"], ap["medium"], ap["hard"]], [0.9070, 0.8816, 0.7382], atol=2e-4)
