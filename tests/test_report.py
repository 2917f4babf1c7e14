"""A run over files: what is printed and drawn, in which order, and what an interruption leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from clips import numbered, write_clip
from numba import njit
from run_command import problems, visible

from mtcnn.engine import notice
from mtcnn.engine.notice import LINE, compiling_announced
from mtcnn.errors import MtcnnError
from mtcnn.images import read_image
from mtcnn.pictures.draw import draw_faces, save_image
from mtcnn.stream import run as report
from mtcnn.stream.interrupts import Interrupted
from mtcnn.stream.items import Item
from mtcnn.stream.places import Places
from mtcnn.stream.run import Run
from mtcnn.stream.sinks.from_options import extra_sinks
from mtcnn.stream.video import Video
from mtcnn.types import Faces

WIDTHS = {"none.png": 30, "one.png": 31, "two.png": 32}  # of the pictures, by which the detector below knows them


class KnownFaces:
    """A detector whose number of faces depends on the width of the image."""

    made_with: dict[str, Any] = {}  # noqa: RUF012 - of the last one made
    batches: list[int] = []  # noqa: RUF012 - how many pictures were given at a time

    def __init__(self, **settings: Any) -> None:
        KnownFaces.made_with, KnownFaces.batches = settings, []

    def detect(self, images: Sequence[Any]) -> list[Faces]:
        KnownFaces.batches.append(len(images))
        return [self.faces(image.shape[1] - 30) for image in images]

    @staticmethod
    def faces(count: int) -> Faces:
        boxes = np.array([[1, 2, 21.126, 22], [5, 6, 15, 16.5]], np.float32)[:count]
        return Faces(boxes, np.array([0.98765, 0.5], np.float32)[:count])


@pytest.fixture(autouse=True)
def _known_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "Detector", KnownFaces)


@pytest.fixture(autouse=True)
def _no_bar(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Standard error is no terminal here, so nothing but problems is printed to it."""
    yield
    assert "img/s" not in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/none.png, one.png, two.png, each of 40 rows."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in WIDTHS.items():
        save_image(photos / name, np.full((40, width, 3), 90, np.uint8))
    return photos


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def names(out: Path) -> list[str]:
    """Names of the images in a file of JSON lines, all of which must be complete."""
    text = out.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [Path(json.loads(line)["image"]).name for line in text.splitlines()]


class Noted:
    """A sink that records its items, and may call a function."""

    def __init__(self, then: Any = None) -> None:
        self.then, self.names, self.closed = then, list[str](), 0

    def write(self, item: Item) -> None:
        self.names.append(item.source.name)
        if self.then:
            self.then(item)

    def close(self) -> None:
        self.closed += 1

    def __call__(self, places: Places, detector: Any) -> Noted:
        """Makes itself."""
        self.sources, self.detector = list(places.sources), detector
        return self


# ---- results


def test_to_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run([folder])()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [
        f"{folder / 'none.png'}: 0 faces",
        f"{folder / 'one.png'}: 1 face",
        f"{folder / 'two.png'}: 2 faces",
    ]
    assert len(lines) == 6


def test_undecodable_names_are_printed_as_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsencode(folder) + b"/\xff.png"
    try:
        os.rename(folder / "one.png", name)
    except OSError:
        pytest.skip("this file system takes no such name")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert Run([folder])()
    assert name + b": 1 face\n" in raw.getvalue()


def test_to_a_file(folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run([folder], "json", out)()
    assert names(out) == list(WIDTHS)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_batch_size_does_not_matter(tmp_path: Path, out: Path, batch: int) -> None:
    images = [tmp_path / f"{number}.png" for number in range(5)]
    for number, image in enumerate(images):
        save_image(image, np.zeros((40, 30 + number % 3, 3), np.uint8))
    images.insert(3, tmp_path / "missing.png")
    assert not Run(images, "json", out, batch=batch)()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(row["faces"]) for row in rows] == [0, 1, 2, 0, 1]
    assert [row["width"] for row in rows] == [30, 31, 32, 30, 31]
    assert max(KnownFaces.batches) == min(batch, 5)


