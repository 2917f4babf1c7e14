"""Reading and writing videos: frame numbers, times, pixels, and errors for other files."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import number_of, numbered, write_clip

from mtcnn.errors import ImageError, SettingsError
from mtcnn.stream.video import CODECS, FPS, Video, VideoFile
from mtcnn.stream.whole import is_cut


@pytest.fixture(autouse=True, params=["opencv", "pyav"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with OpenCV alone, and with PyAV where it is installed."""
    if request.param == "pyav":
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    return str(request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", numbered(20), 12.5)


@pytest.mark.parametrize("suffix", CODECS)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", numbered(20, 47, 65), 29.97)  # odd sides lose a pixel
    with Video(path) as clip:
        assert clip.fps == pytest.approx(29.97, rel=1e-3)
        assert clip.length == 20
        frames = list(clip)
        assert clip.read() is None  # and again
    assert [frame.number for frame in frames] == list(range(20))
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([number / 29.97 for number in range(20)], abs=1e-3)
    assert {frame.image.shape for frame in frames} == {(46, 64, 3)}
    assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}


def test_colours_keep_their_order(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 220
    with Video(write_clip(tmp_path / "red.avi", [red])) as clip:
        (frame,) = clip
    assert frame.image[16, 16].tolist() == pytest.approx([220, 0, 0], abs=12)


def test_every_and_first(clip: Path) -> None:
    for every, first, expected in ((1, 17, [17, 18, 19]), (6, 0, [0, 6, 12, 18]), (6, 7, [12, 18]), (50, 1, [])):
        with Video(clip, every, first) as frames:
            found = list(frames)
        assert [frame.number for frame in found] == expected
        assert [number_of(frame.image) for frame in found] == expected
        assert [frame.time for frame in found] == pytest.approx([number / 12.5 for number in expected], abs=1e-3)


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    """A video has one frame size; OpenCV would silently drop other frames."""
    path = tmp_path / "clip.avi"
    writer = VideoFile(path, 25, (48, 64))
    for height, width in ((48, 64), (24, 32), (96, 100)):
        writer.write(np.full((height, width, 3), 200, np.uint8))
    writer.close()
    with Video(path) as clip:
        assert [frame.image.shape for frame in clip] == [(48, 64, 3)] * 3
    assert writer.written == 3


# ---- what files say of themselves


class Fake:
    """A capture that reports given properties, and has frames of one pixel."""

    def __init__(self, fps: float, count: float, clock: list[float], side: int = 1) -> None:
        self.values = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
        self.values[cv2.CAP_PROP_FRAME_WIDTH] = self.values[cv2.CAP_PROP_FRAME_HEIGHT] = side
        self.clock = list(clock)

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        if self.clock:
            self.values[cv2.CAP_PROP_POS_MSEC] = self.clock.pop(0)
            return True
        return False

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.zeros((1, 1, 3), np.uint8)

    def get(self, key: int) -> float:
        return self.values.get(key, 0.0)

    def release(self) -> None: ...


def opened(monkeypatch: pytest.MonkeyPatch, *values: Any, **more: Any) -> Video:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: Fake(*values, **more))
    return Video("clip.mp4")


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1000.0, 90000.0])
def test_without_a_frame_rate(monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    clip = opened(monkeypatch, fps, -1.9e14, [0.0, 0.0, 0.0])
    assert clip.fps == FPS == 25
    assert clip.length is None
    assert [frame.time for frame in clip] == pytest.approx([0, 1 / 25, 2 / 25])


@pytest.mark.parametrize(("fps", "step", "expected"), [(1000.0, 40.0, 25), (400.0, 2.5, 400), (0.0, 100.0, 10)])
def test_a_frame_rate_that_is_not_sane_is_measured(
    monkeypatch: pytest.MonkeyPatch, fps: float, step: float, expected: float
) -> None:
    """A high-speed camera, and WebM whose rate is that of its clock. Half a second of frames is hidden by it."""
    clip = opened(monkeypatch, fps, 3.0, [0.0, step, 2 * step])
    assert clip.fps == pytest.approx(expected)
    assert len(list(clip)) == 3


def test_timestamps_are_used_while_they_increase(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = opened(monkeypatch, 10.0, 6.0, [500.0, 510.0, 900.0, 900.0, float("nan"), 1200.0])
    assert [frame.time for frame in clip] == pytest.approx([0.5, 0.51, 0.9, 1.0, 1.1, 1.2])


def test_a_bare_stream(tmp_path: Path) -> None:
    """It states neither rate nor length: concatenated JPEGs."""
    jpeg = cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "bare.mjpeg").write_bytes(jpeg * 4)
    with Video(tmp_path / "bare.mjpeg") as clip:
        assert clip.fps == FPS
        assert clip.length is None
        assert [round(frame.time, 3) for frame in clip] == [0, 0.04, 0.08, 0.12]


# ---- problems


def test_files_that_are_not_videos(tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = clip.read_bytes()
    contents = {"empty.mp4": b"", "text.avi": b"no video", "half.mp4": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name}: is not a video that can be read; expected"):
            Video(tmp_path / name)
    with pytest.raises(ImageError, match=r"missing.mp4: no such file; expected a video"):
        Video(tmp_path / "missing.mp4")
    with pytest.raises(ImageError, match="is not a video that can be read"):
        Video(tmp_path)
    assert capfd.readouterr().err == ""  # of OpenCV and FFmpeg


def test_missing_camera(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match=r"^camera:97: cannot be opened; expected a camera"):
        Video("camera:97")
    assert capfd.readouterr().err == ""


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    """All frames that are there, then the error."""
    path = write_clip(tmp_path / "clip.avi", numbered(50), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path) as clip:
        first = list(islice(clip, 10))
        with pytest.raises(ImageError, match=r"clip.avi: ends after \d\.\d of 5.0 seconds; expected a whole video"):
            list(clip)
    assert [number_of(frame.image) for frame in first] == list(range(10))


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_the_last_frames_are_missing(tmp_path: Path, name: str) -> None:
    """Less than a second of a short video: its container says how long the file would be."""
    path = write_clip(tmp_path / name, numbered(20, 240, 320), 10)
    with Video(path) as clip:
        assert len(list(clip)) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    with Video(path) as clip, pytest.raises(ImageError, match=r"expected a whole video; save or download it again"):
        list(clip)


def box(kind: bytes, size: int, content: bytes = b"") -> bytes:
    return size.to_bytes(4, "big") + kind + content


UNKNOWN, LONG = b"\x01" + b"\xff" * 7, b"\x01" + bytes(6) + b"\x0a"
EBML, SEGMENT = bytes.fromhex("1a45dfa3") + b"\x82ab", bytes.fromhex("18538067")


@pytest.mark.parametrize(
    ("content", "is_short"),
    [
        (b"RIFF\x0a\0\0\0AVI 123456", False),
        (b"RIFF\x0b\0\0\0AVI 123456", True),
        (b"RIFF\xff\xff\xff\xffAVI 123456", False),  # was not finished
        (b"RIFF\0\0\0\0AVI 123456", False),
        (b"RIFF\x0b\0\0\0WAVE23456", False),
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 12, b"1234"), False),
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 13, b"1234"), True),
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 0, b"1234"), False),  # to the end of the file
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 1, bytes(7) + b"\x14" + b"1234"), False),
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 1, bytes(7) + b"\x15" + b"1234"), True),
        (box(b"ftyp", 12, b"isom") + box(b"mdat", 3, b"1234"), False),  # damaged
        (box(b"ftyp", 12, b"isom") + b"\0\0", False),
        (EBML + SEGMENT + b"\x8a0123456789", False),
        (EBML + SEGMENT + b"\x8b0123456789", True),
        (EBML + SEGMENT + LONG + b"0123456789", False),
        (EBML + SEGMENT + LONG + b"012345678", True),
        (EBML + SEGMENT + UNKNOWN + b"0123456789", False),  # of a stream
        (EBML + SEGMENT + b"\xff0123456789", False),
        (EBML, False),
        (b"", False),
        (b"no video", False),
        (bytes(100), False),
    ],
)
def test_stated_sizes_of_files(tmp_path: Path, content: bytes, is_short: bool) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert is_cut(str(path)) is is_short
    assert not is_cut(str(tmp_path))
    assert not is_cut(str(tmp_path / "missing"))


