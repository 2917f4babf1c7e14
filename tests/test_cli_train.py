"""The commands for data and training as users type them: output, errors and exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from factories import mtcnn, write_cnet_recipe, write_recipes

import cli
from mtcnn import train as make
from mtcnn.cascade import Detector
from mtcnn.checkpoint import load_weights, read, weights_path
from mtcnn.images import read_image
from mtcnn.nets import module_of
from mtcnn.scoring import Scoring
from prepare import synthetic
from stages.crops.start import cnet_of_onet


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands run in, without a data folder to fall back on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTCNN_DATA", raising=False)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], prog_name="mtcnn")


def refused(result: Result, message: str, status: int = 1) -> None:
    """One line on stderr, nothing on stdout."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert message in result.stderr
    if status == 1:
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("mtcnn: ")


# ---- prepare


def test_prepare_with_a_preview(tmp_path: Path) -> None:
    write_recipes(tmp_path / "work")
    call = ("prepare", "--net", 12, "--data", "synthetic:8", "--workers", 1, "--preview", "sheet.png")
    done = mtcnn(*call, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    counts, sheet = done.stdout.splitlines()
    found = re.fullmatch(r"crops-12: ([\d,]+) crops \((\d+) neg, (\d+) part, (\d+) pos\), \d+ MB", counts)
    assert found is not None, counts
    whole, *kinds = (int(text.replace(",", "")) for text in found.groups())
    assert whole == sum(kinds)
    assert sheet == "contact sheet: sheet.png"
    assert "crops-12: making work/crops-12.lmdb" in done.stderr
    assert "8/8" not in done.stderr, "a progress bar, though not on a terminal"
    assert re.search(r"^crops-12: made in \d:\d\d:\d\d$", done.stderr, re.M)
    picture = read_image(tmp_path / "sheet.png")
    shown = [-(-min(64, count) // 16) for count in kinds]  # rows of 16 crops of 72 pixels under titles of 26
    assert picture.shape == (sum(26 + 72 * rows for rows in shown), 16 * 72, 3)
    boxes = (picture == (0, 255, 0)).all(axis=2)
    first = 26 + 72 * shown[0]
    assert not boxes[:first].any(), "no true box in background"
    assert boxes[first:].any()

    again = mtcnn("prepare", "--net", 12, folder=tmp_path)  # the work folder remembers its data
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{counts} (was fresh)\n"
    assert again.stderr == ""


def test_prepare_skips_a_bad_image_with_a_message(here: Path) -> None:
    synthetic.write_folder(here / "data", 6, 0)
    bad = next((here / "data").rglob("*000003.jpg"))
    bad.write_bytes(bad.read_bytes()[:300])
    write_recipes(here / "work")
    result = run("prepare", "--net", 12, "--data", here / "data", "--workers", 1, "--quiet")
    assert result.exit_code == 0, result.output
    told = [line.removeprefix("skipped ") for line in result.stderr.splitlines() if line.startswith("skipped ")]
    assert set(told) == set((here / "work" / "skipped-crops-12.txt").read_text().splitlines())
    assert all(line.startswith(f"{bad}: ") and line.count(str(bad)) == 1 for line in told)
    assert told


# ---- status


def test_status_of_an_empty_folder(here: Path) -> None:
    result = run("status", "--data", "synthetic:3")
    assert result.exit_code == 0, result.output
    rows = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    nodes = ["crops-12", "pnet-draft", "crops-12-hard", "pnet", "crops-24", "rnet", "crops-48", "onet"]
    assert [row[:2] for row in rows] == [[name, "missing"] for name in nodes]
    assert rows[0][2] == "nothing at work/crops-12.lmdb"
    assert json.loads((here / "work" / "sources.json").read_text()) == ["synthetic:3"]
    for size, net in ((12, "pnet"), (24, "rnet"), (48, "onet")):
        assert (here / "work" / f"models-{size}" / f"recipe-{net}.toml").read_text().startswith(f'net = "{net}"')


def test_sources_are_remembered_as_absolute_paths(here: Path) -> None:
    synthetic.write_folder(here / "pictures", 3, 0)
    assert run("status", "--data", "pictures").exit_code == 0
    (remembered,) = json.loads((here / "work" / "sources.json").read_text())
    assert Path(remembered) == (here / "pictures").resolve()
    labels = here / "pictures" / "wider" / "wider_face_train_bbx_gt.txt"
    images = here / "pictures" / "wider" / "train" / "images"
    relative = [path.relative_to(here) for path in (labels, images)]
    (here / "work" / "sources.json").unlink()  # status notes them once
    assert run("status", "--data", f"wider:{relative[0]}:{relative[1]}", "--data", "synthetic:2").exit_code == 0
    assert json.loads((here / "work" / "sources.json").read_text()) == [f"wider:{labels}:{images}", "synthetic:2"]


def test_data_folder_of_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.write_folder(here / "pictures", 3, 0)
    monkeypatch.setenv("MTCNN_DATA", str(here / "pictures"))
    assert run("status").exit_code == 0
    assert not (here / "work" / "sources.json").exists(), "the environment is not noted as a choice"


def test_label_problems_are_reported_once(here: Path) -> None:
    synthetic.write_folder(here / "pictures", 3, 0)
    labels = here / "pictures" / "wider" / "wider_face_train_bbx_gt.txt"
    labels.write_text(labels.read_text() + "0--Drawn/gone.jpg\n1\n1 2 30 40 0 0 0 0 0 0\n")
    result = run("status", "--data", "pictures")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("gone.jpg") == 1


# ---- what is refused


@pytest.mark.parametrize("command", [("prepare", "--net", 12), ("train", "--net", 24), ("run",), ("status",)])
def test_without_data(here: Path, command: tuple[object, ...]) -> None:
    refused(run(*command), "work has no stored sources; name them once with --data FOLDER or --data FORMAT:PATH")


def test_without_data_in_a_new_process(tmp_path: Path) -> None:
    done = mtcnn("run", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    debug = mtcnn("--debug", "run", folder=tmp_path)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "DataError: work has no stored sources" in debug.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("synthetic:0", "synthetic:0"),
        ("synthetic:many", "expected synthetic:N"),
        ("nowhere", "nowhere"),
        ("kitti:labels.txt", "unknown format 'kitti'; expected one of"),
    ],
)
def test_bad_sources(here: Path, source: str, message: str) -> None:
    refused(run("run", "--data", source), message)
    assert not (here / "work" / "sources.json").exists(), "what cannot be read is not remembered"


def test_broken_recipe(here: Path) -> None:
    write_recipes(here / "work", {24: ("epochs = 2", 'epochs = "two"')})
    refused(
        run("train", "--net", 24, "--data", "synthetic:2"),
        "work/models-24/recipe-rnet.toml: train.epochs is 'two'; expected a whole number",
    )


def test_too_few_thresholds_are_found_before_hours_of_training(here: Path) -> None:
    write_recipes(here / "work", {48: ("[0.2, 0.05]", "[0.2]")})
    message = "recipe-onet.toml: mine.thresholds is [0.2]; expected one for each of"
    refused(run("run", "--data", "synthetic:2", "--quiet"), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare",), "Missing option '--net'"),
        (("prepare", "--net", 36), "'36' is not one of 'pnet', 'rnet', 'onet'"),
        (("train", "--net", 12, "--workers", 0), "0 is not in the range x>=1"),
        (("train", "--net", 12, "--processes", "two"), "'two' is not a valid integer"),
        (("train", "--net", 48, "--hard-from", "onet"), "'onet' is not one of 'pnet', 'rnet'"),
        (("run", "--net", 12), "'pnet' is not one of 'retinaface', 'retinaface-r50', 'ssh', 's3fd'"),
        (("status", "--preview", "x.png"), "No such option"),
    ],
)
def test_usage_errors(here: Path, arguments: tuple[object, ...], message: str) -> None:
    refused(run(*arguments), message, status=2)
    assert not (here / "work").exists()


@pytest.mark.parametrize("command", ["prepare", "train", "run", "status"])
def test_help_shows_the_usage(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    for option in ("--work", "--data", "--hard-from"):
        assert option in result.stdout
    assert ("--workers" in result.stdout) == (command != "status"), "status has nothing to do"
    assert f"mtcnn {command} --" in result.stdout


# ---- train


def test_train_makes_only_what_it_needs(tmp_path: Path) -> None:
    work = write_recipes(tmp_path / "work")
    done = mtcnn("train", "--net", 12, "--data", "synthetic:8", "--workers", 1, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{Path('work', 'models-12', 'weights-pnet.safetensors')}\n"
    assert "pnet 2/2  train total 0." in done.stderr
    assert "val recall " in done.stderr
    rows = [json.loads(line) for line in (work / "models-12" / "metrics-pnet.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {path.name for path in work.glob("*.lmdb")} == {"crops-12.lmdb", "crops-12-hard.lmdb"}


class StopError(Exception):
    pass


def test_cnet_from_an_empty_folder(here: Path) -> None:
    """Crops first, then a training that is interrupted after its first epoch; the rest of the chain is made once."""
    work = write_cnet_recipe(write_recipes(here / "work"))
    crops = run("prepare", "--net", 64, "--data", "synthetic:8", "--workers", 1, "--quiet")
    assert crops.exit_code == 0, crops.output
    assert re.search(r"^crops-64: .* neg, \d+ part, \d+ pos, \d+ landmark", crops.stdout, re.M)
    card = (work / "models-48" / "MODEL_CARD.md").read_bytes()

    def stop(epoch: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        make("cnet", work=work, on_epoch=stop)
    assert not weights_path(work, "cnet").exists()
    result = make("cnet", work=work)
    assert result.made == ("cnet",) and len(result.epochs["cnet"]) == 2
    found, onet = read(result.weights["cnet"]), load_weights(weights_path(work, "onet"), "onet")
    assert found.scoring == Scoring(before=1.33, temperature=2.67, context=1.7333) and found.has_landmarks
    for name, value in cnet_of_onet(module_of(onet).state_dict()).items():  # of a learning rate that changes little
        assert abs(found.state[name] - value.numpy()).max() < 1e-3, name
    assert (work / "models-48" / "MODEL_CARD.md").read_bytes() == card, "that of ONet"
    assert (work / "models-48" / "MODEL_CARD-cnet.md").read_text().startswith("# cnet")
    stages = result.detector().refiners, Detector(work).refiners
    assert [getattr(last, "second").net for *_, last in stages] == ["cnet", "cnet"]  # noqa: B009
    assert run("run").stdout == "all fresh\n"
    assert run("report", work).exit_code == 0
    page = (work / "report.html").read_text()
    assert "crops-64" in page and "mtcnn train --net cnet" in page


def test_sources_that_cannot_be_read_leave_no_folder(here: Path) -> None:
    for words in (("status",), ("train", "--net", "12", "--quiet")):
        assert run(*words, "--work", "typo", "--data", "nothere").exit_code == 1
        assert not (here / "typo").exists()