def test_large_images_make_small_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory is bounded for any images."""
    monkeypatch.setattr("mtcnn.stream.decoding.PIXELS", 40 * 31)
    Run([folder])()
    assert KnownFaces.batches == [2, 1]  # the first two have 40 x 61 pixels together


def test_results_come_as_they_are_found(folder: Path) -> None:
    """When the first of many images is printed, most of the others have not been read yet."""
    for number in range(40):
        save_image(folder / f"z{number:02}.png", np.zeros((40, 30, 3), np.uint8))

    def remove_the_last(_: Item) -> None:
        (folder / "z39.png").unlink(missing_ok=True)

    noted = Noted(remove_the_last)
    assert not Run([folder], batch=2, sinks=[noted])()
    assert len(noted.names) == 42


def test_compiling_is_announced(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def detect(self: KnownFaces, images: Sequence[Any]) -> list[Faces]:
        notice.listen()
        return [self.faces(njit(lambda number: number + 1)(0)) for _ in images]

    monkeypatch.setattr(notice, "PATIENCE", -1.0)  # one small function is soon compiled
    monkeypatch.setattr(report, "compiling_announced", compiling_announced)
    monkeypatch.setattr(KnownFaces, "detect", detect)
    assert Run([folder], "json", out)()
    assert problems(capsys.readouterr().err) == f"mtcnn: {LINE}\n"


def test_settings_reach_the_detector(folder: Path) -> None:
    Run([folder], settings={"min_face": 33, "device": "cpu"})()
    assert KnownFaces.made_with == {"min_face": 33, "device": "cpu"}


def test_more_sinks(folder: Path, out: Path) -> None:
    """They get all sources and the detector, and come before the listing, whose entries imply complete outputs."""
    listed: list[int] = []
    noted = Noted(lambda _: listed.append(len(names(out))))
    assert Run([folder], "json", out, sinks=[noted])()
    assert [path.name for path in noted.sources] == noted.names == list(WIDTHS)
    assert isinstance(noted.detector, KnownFaces)
    assert noted.closed == 1
    assert listed == [0, 1, 2]


def test_progress_on_a_terminal(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate; frames of a video are counted. Messages about bad files stay readable."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    write_clip(folder / "clip.avi", numbered(10))
    (folder / "text.png").write_text("no picture")
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    Run([folder], "json", out, every=2)()
    assert "| 9/9 [" in shown.getvalue()  # 4 images and every other of 10 frames
    assert "img/s]" in shown.getvalue()
    assert "mtcnn: skipped" in shown.getvalue()
    monkeypatch.setattr(sys, "stderr", quiet := Terminal())
    Run([folder / "one.png"], "json", out)()
    assert problems(quiet.getvalue()) == ""  # nothing to wait for


# ---- what goes wrong


def test_bad_files_are_reported(folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "none.png").write_text("no picture")
    (folder / "one.png").write_bytes((folder / "one.png").read_bytes()[:60])
    assert not Run([folder / "missing.jpg", folder], "json", out)()
    assert names(out) == ["two.png"]
    told = problems(capsys.readouterr().err).splitlines()
    assert len(told) == 3
    for name, problem in zip(("missing.jpg", "none.png", "one.png"), told, strict=True):
        assert problem.startswith("mtcnn: skipped ")
        assert name in problem


def test_names_without_images_are_reported(folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert not Run([folder / "empty", folder / "one.png"], "json", out)()
    assert names(out) == ["one.png"]
    (problem,) = problems(capsys.readouterr().err).splitlines()
    assert problem.startswith(f"mtcnn: no image in {folder / 'empty'};")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draw": Path("out.png")}, "`draw`"),
        ({"out": Path("photos/one.png")}, "is one of the images"),
        ({"track": True}, "expected a video"),
        ({"every": 2}, "`every` takes each n-th frame; expected a video"),
        ({"sinks": extra_sinks(blur=Path("copies"), blur_gap=3)}, "`blur_gap` counts frames; expected a video"),
        ({"resume": True}, "expected `out` FILE or `wider` DIR"),
        ({"resume": True, "out": Path("out"), "named": [Path("camera:0")]}, "leave it out"),
        ({"wider": Path("found"), "style": "json"}, "expected no JSON, no CSV and no `out`"),
        ({"wider": Path("found"), "out": Path("out")}, "expected no JSON, no CSV and no `out`"),
        ({"wider": Path("photos/one.png")}, "expected a folder"),
        ({"batch": 0}, "batch is 0"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_invalid_settings_are_reported_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    with pytest.raises(ValueError, match=message):
        Run(**{"named": [folder], **settings})()
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


def test_a_sink_that_fails_ends_the_run(folder: Path, out: Path) -> None:
    def fail(item: Item) -> None:
        if item.source.name == "one.png":
            raise MtcnnError("no room")

    noted = Noted(fail)
    with pytest.raises(MtcnnError, match="no room"):
        Run([folder], "json", out, sinks=[noted])()
    assert names(out) == ["none.png"]
    assert noted.closed == 1


# ---- interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_whole_lines(folder: Path, out: Path, number: signal.Signals) -> None:
    """The item in progress is finished first; a resumed run does the rest."""
    before = signal.getsignal(number)

    def stop(item: Item) -> None:
        if item.source.name == "one.png":
            signal.raise_signal(number)

    noted = Noted(stop)
    with pytest.raises(Interrupted) as caught:
        Run([folder], "json", out, sinks=[noted])()
    assert caught.value.number == number
    assert names(out) == ["none.png", "one.png"]
    assert noted.closed == 1
    assert signal.getsignal(number) == before
    assert Run([folder], "json", out, resume=True)()
    assert names(out) == list(WIDTHS)


def test_an_interruption_in_the_detector_comes_at_once(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(self: KnownFaces, images: Sequence[Any]) -> list[Faces]:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(KnownFaces, "detect", detect)
    with pytest.raises(Interrupted):
        Run([folder], "json", out)()
    assert names(out) == []


class Camera:
    """A capture of pictures of one face, of which the second comes a second late, and that is unplugged after ten."""

    left = 10

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return 5.0 if key == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.zeros((64, 31, 3), np.uint8)

    def release(self) -> None: ...


@pytest.fixture
def _camera(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([7.0, 8.0, *np.arange(8.2, 99, 0.2)])
    files = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera() if source == 3 else files(source))
    # The module's own, for other threads ask the time as well.
    monkeypatch.setattr("mtcnn.stream.video.time", SimpleNamespace(monotonic=lambda: next(clock)))


@pytest.mark.usefixtures("_camera")
def test_a_camera_runs_until_it_is_stopped(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This is no error. The drawn video keeps the timing of the camera."""

    def stop(item: Item) -> None:
        if item.frame == 4:
            signal.raise_signal(signal.SIGINT)

    assert Run([Path("camera:3")], "json", out, draw=tmp_path / "drawn.avi", track=True, sinks=[Noted(stop)])()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["image"], row["frame"]) for row in rows] == [("camera:3", number) for number in range(5)]
    assert [row["time"] for row in rows] == [0, 1, 1.2, 1.4, 1.6]
    assert [row["faces"][0]["id"] for row in rows] == [1] * 5
    assert set(KnownFaces.batches) == {1}  # each picture as soon as it comes
    with Video(tmp_path / "drawn.avi") as drawn:
        assert drawn.fps == 5
        assert len(list(drawn)) == 9  # of 1.8 seconds
    assert problems(capsys.readouterr().err) == ""


