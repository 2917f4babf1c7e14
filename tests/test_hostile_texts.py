"""Malformed labels, tables and recipes: a problem or an error in one line, never another exception."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtcnn.errors import DataError, MtcnnError, RecipeError
from mtcnn.files import text
from mtcnn.files.text import LONGEST, read_text
from mtcnn.importers import read_weights
from mtcnn.metrics import fddb, landmarks, wider
from mtcnn.metrics.fddb_files import LONGEST_SIDE
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider_detections import parse_detections
from mtcnn.metrics.wider_truth import GroundTruth
from mtcnn.stream.resume import read_listing
from mtcnn.types import ImageSize
from prepare.readers import READERS
from stages.crops.recipe import Recipe
from stages.photos.recipe import DetectorRecipe
from stages.recipes import read_recipe
from stages.run_log import RunLog


@pytest.fixture(autouse=True)
def _strict() -> None:
    """NumPy's overflow warnings would reach users as lines of its code."""
    warnings.simplefilter("error", RuntimeWarning)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- files


def test_text_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x", b"a\xff\nb")
    assert read_text(path) == "a\ufffd\nb"
    assert len(read_text(path, largest=4)) == 4
    with pytest.raises(DataError, match="has more than 3 bytes"):
        read_text(path, largest=3)
    assert len(read_text(written(path, b"x" * LONGEST + b"\n" + b"y" * LONGEST))) == 2 * LONGEST + 1
    with pytest.raises(DataError, match=r"x:2: a line of 65537 bytes"):
        read_text(written(path, b"x" * LONGEST + b"\n" + b"y" * (LONGEST + 1)))
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)
    if Path("/dev/zero").exists():
        monkeypatch.setattr(text, "LARGEST", 1000)
        with pytest.raises(DataError, match="has more than 1000"):
            read_text("/dev/zero", largest=1000)


@pytest.mark.parametrize("form", sorted({*READERS} - {"negatives", "unlabelled", "voc"}))
def test_labels_of_one_long_line(tmp_path: Path, form: str) -> None:
    (tmp_path / "images").mkdir()
    name = "FDDB-fold-01-ellipseList.txt" if form == "fddb" else "labels.txt"
    with pytest.raises(DataError):
        READERS[form](written(tmp_path / name, b"1 " * 100_000), tmp_path)


@pytest.mark.parametrize("content", [b"<a>" * 20_000, b"<annotation>" + b"<object>" * 50_000, b"\xff\xfe<", b"\0" * 99])
def test_voc_of_deep_trees(tmp_path: Path, content: bytes) -> None:
    written(tmp_path / "x.xml", content)
    records, problems = READERS["voc"](tmp_path)
    assert records == [] and "file left out" in str(problems[0])


# ---- detections


@pytest.mark.parametrize("row", ["0.8", "1 2", "1 2 3 4", "", "a b c d e", "nan nan nan nan nan", "1 2 3 4 inf"])
def test_a_row_that_is_not_five_numbers(row: str) -> None:
    problems = Problems()
    rows = parse_detections(f"a\n3\n10 10 30 30 0.9\n{row}\n1 2 3 4 0.5 \n", "f", problems)
    assert rows.tolist() == [[10, 10, 30, 30, 0.9], [1, 2, 3, 4, 0.5]]
    assert [problem.where for problem in problems] == ["f:4"]


def test_more_than_five_numbers_are_the_first_five() -> None:
    assert parse_detections("a\n1\n1 2 3 4 0.5 7 8\n", "f", Problems()).tolist() == [[1, 2, 3, 4, 0.5]]


@pytest.mark.parametrize("count", ["9" * 5000, "9" * 10, "-1", "1.0", "²", "x" * 9999])
def test_counts_of_no_faces(count: str) -> None:
    problems = Problems()
    assert parse_detections(f"a\n{count}\n1 2 3 4 5\n", "f", problems).shape == (0, 5)
    assert len(problems) == 1 and len(str(problems[0])) < 150


def test_extreme_scores() -> None:
    rows = parse_detections("a\n3\n1e308 1 1e308 4 1e308\n1 2 3 4 -1e308\n-1e308 2 3 4 -1.1e308", "f", Problems())
    truth = GroundTruth({"e/a": np.array([[1.0, 2, 3, 4]])}, {"hard": {"e/a": np.ones(1, bool)}}, "mat")
    assert np.isfinite(wider.evaluate(truth, {"e/a": rows}, problems=Problems()).ap["hard"])


# ---- FDDB


def curve(folder: Path, fold: str, sizes: str, found: str) -> fddb.FddbResult:
    written(folder / "FDDB-fold-01-ellipseList.txt", fold)
    problems = Problems()
    return fddb.evaluate(
        fddb.load_folds(folder, problems),
        fddb.load_results(written(folder / "found", found), problems),
        fddb.load_sizes(written(folder / "sizes", f"path,width,height\n{sizes}"), problems),
        problems,
    )