def test_a_video_without_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="has no frame that can be decoded"):
        opened(monkeypatch, 25.0, 3.0, []).read()


def test_a_video_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="20000 x 20000 pixels; expected at most"):
        opened(monkeypatch, 25.0, 3.0, [], side=20000)


def test_settings(clip: Path, tmp_path: Path) -> None:
    for every in (0, 1.5):
        with pytest.raises(SettingsError, match=f"every is {every}"):
            Video(clip, every=every)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"unknown suffix '.gif'; expected one of .avi"):
        VideoFile(tmp_path / "out.gif", 25, (48, 64))


@pytest.mark.parametrize("source", [0, None, b"clip.mp4"])
def test_a_source_that_is_no_name(source: Any) -> None:
    """A number is a camera for OpenCV."""
    with pytest.raises(
        SettingsError, match=r"source is .*; expected a video file, an address, or a camera as 'camera:0'"
    ):
        Video(source)


@pytest.mark.parametrize(
    ("fps", "size", "fault"),
    [(0, (48, 64), "fps is 0"), (float("nan"), (48, 64), "fps is nan"), (25, (1, 64), r"size is \(1, 64\)")],
)
def test_a_video_that_no_player_shows(tmp_path: Path, fps: float, size: tuple[int, int], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        VideoFile(tmp_path / "out.mp4", fps, size)
    assert not list(tmp_path.iterdir())


def test_frames_that_cannot_be_written(tmp_path: Path) -> None:
    frame = np.full((48, 64, 3), 90, np.uint8)
    clip = VideoFile(tmp_path / "out.mp4", 25, (48, 64))
    with pytest.raises(ImageError, match="has dtype float64; expected uint8"):
        clip.write(frame / 255)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="time is nan; expected seconds"):
        clip.write(frame, float("nan"))
    clip.write(frame)
    clip.write(frame[..., 0])  # gray is drawn gray
    clip.close()
    assert clip.written == 2


def test_unwritable_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match=r"out.mp4: cannot be written.*; expected a folder to write to"):
        VideoFile(tmp_path / "none" / "out.mp4", 25, (48, 64))
    assert capfd.readouterr().err == ""
