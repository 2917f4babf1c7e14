"""`mtcnn detect` over videos: frames, times, ids, annotated videos, and what an interruption leaves of them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import SECOND, face_clip, number_of, numbered, write_clip
from processes import MTCNN, signalled
from run_command import problems, run, visible

from mtcnn.engine.notice import LINE
from mtcnn.pictures.draw import save_image
from mtcnn.stream.video import Video

OPTIONS = ("--min-face", 40, "--scale-factor", 0.5)


def rows_of(text: str) -> list[dict[str, Any]]:
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


# ---- faces in 300 frames, by the packaged weights


@pytest.fixture(scope="module")
def swaying(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Any]) -> Path:
    """A folder with clip.mp4, and what `detect --track` made of it: faces.jsonl and drawn.mp4."""
    folder = tmp_path_factory.mktemp("swaying")
    clip = face_clip(folder / "clip.mp4", photos["astronaut"])
    done = run("detect", clip, "--track", "--json", "--min-face", 30, "--out", folder / "faces.jsonl",
               "--draw", folder / "drawn.mp4")  # fmt: skip
    assert (done.exit_code, done.stdout, problems(done.stderr)) == (0, "", "")
    return folder


def test_frames_and_times(swaying: Path) -> None:
    rows = rows_of((swaying / "faces.jsonl").read_text())
    assert [row["frame"] for row in rows] == list(range(300))
    assert [row["time"] for row in rows] == pytest.approx([number / 30 for number in range(300)], abs=1e-3)
    assert {(row["image"], row["width"], row["height"]) for row in rows} == {(str(swaying / "clip.mp4"), 200, 120)}


def test_ids(swaying: Path) -> None:
    """One face is always visible; the other keeps its id over a gap of six frames, and gets a new one after sixty."""
    for row in rows_of((swaying / "faces.jsonl").read_text()):
        second = {2 if row["frame"] < 200 else 3} if row["frame"] in SECOND else set()
        by_id = {face["id"]: face["box"] for face in row["faces"]}
        assert by_id.keys() == {1} | second
        assert all((box[0] < 100) == (number == 1) for number, box in by_id.items())


def test_the_annotated_video(swaying: Path) -> None:
    with Video(swaying / "drawn.mp4") as drawn:
        assert drawn.fps == pytest.approx(30)
        assert drawn.length == 300
    with Video(swaying / "clip.mp4") as before, Video(swaying / "drawn.mp4") as after:
        changed = [np.abs(a.image.astype(int) - b.image) > 60 for a, b in zip(before, after, strict=True)]
    assert len(changed) == 300
    for number, pixels in enumerate(changed):
        assert pixels[:, :100].any()  # a box around the first face in every frame
        assert pixels[:, 100:].any() == (number in SECOND)


# ---- what is taken of a video, and where it goes


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.avi", numbered(20, 64, 80), 10)


def test_every_nth_frame(random_models: Path, clip: Path, tmp_path: Path) -> None:
    line = ("detect", clip, "--every", 4, "--models", random_models, *OPTIONS)
    done = run(*line, "--json", "--draw", tmp_path / "drawn")
    assert done.exit_code == 0
    assert [(row["frame"], row["time"]) for row in rows_of(done.stdout)] == [(n, n / 10) for n in (0, 4, 8, 12, 16)]
    with Video(tmp_path / "drawn" / "clip.avi") as drawn:
        assert drawn.fps == pytest.approx(2.5)  # so that it lasts as long
        assert [number_of(frame.image) for frame in drawn] == [0, 4, 8, 12, 16]
    assert "clip.avi frame 16 (1.600 s): 0 faces\n" in run(*line).stdout


def test_videos_among_images(random_models: Path, clip: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((50, 60, 3), np.uint8))
    save_image(tmp_path / "d.png", np.zeros((50, 60, 3), np.uint8))
    (tmp_path / "c.mp4").write_text("no video")
    options = ("--models", random_models, *OPTIONS, "--batch", 3)
    done = run("detect", tmp_path, "--json", *options, "--every", 5)
    assert done.exit_code == 1
    found = [(Path(row["image"]).name, row.get("frame")) for row in rows_of(done.stdout)]
    assert found == [("a.png", None), *(("clip.avi", number) for number in (0, 5, 10, 15)), ("d.png", None)]
    (problem,) = problems(done.stderr).splitlines()
    assert problem.startswith(f"mtcnn: skipped {tmp_path / 'c.mp4'}: is not a video that can be read; expected")


def test_a_video_that_ends_early(random_models: Path, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", numbered(60, 64, 80), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run("detect", path, "--json", "--models", random_models, *OPTIONS)
    assert done.exit_code == 1
    assert len(rows_of(done.stdout)) > 15
    (problem,) = problems(done.stderr).splitlines()
    assert problem.startswith(f"mtcnn: {path}: ends after ")


def test_missing_camera(random_models: Path) -> None:
    done = run("detect", "camera:97", "--models", random_models)
    assert done.exit_code == 1
    (problem,) = problems(done.stderr).splitlines()
    assert problem.startswith("mtcnn: skipped camera:97: cannot be opened; expected a camera")


@pytest.mark.parametrize("more", [(), ("--track",)])
@pytest.mark.parametrize("style", ["--json", "--csv"])
def test_resume_within_a_video(
    random_models: Path, clip: Path, tmp_path: Path, style: str, more: tuple[str, ...]
) -> None:
    line = ("detect", clip, style, *more, "--models", random_models, *OPTIONS, "--thresholds", 0, 0, 0)
    out = tmp_path / "out"
    whole = run(*line).stdout.encode()
    assert whole.count(b"\n") >= 20
    out.write_bytes(whole[: len(whole) // 2])
    done = run(*line, "--out", out, "--resume")
    assert (done.exit_code, problems(done.stderr)) == (0, "")
    assert out.read_bytes() == whole


@pytest.mark.parametrize("option", ["--draw", "--blur"])
def test_resume_restarts_videos(random_models: Path, clip: Path, tmp_path: Path, option: str) -> None:
    """A video cannot be continued in the middle. Finished videos are left alone."""
    second = write_clip(tmp_path / "second.avi", numbered(20, 64, 80), 10)
    line = ("detect", clip, second, "--json", "--models", random_models, *OPTIONS, "--out", tmp_path / "out")
    assert run(*line).exit_code == 0
    whole = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_bytes(whole[: 3 * len(whole) // 4])
    assert run(*line, "--resume", option, tmp_path / "made").exit_code == 0
    assert (tmp_path / "out").read_bytes() == whole
    assert visible(tmp_path / "made") == ["second.avi"]
    with Video(tmp_path / "made" / "second.avi") as video:
        assert len(list(video)) == 20


# ---- Ctrl-C


@pytest.mark.parametrize(
    ("place", "number", "option"),
    [
        ("mtcnn.stream.video:VideoFile.write", signal.SIGINT, "--draw"),
        ("mtcnn.cascade:Detector.detect", signal.SIGTERM, "--draw"),
        ("mtcnn.cascade:Detector.detect", signal.SIGTERM, "--blur"),  # whose last frames still wait for the next ones
    ],
)
def test_an_interruption_leaves_whole_files(
    random_models: Path, tmp_path: Path, place: str, number: signal.Signals, option: str
) -> None:
    """The real command, interrupted within a frame's results and between frames, and then resumed."""
    clip = write_clip(tmp_path / "clip.avi", numbered(60, 64, 80), 100)
    out, drawn = tmp_path / "out.jsonl", tmp_path / "drawn.avi"
    line = ("detect", clip, "--json", "--out", out, option, drawn, "--batch", 1, "--models", random_models, *OPTIONS)
    done = signalled(place, 20, number, MTCNN, *line)
    assert done.returncode == 128 + number
    told = [told for told in done.stderr.splitlines() if LINE not in told]
    assert told == ["mtcnn: interrupted; what was written is complete; --resume appends the rest"]
    rows = rows_of(out.read_text())
    assert [row["frame"] for row in rows] == list(range(20 if "write" in place else 19))
    with Video(drawn) as video:
        assert len(list(video)) == len(rows)