FACE, FOUND, SIZE = "a/i\n1\n10 10 0.5 20 20 1\n", "a/i\n1\n10 10 20 20 0.5\n", "a/i,100,100\n"


def test_an_ordinary_face_of_fddb(tmp_path: Path) -> None:
    assert curve(tmp_path, FACE, SIZE, FOUND).discrete.max() == 1


@pytest.mark.parametrize(
    ("fold", "found"),
    [("a/i\n1\n1e300 1e300 0.5 1e300 20 1\n", FOUND), ("a/i\n1\n20 10 1e300 20 20 1\n", FOUND),
     ("a/i\n1\n1e9 1e9 0 -1e300 20 1\n", FOUND), (FACE, "a/i\n1\n1e308 1e308 1e308 1e308 0.5\n"),
     (FACE, "a/i\n1\n1e308 1e300 1e300 -1e308 1e308 1e300\n"), (FACE, "a/i\n2\n-1e308 1 2 3 -1e308\n1 2 3 4 1e308\n")],
)  # fmt: skip
def test_extreme_shapes(tmp_path: Path, fold: str, found: str) -> None:
    result = curve(tmp_path, fold, SIZE, found)
    assert np.isfinite(result.continuous).all()


def test_a_direction_is_that_of_its_angle() -> None:
    """For any number of turns; beyond a million radians an angle has no meaning."""
    size = ImageSize(60, 60)
    drawn = {
        angle: fddb.draw(np.array([20, 8, angle, 30, 30, 1]), size) for angle in (0, 0.5, 0.5 + 200 * np.pi, 1e300)
    }
    first, turned, around, beyond = drawn.values()
    np.testing.assert_array_equal(turned, around)
    np.testing.assert_array_equal(first, beyond)
    assert not np.array_equal(first, turned)


@pytest.mark.parametrize(
    "size", ["1000000000,10", "10,1000000000", f"{LONGEST_SIDE + 1},9", "9" * 5000 + ",1", "0,1", "1"]
)
def test_sizes_that_no_photo_has(tmp_path: Path, size: str) -> None:
    problems = Problems()
    path = written(tmp_path / "s", f"path,width,height\na,{size}\nb,{LONGEST_SIDE},1\n")
    assert fddb.load_sizes(path, problems) == {"b": (1, LONGEST_SIDE)}
    assert len(problems) == 1 and len(str(problems[0])) < 250


def test_more_faces_than_an_image_has_room_for(tmp_path: Path) -> None:
    fold = "a/i\n99\n" + "10 10 0.5 20 20 1\n" * 99
    with pytest.raises(DataError, match=r"a/i: 99 faces and 1 detections in 16384 x 16384 pixels take"):
        curve(tmp_path, fold, f"a/i,{LONGEST_SIDE},{LONGEST_SIDE}\n", FOUND)


# ---- tables


@pytest.mark.parametrize("quote", ['"' + "x,\n" * 80_000 + '",1,1\n', '"' + "x" * 60_000 + "\n" * 3 + "y" * 80_000])
def test_quotes_that_never_close(tmp_path: Path, quote: str) -> None:
    problems = Problems()
    head = ",".join(landmarks.COLUMNS)
    with pytest.raises(DataError):
        landmarks.load_landmarks(written(tmp_path / "l.csv", f"{head}\n{quote}"), problems)
    try:
        assert fddb.load_sizes(written(tmp_path / "s.csv", f"path,width,height\n{quote}"), problems) == {}
    except DataError as error:
        assert "a line of" in str(error)  # noqa: PT017
    with pytest.raises(DataError):
        fddb.load_sizes(written(tmp_path / "s.csv", quote), problems)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e7", "", "x"])
def test_points_that_are_no_pixels(tmp_path: Path, value: str) -> None:
    problems = Problems()
    rows = ["a.jpg,1,2,3,4," + ",".join(["5"] * 10), f"b.jpg,1,2,3,4,{value}," + ",".join(["5"] * 9)]
    rows += ["c.jpg,inf,2,3,4," + ",".join(["5"] * 10), "d.jpg,,,,," + ",".join(["6"] * 10)]
    path = written(tmp_path / "l.csv", "\n".join([",".join(landmarks.COLUMNS), *rows]))
    assert list(landmarks.load_landmarks(path, problems)) == ["a.jpg", "d.jpg"]
    assert len(problems) == 2


def test_a_row_without_its_path(tmp_path: Path) -> None:
    """The path may be the last column, and a row may end before it."""
    columns = [*landmarks.COLUMNS[1:], "path"]
    row = ",".join(["1"] * 14)
    path = written(tmp_path / "l.csv", f"{','.join(columns)}\n{row}\n{row},a.jpg\n")
    problems = Problems()
    assert list(landmarks.load_landmarks(path, problems)) == ["a.jpg"]
    assert len(problems) == 1


