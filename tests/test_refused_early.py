"""Wrong values of commands: one line that names the value and the fix, before the work, and nothing has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from factories import write_recipes
from run_command import run, visible

from mtcnn.errors import WriteError
from mtcnn.files.outputs import check_place
from prepare import synthetic

pytestmark = pytest.mark.usefixtures("here")  # `refused` looks at all files of the current folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that commands run in, with drawn photos in `drawn`, an empty folder, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTCNN_DATA", raising=False)
    synthetic.write_folder(tmp_path / "drawn", 2, 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n")
    return tmp_path


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(*words: object) -> str:
    """The line of a command that fails; nothing on stdout, and no file has changed."""
    before = everything(Path.cwd())
    done = run(*words)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("Usage: ", "Try ")) and line]
    assert done.exit_code in (1, 2), done.output
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("mtcnn: " if done.exit_code == 1 else "Error: ")
    assert everything(Path.cwd()) == before
    return str(lines[0]).removeprefix("mtcnn: ").removeprefix("Error: ")


GT = "drawn/wider/wider_face_train_bbx_gt.txt"
PHOTOS = "drawn/wider/train/images"
POINTS = "drawn/landmarks/faces_train.csv"


@pytest.mark.parametrize("size", [(10**30, 10), (10, 10**9)])
def test_flops_of_sizes_that_cannot_be_counted(size: tuple[int, int]) -> None:
    line = refused("flops", "retinaface", "--size", *size)
    assert line == f"--size is {size[0]} {size[1]}; expected sides of at most 65536"


def test_flops_names_nets_on_one_line() -> None:
    assert refused("flops").startswith("Missing argument 'NET'. Expected one of pnet, rnet, onet, cnet, retinaface")
    assert run("flops", "12").stdout == run("flops", "pnet").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wider", "x=", "--ground-truth", GT), "x=: the path is empty; expected NAME=PATH, or PATH"),
        (("wider", "=empty", "--ground-truth", GT), "=empty: the name is empty; expected NAME=PATH, or PATH"),
        (("wider", "found", "--ground-truth", GT), "found: no detections of images in the ground truth; expected some"),
        (
            ("wider", "--photos", PHOTOS, "--ground-truth", GT, "--write", "text"),
            "text cannot be written (",
        ),
        (("landmarks", POINTS, "--photos", "empty"), f"empty: no photo of {POINTS} in it; expected ../wider/"),
    ],
)
def test_evaluations_that_would_measure_nothing(here: Path, words: tuple[str, ...], message: str) -> None:
    (here / "found" / "0--Other").mkdir(parents=True)
    (here / "found" / "0--Other" / "a.txt").write_text("a\n1\n1 2 3 4 0.5\n")
    assert message in refused("eval", *words)


def test_fddb_results_of_other_images(here: Path) -> None:
    for fold in range(1, 11):
        path = here / "folds" / f"FDDB-fold-{fold:02d}-ellipseList.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"2002/a{fold}\n1\n20 15 0 30 30  1\n")
    (here / "sizes.csv").write_text("path,width,height\n" + "".join(f"2002/a{fold},99,99\n" for fold in range(1, 11)))
    (here / "results.txt").write_text("2002/a3\n1\n10 10 30 40 .9\n")
    words = ("eval", "fddb", "--folds", "folds", "--sizes", "sizes.csv")
    line = refused(*words, "text")
    assert line == "text: no detections of images in the folds; expected some of its images, such as 2002/a1"
    assert refused(*words, "results.txt", "--write", "text/x").startswith(f"{Path('text/xDiscROC.txt')} cannot be")
    assert run(*words, "results.txt").exit_code == 0


def test_sizes_of_a_comparison(here: Path) -> None:
    for sizes in ("640,,", "0"):
        line = refused("compare", "mtcnn", "--photos", PHOTOS, "--ground-truth", GT, "--sizes", sizes)
        assert line.startswith(f"--sizes is '{'0' if sizes == '0' else ''}'; expected original, vga,")


def test_hashes_of_no_photos(here: Path) -> None:
    line = refused("data", "hash", "empty")
    assert line == "empty: no photos in it; expected image files, or folders of them; check the path"


@pytest.mark.parametrize(("option", "kind"), [("--start", "weights of the net"), ("--teacher", "weights of a teacher")])
@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_weights_that_are_not_there(here: Path, option: str, kind: str, name: str) -> None:
    line = refused("train", "--net", "slim", "--data", "synthetic:2", "--quiet", option, name)
    what = "a folder" if name == "empty" else "no file"
    assert line.startswith(f"{option} is {name}, which is {what}; expected {kind}")
    assert line.endswith("or packaged")


def test_the_start_of_a_net_of_the_cascade(here: Path) -> None:
    line = refused("train", "--net", "rnet", "--data", "synthetic:2", "--quiet", "--start", "nowhere")
    assert line.startswith("--start is nowhere, which is no file; expected weights of the net")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", 30, 64), "--size is 30; expected a multiple of 32"),
        (("--val", "nan"), "--val is nan; expected a number above 0"),
        (("--template", "trunk-99"), "--template is 'trunk-99'; expected a recipe file"),
        (("--recipe", "nowhere"), "no recipe at nowhere; expected a TOML file; check the path"),
    ],
)
def test_a_refused_search_keeps_the_sources_of_its_folder(here: Path, words: tuple[object, ...], message: str) -> None:
    (here / "found").mkdir()
    (here / "found" / "sources.json").write_text('["synthetic:5"]')
    line = refused("search", "--to", "found", "--data", "synthetic:2", "--quiet", *words)
    assert line.startswith(message)
    assert visible("found") == ["sources.json"]


def test_a_report_whose_file_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before minutes of detecting."""
    write_recipes(here / "work")
    (here / "work" / "sources.json").write_text('["synthetic:2"]')
    monkeypatch.setattr("stages.report.write._accuracy", lambda *_: pytest.fail("it detects"))
    for out in ("no/report.html", "empty", "text/report.html"):
        line = refused("report", "work", "--out", out)
        assert line.startswith(f"{Path(out)}: cannot be written; expected a file in a folder that is there")