@pytest.mark.usefixtures("_camera")
def test_an_unplugged_camera_is_reported(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not Run([Path("camera:3")], "json", out)()
    assert len(out.read_text().splitlines()) == 10
    (problem,) = problems(capsys.readouterr().err).splitlines()
    assert problem.startswith("mtcnn: camera:3: gives no more pictures; expected")


# ---- resuming


def test_resume_completes_the_rest(folder: Path, out: Path) -> None:
    full = out.with_suffix(".full")
    Run([folder], "json", full)()
    whole = full.read_bytes()
    for cut in (0, 10, len(whole.splitlines(keepends=True)[0]), len(whole) - 1, len(whole)):
        out.write_bytes(whole[:cut])
        noted = Noted()
        assert Run([folder], "json", out, resume=True, sinks=[noted])()
        assert out.read_bytes() == whole
        assert noted.names == list(WIDTHS)[whole[:cut].count(b"\n") :]
        assert [path.name for path in noted.sources] == list(WIDTHS)  # so that names of files stay the same


def test_resume_without_anything_to_resume(folder: Path, out: Path) -> None:
    assert Run([folder], "json", out, resume=True)()
    assert names(out) == list(WIDTHS)


def test_resume_finds_files_that_were_added(folder: Path, out: Path) -> None:
    Run([folder], "json", out)()
    save_image(folder / "between.png", np.zeros((40, 31, 3), np.uint8))
    assert Run([folder], "json", out, resume=True)()
    assert names(out) == [*WIDTHS, "between.png"]


def test_bad_files_are_reported_again_when_resumed(folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "none.png").write_text("no picture")
    for resume in (False, True):
        assert not Run([folder], "json", out, resume=resume)()
        assert len(problems(capsys.readouterr().err).splitlines()) == 1
    assert names(out) == ["one.png", "two.png"]


def test_wider_files_and_resume(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found"
    assert Run([folder], wider=found)()
    texts = {path.name: path.read_text() for path in (found / "photos").iterdir()}
    assert texts["two.txt"].splitlines()[:3] == ["two", "2", "1.00 2.00 20.13 20.00 0.98765"]
    assert len(texts) == 3
    (found / "photos" / "one.txt").unlink()
    noted = Noted()
    assert Run([folder], wider=found, resume=True, sinks=[noted])()
    assert noted.names == ["one.png"]
    assert {path.name: path.read_text() for path in (found / "photos").iterdir()} == texts
    assert capsys.readouterr().out == ""


# ---- pictures


def test_pictures_are_drawn(folder: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "new" / "drawn"
    assert Run([folder], draw=drawn)()
    assert visible(drawn) == sorted(WIDTHS)
    for name, width in WIDTHS.items():
        expected = draw_faces(read_image(folder / name), KnownFaces.faces(width - 30))
        np.testing.assert_array_equal(read_image(drawn / name), expected)
    assert not np.array_equal(read_image(drawn / "one.png"), read_image(folder / "one.png"))


def test_pictures_beside_the_images_leave_them_alone(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in WIDTHS}
    assert Run([folder], draw=folder)()
    assert {name: (folder / name).read_bytes() for name in WIDTHS} == before
    assert sorted(set(visible(folder)) - set(WIDTHS)) == ["none-2.png", "one-2.png", "two-2.png"]


def test_skipped_images_do_not_shift_the_pictures(folder: Path, tmp_path: Path) -> None:
    (folder / "none.png").write_text("no picture")
    Run([folder], draw=tmp_path / "drawn")()
    found = {name: read_image(tmp_path / "drawn" / name).shape[1] for name in visible(tmp_path / "drawn")}
    assert found == {"one.png": 31, "two.png": 32}