# ---- recipes


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a=" + "[" * 5000 + "]" * 5000, "is not TOML"),
        ("[train]\nweight_decay=" + "9" * 400, "bits"),
        ("seed=" + "9" * 5000, "is not TOML"),
        ("seed=0x" + "f" * 9000, "36000 bits"),
        ("seed='" + "x" * 9999 + "'", "seed"),
        ("train=[" + "[" * 200 + "]" * 200 + "]", "train"),
        ("#" + "x" * (1 << 20), "more than 1048576 bytes"),
        ("seed=1979-05-27", "seed is datetime"),
        ("\0", "is not TOML"),
        ("[mine]\nthresholds=[0x" + "f" * 9000 + "]", "bits"),
        ("train=0x" + "f" * 9000, "train is a number of 36000 bits"),
    ],
)
def test_invalid_recipes(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(Recipe, written(tmp_path / "r.toml", f'net="pnet"\n{lines}\n'))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


HUGE = "0x" + "f" * 9000


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"model={HUGE}", "model is a number of 36000 bits"),
        (f"model={{width={HUGE}}}", r"model\.width is a number"),
        (f"model={{width=[1, [{HUGE}]]}}", r"model\.width is a number"),
        (f"model={{{'w' * 9999}={HUGE}}}", r"model\.www"),
        (f"pictures={{shares={HUGE}}}", r"pictures\.shares is a number"),
        (f"pictures={{shares={{a={HUGE}}}}}", r"pictures\.shares\.a is a number"),
        (f"objective={{name={HUGE}}}", r"objective\.name is a number"),
        ("objective={name=[]}", r"objective\.name is \[\]; expected one of atss"),
        ("objective={name={}}", r"objective\.name is \{\}; expected one of atss"),
        ("model=3\nwidth=8", "model is 3; expected a table"),
        ("objective=3\nmatch=4", "objective is 3; expected a table"),
        ("model." + "a." * 5000 + "a=1", "recursion"),
    ],
)
def test_invalid_recipes_of_detectors(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(DetectorRecipe, written(tmp_path / "r.toml", f'net="slim"\n{lines}\n'))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


# ---- what an earlier run has left


ROWS = ('{"image": ' + "[" * 9999 + "]" * 9999 + "}", '{"image": [1]}', "[1]", '"x"', "3", "null",
        '{"image": "a", "frame": "b"}', '{"image": "a", "frame": 1.5}', "{}", "9" * 5000)  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_invalid_listings(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="is no listing"):
        read_listing(written(tmp_path / "x", row + "\n"), "json", (), [])


@pytest.mark.parametrize("quote", ['a,"' + "x" * 200_000 + "\n", "a,b\n" + '"' + "x\n" * 100_000 + "\n"])
def test_invalid_csv_listings(tmp_path: Path, quote: str) -> None:
    with pytest.raises(DataError, match="is no listing"):
        read_listing(written(tmp_path / "x", quote), "csv", ("a", "b"), [])


def test_a_log_with_odd_lines(tmp_path: Path) -> None:
    lines = ['{"epoch": 0}', "[1]", "3", '{"epoch": "x"}', '{"epoch": 1}', "[" * 9999, '{"epoch": 2}']
    written(tmp_path / "metrics-x.jsonl", "\n".join(lines))
    assert RunLog(tmp_path, "x", 9).rows == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]
    odd = (
        f'{{"epoch": {"9" * 400}}}\n{{"epoch": 3, "seconds": null, "val_a": "x", "train_a": {"9" * 400}, "val_b": 0.5}}'
    )
    written(tmp_path / "metrics-x.jsonl", odd)
    assert RunLog(tmp_path, "x", 9).rows == [{"epoch": 3, "val_b": 0.5}]


HARMLESS: dict[str, Callable[[Path], object]] = {
    "truth": lambda path: GroundTruth.load_text(path, Problems()),
    "list": wider.load_image_list,
    "results": lambda path: fddb.load_results(path, Problems()),
    "sizes": lambda path: fddb.load_sizes(path, Problems()),
    "roc": fddb.read_roc,
    "points": lambda path: landmarks.load_landmarks(path, Problems()),
}


CONTENTS = (b"", b"\0" * 99, b"\xff" * 99, b"1\n" * 99, b"a\n" * 99, b"a\n1e999\n1 2 3 4 5\n", b"\n\n", b"a\nnan\n",
            b'path,width,height\n"', b"inf nan 1e400\n1 2 3", b"a\n1\n" + b"1 " * 5000)  # fmt: skip


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("content", CONTENTS)
def test_odd_texts(tmp_path: Path, kind: str, content: bytes) -> None:
    try:
        HARMLESS[kind](written(tmp_path / "x", content))
    except MtcnnError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_names_of_any_length_are_cut_in_messages(tmp_path: Path) -> None:
    """Also names with line breaks, which a weights file may give its parameters."""
    name = "9" * 5000
    with pytest.raises(MtcnnError) as caught:
        fddb.evaluate({name: np.zeros((1, 6))}, {}, {}, Problems())
    assert "image size unknown" in str(caught.value) and len(str(caught.value)) < 400
    torch.save({"pre\n.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "w.pt")
    with pytest.raises(MtcnnError, match=r"pre\\n") as caught:
        read_weights(tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
