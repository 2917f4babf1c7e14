"""`mtcnn eval fddb` as a user runs it: rates computed by hand, files written, all kinds of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_command import run
from sample_data import write_text

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
    done = run("eval", "fddb", fddb / "result.txt", *words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"| result.txt | {_RATES}" in done.stdout
    assert (fddb / "roc/myDiscROC.txt").read_text() == "0.5 2 0.5\n0.5 1 0.8\n0.5 0 0.9\n0 0 1.79769e+308\n"
    assert (fddb / "roc/myContROC.txt").read_text() == "0.26 2\n0.26 1\n0.26 0\n0 0\n"
    values = json.loads(run("eval", "fddb", fddb / "result.txt", *words, "--json").stdout)
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
    done = run("eval", "fddb", f"mine={fddb / 'result.txt'}", fddb / "none.txt", *words)
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
    words = ("eval", "fddb", file, "--folds", fddb / "folds", "--sizes", fddb / "sizes.csv")
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
def test_missing_inputs_of_fddb(fddb: Path, words: tuple[str, ...], status: int, message: str) -> None:
    done = run("eval", "fddb", *(word.format(fddb) for word in words))
    assert (done.exit_code, done.stdout) == (status, "")
    assert message.format(fddb) in done.stderr


def test_fewer_folds_are_reported(fddb: Path) -> None:
    (fddb / "folds/FDDB-fold-10-ellipseList.txt").unlink()
    words = ("eval", "fddb", fddb / "result.txt", "--folds", fddb / "folds", "--sizes", fddb / "sizes.csv")
    assert "9 folds; the protocol has 10" in run(*words).stderr
    assert run(*words, "--strict").exit_code == 1