def test_a_report_of_a_folder_with_damaged_sources(here: Path) -> None:
    write_recipes(here / "work")
    (here / "work" / "sources.json").write_text("{")
    done = run("report", "work", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert "sources.json is no list of sources" in (here / "work" / "report.html").read_text()


def test_an_export_that_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before the net is exported and compared."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("mtcnn.onnx_export.export_onnx", lambda *_: pytest.fail("it exports"))
    (here / "folder.onnx").mkdir()
    for out in ("folder.onnx", "text/pnet.onnx"):
        assert refused("export", "pnet", out).startswith(f"{Path(out)} cannot be written (")


def test_places_for_files(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "deeper" / "x.txt")
    check_place(Path("x.txt"))
    (tmp_path / "file").write_text("")
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "x", "file is no folder")):
        with pytest.raises(WriteError, match=f"cannot be written .*{why}.*; check the path"):
            check_place(path)
    if os.name == "posix" and os.geteuid() != 0 and shutil.which("sh"):
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(WriteError, match="closed may not be written to"):
            check_place(tmp_path / "closed" / "x")


PHOTO = "drawn/wider/train/images/scene-0000.jpg"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((PHOTO, "--draw", "new.mp4"), f"--draw new.mp4 is no name for a picture, as {PHOTO} is; expected one that"),
        (("clip.mp4", "--draw", "new.jpg"), "--draw new.jpg is no name for a video, as clip.mp4 is; expected one that"),
        ((PHOTO, "clip.mp4", "--draw", "new.mp4"), "--draw new.mp4 is one file, for 2 sources; expected a folder"),
        (("clip.mp4", "--draw", "clip.mp4"), "--draw clip.mp4 is the source itself; expected a folder, or a new file"),
        ((PHOTO, "--blur", PHOTO), f"--blur {PHOTO} is the source itself; expected a folder, or a new file"),
        ((PHOTO, "--draw", "-"), "Invalid value for '--draw': - would be a file of that name; expected the name of"),
        ((PHOTO, "--coco", "-"), "Invalid value for '--coco': - would be a file of that name; expected the name of"),
        (("ftp://x/y.mp4",), "Invalid value for 'IMAGES...': ftp://x/y.mp4: expected a file, or an address of http,"),
        (
            ("file://x/y.jpg",),
            "Invalid value for 'IMAGES...': file://x/y.jpg: is on x; expected a file of this machine",
        ),
    ],
)
def test_places_of_pictures(here: Path, words: tuple[str, ...], message: str) -> None:
    (here / "clip.mp4").write_bytes(b"")
    shutil.copy(next((here / PHOTOS).rglob("*.jpg")), here / PHOTO)
    assert refused("detect", *words).startswith(message)


def test_results_on_stdout(here: Path) -> None:
    photo = next((here / PHOTOS).rglob("*.jpg"))
    done = run("detect", photo, "--json", "--quiet", "--out", "-")
    assert done.exit_code == 0 and done.stdout == run("detect", photo, "--json", "--quiet").stdout
    assert not Path("-").exists()
    assert "--resume reads what is done from the results" in run("detect", photo, "--out", "-", "--resume").stderr
