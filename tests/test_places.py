"""Outputs never replace other files; paths are compared by identity, not by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run_command import problems, run, visible

from mtcnn.errors import MtcnnError, SettingsError, WriteError
from mtcnn.files.outputs import PARTS, WHOLE, note_output, written_in
from mtcnn.pictures.draw import save_image
from mtcnn.stream.items import Item
from mtcnn.stream.places import Names, Places
from mtcnn.stream.run import Run
from mtcnn.stream.sinks.video_output import VideoOutput
from mtcnn.stream.sinks.wider_files import WiderFiles
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

OPTIONS = ("--min-face", "40")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with photos/a.png, which shows faces."""
    (tmp_path / "photos").mkdir()
    save_image(tmp_path / "photos" / "a.png", draw_scene(0, 3)[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path | str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


# ---- markers


def test_a_folder_that_was_empty_is_marked_as_a_whole(tmp_path: Path) -> None:
    note_output(tmp_path / "new" / "a.png")
    assert os.listdir(tmp_path / "new") == [WHOLE]
    assert "a.png" in written_in(tmp_path / "new")
    assert "other.png" in written_in(tmp_path / "new")


def test_in_a_folder_with_other_files_each_output_is_marked(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()
    note_output(tmp_path / "a\nb.png")
    assert sorted(os.listdir(tmp_path)) == sorted([PARTS, "mine.png"])
    written = written_in(tmp_path)
    assert "a\nb.png" in written and "mine.png" not in written


def test_a_folder_that_was_not_named_is_never_marked_as_a_whole(tmp_path: Path) -> None:
    note_output(tmp_path / "a.png", own_folder=False)
    assert "a.png" in written_in(tmp_path) and "b.png" not in written_in(tmp_path)


# ---- free names


def test_links_and_hard_links_to_a_source_are_not_free(tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.png"
    source.parent.mkdir()
    source.write_bytes(b"photo")
    out = tmp_path / "out"
    note_output(out / "x")  # so that whatever lies there counts as an output
    (out / "a.png").symlink_to(source)
    os.link(source, out / "a-2.png")
    assert Names(out, [source], lambda _: ".png").path(source).name == "a-3.png"
    assert Names(tmp_path / "out" / ".." / "in", [source], lambda _: ".png").path(source).name == "a-2.png"


def test_names_that_differ_in_case_are_one(tmp_path: Path) -> None:
    sources = [Path("x/a.png"), Path("y/A.png")]
    names = Names(tmp_path, sources, lambda _: ".png")
    assert [names.path(source).name for source in sources] == ["a.png", "A-2.png"]


def test_sinks_of_a_run_share_their_names(tmp_path: Path) -> None:
    sources = [Path("x/a.png"), Path("x/a-face1.png")]
    places = Places(sources)
    drawn, crops = Names(tmp_path, places, lambda _: ".png"), Names(tmp_path / ".", places, lambda _: ".png")
    taken = {drawn.path(sources[1]).name, crops.path(sources[0], part="-face1").name, crops.path(sources[1]).name}
    assert len(taken) == 3


@pytest.mark.parametrize("name", ["...png", "..mp4", "...", "a:b.png", f"{'é' * 130}.png"])
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    source = Path("in") / name
    path = Names(tmp_path / "out", [source], lambda _: ".png").path(source, 3, "-face1")
    assert path.parent == tmp_path / "out"
    assert Path(os.path.normpath(path)).parent == tmp_path / "out"
    assert len(os.fsencode(path.name)) < 240


# ---- commands


def test_the_folder_of_the_photos_as_output(inside: Path) -> None:
    """Photos that were not inputs stay; the second run rewrites its own copies, and makes no copies of copies."""
    save_image("photos/a-2.png", np.full((40, 50, 3), 7, np.uint8))
    before = files("photos")
    for option in ("--blur", "--draw"):
        for _ in range(3):
            done = run("detect", "photos", *OPTIONS, option, "photos")
            assert done.exit_code == 0, done.stderr
    after = files("photos")
    assert {name: after[name] for name in before} == before
    assert visible("photos") == ["a-2-2.png", "a-2.png", "a-3.png", "a.png"]
    assert "skipped 2 outputs of an earlier command" in done.stderr
    assert done.stdout.count(": ") == 2


def test_outputs_are_no_inputs(inside: Path) -> None:
    outputs = ("--draw", "photos/drawn", "--crop", "photos/faces", "--blur", "photos/copies", "--trace", "photos/why")
    told = [run("detect", ".", *OPTIONS, *outputs) for _ in range(3)]
    assert [done.exit_code for done in told] == [0, 0, 0]
    assert told[0].stdout == told[1].stdout == told[2].stdout
    faces = told[0].stdout.count("score")
    assert len(visible("photos/faces")) == faces > 0
    assert visible("photos/drawn") == visible("photos/copies") == ["a.png"]
    other = run("detect", "photos", *OPTIONS)
    assert other.stdout.count("a.png: ") == 1
    assert f"{faces + 2 + len(list(Path('photos/why').glob('*.jpg')))} outputs of an earlier command" in other.stderr
    assert run("detect", "photos/drawn/a.png", *OPTIONS).stdout.startswith("photos/drawn/a.png: ")


def test_a_single_output_is_no_input(inside: Path) -> None:
    for _ in range(2):
        assert run("detect", "photos/a.png", *OPTIONS, "--draw", "photos/drawn.png").exit_code == 0
    assert run("detect", "photos", *OPTIONS).stdout.count(".png: ") == 1


def test_drawn_and_anonymised_pictures_need_two_folders(inside: Path) -> None:
    (inside / "link").symlink_to("both")
    for one, other in (("both", "both"), ("both", "link"), ("x.png", "./x.png")):
        done = run("detect", "photos/a.png", *OPTIONS, "--blur", one, "--draw", other)
        assert done.exit_code == 2
        assert "--blur and --draw are both" in done.stderr
    assert visible(".") == ["link", "photos"]


@pytest.mark.parametrize(
    "words",
    [
        ("photos/a.png", "--min-face", 0),
        ("photos/a.png", "--scale-factor", 1.5),
        ("photos/a.png", "--detector", "none"),
        ("photos/a.png", "--crop", "faces", "--crop-margin", -3),
        ("photos/a.png", "--trace", "why", "--trace-box", 5, 0, 2, 9),
        ("photos/a.png", "--track"),
        ("photos/a.png", "--draw", "drawn.gif"),
        ("photos/a.png", "--models", "nowhere"),
        ("nothere/*.jpg",),
        ("photos/none",),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_nothing_is_touched_before_all_settings_are_checked(inside: Path, words: tuple[object, ...]) -> None:
    Path("r.jsonl").write_text('{"image": "old"}\n')
    before = files(".")
    done = run("detect", *words, "--json", "--out", "r.jsonl")
    assert done.exit_code != 0
    if words != ("photos/none",):  # a file that may be there, and is read
        assert files(".") == before
        assert visible(".") == ["photos", "r.jsonl"]


def test_results_do_not_replace_inputs(inside: Path) -> None:
    Path("names.txt").write_text("photos/a.png\n")
    Path("labels.txt").write_text("a.png\n1\n1 2 30 40 0 0 0 0 0 0\n")
    os.link("names.txt", "same.txt")
    before = files(".")
    for words in (("@names.txt", "--out", "same.txt"), ("photos", "--out", "photos/a.png")):
        done = run("detect", *words)
        assert done.exit_code == 2, done.output
    done = run("detect", "photos", "--trace", "why", "--trace-labels", "labels.txt", "--out", "labels.txt")
    assert done.exit_code == 2 and "--out labels.txt is read by this command" in done.stderr
    assert files(".") == before


# ---- WIDER FACE's files


def test_wider_files_stay_in_their_folder(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sub").mkdir()
    Path("sub/a.txt").write_text("my notes\n")
    monkeypatch.chdir(inside / "sub")
    assert run("detect", "../photos/../photos/a.png", "..", *OPTIONS, "--wider", "found").exit_code == 0
    assert Path("a.txt").read_text() == "my notes\n"
    assert [path.as_posix() for path in sorted(Path("found").rglob("*.txt"))] == ["found/photos/a.txt"]


def test_wider_files_of_names_that_differ_by_case(tmp_path: Path) -> None:
    """Some file systems take them for one."""
    sources = [tmp_path / "x" / "i.jpg", tmp_path / "x" / "I.JPG"]
    files = WiderFiles(tmp_path / "found", sources)
    assert [files.name(source) for source in sources] == ["x/i", "x/I-2"]


def test_wider_files_replace_detections_only(tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.png"
    item = Item(source, np.zeros((9, 9, 3), np.uint8), Faces(np.ones((1, 4), np.float32), np.ones(1, np.float32)))
    for _ in range(2):
        WiderFiles(tmp_path / "found", [source]).write(item)
    (tmp_path / "found" / "in" / "a.txt").write_text("a.png 1 2 3 4\n")
    with pytest.raises(MtcnnError, match=r"a\.txt: exists and holds no detections"):
        WiderFiles(tmp_path / "found", [source]).write(item)


# ---- writes that fail


def limited(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process whose files cannot grow beyond 4 KiB."""
    program = (
        "import resource, signal, sys\n"
        "from mtcnn.__main__ import main\n"
        "import mtcnn.cascade\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"sys.argv = {['mtcnn', *words]!r}\n"
        "main()"
    )
    command = [sys.executable, "-c", program]
    root = str(Path(__file__).resolve().parent.parent)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})


@pytest.mark.parametrize("option", ["--draw", "--blur"])
def test_a_photo_that_is_there_is_not_replaced(inside: Path, option: str) -> None:
    """By a picture to a named file; an earlier picture is, and so is an empty file."""
    save_image("photo.png", np.full((9, 9, 3), 7, np.uint8))
    photo = Path("photo.png").read_bytes()
    words = ("detect", "photos/a.png", *OPTIONS, option)
    done = run(*words, "photo.png")
    assert done.exit_code == 2
    assert "photo.png exists and was not written by this project; expected a new file; delete it" in done.stderr
    assert Path("photo.png").read_bytes() == photo
    Path("new.png").touch()
    for _ in range(2):
        assert run(*words, "new.png").exit_code == 0


def test_two_outputs_in_one_file_are_rejected(inside: Path) -> None:
    done = run("detect", "photos/a.png", *OPTIONS, "--json", "--out", "s.json", "--coco", "./s.json")
    assert done.exit_code == 2 and "are both s.json; expected two places" in done.stderr.replace("./s", "s")
    assert not Path("s.json").exists()


def test_a_full_disk_leaves_the_picture_that_was_there(inside: Path) -> None:
    rng = np.random.default_rng(0)
    save_image("noise.png", rng.integers(0, 256, (90, 90, 3), np.uint8))
    save_image("old.png", np.zeros((9, 9, 3), np.uint8))
    note_output(Path("old.png"))  # else it would be refused
    old = Path("old.png").read_bytes()
    done = limited(inside, "detect", "noise.png", "--blur", "old.png")
    assert done.returncode == 1
    assert "old.png: cannot be written (File too large)" in done.stderr
    assert Path("old.png").read_bytes() == old
    assert [name for name in os.listdir(".") if name.endswith(".draft")] == []


def test_a_video_that_lost_frames_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtcnn.stream.sinks import video_output
    from mtcnn.stream.video import Video

    target = tmp_path / "out.avi"
    target.write_bytes(b"old")
    video = VideoOutput(target, 25, (32, 32))
    for _ in range(5):
        video.write(np.zeros((32, 32, 3), np.uint8))
    monkeypatch.setattr(video_output, "_frames", lambda path, expected: 3)
    with pytest.raises(WriteError, match=r"out\.avi: cannot be written \(3 of 5 frames arrived"):
        video.close()
    assert target.read_bytes() == b"old"
    monkeypatch.undo()
    video = VideoOutput(target, 25, (32, 32))
    for _ in range(5):
        video.write(np.zeros((32, 32, 3), np.uint8))
    video.close()
    with Video(target) as copy:
        assert len(list(copy)) == 5
    assert visible(tmp_path) == os.listdir(tmp_path) == ["out.avi"]


def test_a_picture_too_large_for_its_format_is_that_files_problem(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((2, 20, 3), np.uint8))
    (tmp_path / "b.webp").write_bytes((tmp_path / "a.png").read_bytes())
    save_image(tmp_path / "long.png", np.zeros((1, 17000, 3), np.uint8))
    (tmp_path / "long.webp").write_bytes((tmp_path / "long.png").read_bytes())
    done = run("detect", *(tmp_path / name for name in ("long.webp", "b.webp")), "--draw", tmp_path / "drawn")
    assert done.exit_code == 1
    assert "long.webp: cannot be written" in done.stderr and "17000 x 1 pixels" in done.stderr
    assert visible(tmp_path / "drawn") == ["b.webp"]
    assert len(problems(done.stderr).splitlines()) == 1


def test_settings_of_a_run_that_share_a_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`out` and `draw` are both"):
        Run([Path("a.png")], "json", tmp_path / "x.png", draw=tmp_path / "x.png")


# ---- siblings: other commands that write pictures, and that read folders


def test_pictures_of_other_commands_are_no_photos(inside: Path) -> None:
    pytest.importorskip("matplotlib")
    from mtcnn.metrics.detections import event_photos
    from prepare.readers.negatives import read

    Path("truth.txt").write_text("photos/a.png\n1\n100 60 60 80 0 0 0 0 0 0\n")
    words = ("--ground-truth", "truth.txt", "--photos", ".", "--workers", 1, "--plot", "photos/pr.png")
    assert run("eval", "wider", *words, *OPTIONS).exit_code == 0
    assert run("inspect", "matching", "photos/a.png", "--net", "s3fd", "--draw", "photos/m.png").exit_code == 0
    assert visible("photos") == ["a.png", "m.png", "pr.png"]
    (inside / "photos" / "._a.png").write_bytes(b"litter")
    assert [record.path.name for record in read(inside / "photos")[0]] == ["a.png"]
    assert list(event_photos(inside)) == ["photos/a"]
    assert run("detect", "photos", *OPTIONS).stdout.count(".png: ") == 1


def test_an_unwritable_plot_is_reported_before_the_work(inside: Path) -> None:
    pytest.importorskip("matplotlib")
    Path("truth.txt").write_text("photos/a.png\n1\n100 60 60 80 0 0 0 0 0 0\n")
    done = run("eval", "wider", "--ground-truth", "truth.txt", "--photos", ".", "--plot", "nowhere/pr.png")
    assert done.exit_code == 1 and done.stdout == ""
    assert "nowhere/pr.png: plot cannot be written; expected a file in a folder that is there" in done.stderr


def test_a_pattern_takes_no_outputs_of_earlier_commands(inside: Path) -> None:
    told = [run("detect", "photos/*.png", *OPTIONS, "--draw", "photos") for _ in range(3)]
    assert told[0].stdout == told[1].stdout == told[2].stdout
    assert visible("photos") == ["a-2.png", "a.png"]
    assert "skipped 1 output of an earlier command, photos/a-2.png" in told[2].stderr


def test_no_command_overwrites_its_input(inside: Path) -> None:
    before = files(".")
    for words in (
        ("inspect", "matching", "photos/a.png", "--net", "s3fd", "--draw", "photos/../photos/a.png"),
        ("export", "pnet", "photos/a.png"),
    ):
        done = run(*words)
        assert done.exit_code == 2, done.output
    assert files(".") == before


def test_a_named_output_folder_is_read(inside: Path) -> None:
    """By itself or in a pattern, unless this command writes to it."""
    assert run("detect", "photos", *OPTIONS, "--draw", "photos/drawn", "--crop", "faces").exit_code == 0
    for name in ("photos/drawn", "photos/drawn/*.png", "photos/drawn/"):
        assert run("detect", name, *OPTIONS).stdout.startswith("photos/drawn/a.png: ")
    assert run("detect", "faces", *OPTIONS).stdout.count(".png: ") == len(visible("faces"))
    for name in ("photos/drawn", "photos/drawn/*.png", "photos/*/*.png"):
        again = run("detect", name, *OPTIONS, "--draw", "photos/drawn")
        assert again.stdout == "" and "skipped 1 output of an earlier command" in again.stderr
    assert run("detect", "photos/*/*.png", *OPTIONS).stdout == ""
    assert visible("photos/drawn") == ["a.png"]
