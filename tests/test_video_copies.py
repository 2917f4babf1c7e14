"""Unusual videos: interlaced, with irregular times, rotated, with sound; and their copies."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import number_of, numbered, write_clip
from numpy.typing import NDArray
from run_command import problems, run

from mtcnn.cascade import Detector
from mtcnn.errors import ImageError, WriteError
from mtcnn.pictures.draw import save_image
from mtcnn.stream.sinks.video_output import VideoOutput
from mtcnn.stream.video import Video, VideoFile

av = pytest.importorskip("av")

RGB = NDArray[np.uint8]
OPTIONS = ("--min-face", 40, "--scale-factor", 0.5)
INTERLACED = {"x264-params": "interlaced=1"}
TIMES = [0.0, 0.1, 0.2, 0.7, 0.8, 1.5, 1.6, 2.4]  # seconds, of a frame rate that varies


def clip_of(
    path: Path,
    frames: Iterable[RGB],
    times: Iterable[float] = (),
    codec: str = "libx264",
    shape: Fraction | None = None,
    sound: str | None = None,
    start: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """A video by PyAV alone, 10 frames a second; `sound`, a codec, adds a tone that rises, as long as the pictures."""
    frames, wanted = list(frames), list(times)
    wanted = wanted or [number / 10 for number in range(len(frames))]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        voice: Any = None if sound is None else container.add_stream(sound, rate=48_000, layout="mono")
        for image, time in zip(frames, wanted, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round((start + time) * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for block in range(round((wanted[-1] + 0.1) * 50) if voice else 0):
            phase = np.arange(960) * (0.02 + block / 2000)
            samples = (8000 * np.sin(phase)).astype(np.int16)[None]
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 48_000, block * 960, Fraction(1, 48_000)
            container.mux(voice.encode(piece))
        if voice:
            container.mux(voice.encode(None))
    return path


@pytest.fixture
def _opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV is not installed."""
    monkeypatch.setitem(sys.modules, "av", None)


def picture(astronaut: Any, shift: int = 0) -> RGB:
    return np.ascontiguousarray(np.roll(astronaut[:240, :320], shift, axis=1))


# ---- frames that cannot be converted


@pytest.fixture
def interlaced(tmp_path: Path, photos: dict[str, Any]) -> Path:
    frames = [picture(photos["astronaut"], 4 * number) for number in range(6)]
    return clip_of(tmp_path / "interlaced.mp4", frames, options=INTERLACED)


def test_interlaced_frames_are_the_pictures(interlaced: Path, photos: dict[str, Any]) -> None:
    with Video(interlaced) as video:
        for frame in video:
            assert np.abs(frame.image.astype(int) - picture(photos["astronaut"], 4 * frame.number)).mean() < 6
    assert frame.number == 5


NOT_CONVERTED = (
    r"OpenCV cannot convert its frames \(Cannot convert interlaced to progressive frames or vice versa\); "
    r"expected a progressive video; pip install 'mtcnn-cascade\[video\]', or convert it"
)


@pytest.mark.usefixtures("_opencv")
def test_interlaced_frames_without_pyav(interlaced: Path) -> None:
    """OpenCV returns uninitialised memory or the previous frame, and reports success."""
    with Video(interlaced) as video, pytest.raises(ImageError, match=f"interlaced.mp4: {NOT_CONVERTED}"):
        list(video)


@pytest.mark.usefixtures("_opencv")
def test_one_interlaced_frame_without_pyav(tmp_path: Path, photos: dict[str, Any]) -> None:
    clip = clip_of(tmp_path / "one.mp4", [picture(photos["astronaut"])], options=INTERLACED)
    with Video(clip) as video, pytest.raises(ImageError, match=NOT_CONVERTED):
        list(video)


@pytest.mark.usefixtures("_opencv")
def test_interlaced_frames_after_others_without_pyav(tmp_path: Path, photos: dict[str, Any]) -> None:
    """They would come out as the last frame that could be converted."""
    frames = [picture(photos["astronaut"], 4 * number) for number in range(5)]
    first = clip_of(tmp_path / "first.ts", frames)
    second = clip_of(tmp_path / "second.ts", frames, start=0.5, options=INTERLACED)
    mixed = tmp_path / "mixed.ts"
    mixed.write_bytes(first.read_bytes() + second.read_bytes())
    with Video(mixed) as video:
        whole = [video.read() for _ in range(5)]
        with pytest.raises(ImageError, match=NOT_CONVERTED):
            list(video)
    assert len({frame.image.tobytes() for frame in whole if frame}) == 5


@pytest.mark.usefixtures("_opencv")
def test_black_and_still_videos_are_no_error_without_pyav(tmp_path: Path) -> None:
    for name, value in (("black.avi", 0), ("still.mp4", 90)):
        clip = write_clip(tmp_path / name, [np.full((48, 64, 3), value, np.uint8)] * 9)
        with Video(clip) as video:
            assert len(list(video)) == 9


def test_damage_within_a_video_is_reported(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", numbered(20), 10)
    data = bytearray(clip.read_bytes())
    places = [place for place in range(len(data)) if data[place : place + 4] == b"00dc"]
    data[places[9] + 8 : places[10]] = bytes(places[10] - places[9] - 8)
    clip.write_bytes(data)
    with Video(clip) as video, pytest.raises(ImageError, match="1 piece of mjpeg cannot be decoded"):
        list(video)


def test_frames_that_are_filled_in_are_reported(tmp_path: Path, photos: dict[str, Any]) -> None:
    """FFmpeg decodes a frame whose data are damaged, fills in what is missing, and marks it."""
    frames = [picture(photos["astronaut"], shift) for shift in range(24)]
    clip = clip_of(tmp_path / "clip.avi", frames, codec="mpeg4")
    with Video(clip) as video:
        assert len(list(video)) == 24
    with av.open(str(clip)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][12]
    half = len(packet) // 2
    clip.write_bytes(clip.read_bytes().replace(packet, packet[:half] + bytes(len(packet) - half)))
    with Video(clip) as video:
        assert all(video.read() is not None for _ in frames)
        with pytest.raises(ImageError, match=r"clip\.avi: 1 frame is damaged; expected a whole video"):
            video.read()


# ---- AV1


@pytest.fixture
def av1(tmp_path: Path) -> Path:
    codec = next((name for name in ("libsvtav1", "libaom-av1") if name in av.codecs_available), None)
    if codec is None:
        pytest.skip("this PyAV cannot encode AV1")
    return clip_of(tmp_path / "clip.mp4", numbered(5, 64, 80), codec=codec)


def test_av1_is_read(av1: Path) -> None:
    with Video(av1) as video:
        assert [number_of(frame.image) for frame in video] == list(range(5))


@pytest.mark.usefixtures("_opencv")
def test_av1_is_named_without_pyav(av1: Path) -> None:
    with Video(av1) as video, pytest.raises(ImageError, match=r"decoded by OpenCV: it is AV1; .* pip install"):
        list(video)


# ---- times


def test_a_copy_keeps_the_times(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", numbered(len(TIMES)), TIMES)
    for suffix in (".mp4", ".mkv", ".mov"):
        copy = copied(clip, tmp_path / f"copy{suffix}")
        with Video(copy) as video:
            frames = list(video)
        assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=2e-3)
        assert [number_of(frame.image) for frame in frames] == list(range(len(TIMES)))


def copied(clip: Path, target: Path, every: int = 1) -> Path:
    with Video(clip, every) as video:
        output: VideoOutput | None = None
        for frame in video:
            output = output or VideoOutput(target, video.fps / every, frame.image.shape[:2], str(clip))
            output.write(frame.image, frame.time)
    assert output is not None
    output.close()
    return target


def shown_at(path: Path, time: float) -> int:
    """The number of the frame that a player shows at a time."""
    with Video(path) as video:
        return number_of(max((frame for frame in video if frame.time <= time + 1e-3), key=lambda f: f.time).image)


def check_even(clip: Path, copy: Path) -> None:
    """Of a copy without times of its own: no frame is off by more than half a frame."""
    copied(clip, copy)
    with Video(clip) as video, Video(copy) as after:
        fps, frames = video.fps, list(after)
    assert [frame.time for frame in frames] == pytest.approx([number / fps for number in range(len(frames))], abs=1e-3)
    assert len(frames) == round(TIMES[-1] * fps) + 1
    for frame in frames:
        assert number_of(frame.image) == shown_at(clip, frame.time + 0.5 / fps - 2e-3)


def test_an_avi_keeps_the_times(tmp_path: Path) -> None:
    check_even(clip_of(tmp_path / "clip.mp4", numbered(len(TIMES)), TIMES), tmp_path / "copy.avi")


@pytest.mark.usefixtures("_opencv")
@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_copy_keeps_the_times_without_pyav(tmp_path: Path, suffix: str) -> None:
    check_even(clip_of(tmp_path / "clip.mp4", numbered(len(TIMES)), TIMES), tmp_path / f"copy{suffix}")


def test_frames_that_come_too_fast_are_left_out(tmp_path: Path) -> None:
    """Of two within one frame of the copy the later one stays."""
    writer = VideoFile(tmp_path / "copy.avi", 10, (48, 64))
    for time, image in zip([0, 0.02, 0.1, 0.21, 0.24], numbered(5), strict=True):
        writer.write(image, time)
    writer.close()
    assert writer.written == 3
    with Video(tmp_path / "copy.avi") as video:
        assert [number_of(frame.image) for frame in video] == [1, 2, 4]


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_clock_that_jumps(tmp_path: Path, suffix: str) -> None:
    """No pause is longer than ten minutes: a header can claim years."""
    writer = VideoFile(tmp_path / f"copy{suffix}", 1, (48, 64))
    for time, image in zip([0.0, 1.0, 1e9, 1e9 + 1, 5.0], numbered(5), strict=True):
        writer.write(image, time)
    writer.close()
    with Video(tmp_path / f"copy{suffix}") as video:
        times = [frame.time for frame in video]
    assert 601 <= times[-1] <= 603


def test_every_nth_frame_keeps_its_time(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", numbered(len(TIMES)), TIMES)
    with Video(copied(clip, tmp_path / "copy.mp4", every=3)) as video:
        frames = list(video)
    assert [frame.time for frame in frames] == pytest.approx([TIMES[number] for number in (0, 3, 6)], abs=2e-3)
    assert [number_of(frame.image) for frame in frames] == [0, 3, 6]


# ---- turned pictures, and pixels that are not square


def turned(clip: Path, degrees: int, mirrored: bool = False) -> Path:
    """The display matrix of an MP4 rewritten, as phones have it: to be turned clockwise, then mirrored sideways."""
    data = bytearray(clip.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    assert struct.unpack(">9i", data[place : place + 36])[0] == 65536
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 65536
    side = -one if mirrored else one
    data[place : place + 36] = struct.pack(">9i", cos * side, sin * one, 0, -sin * side, cos * one, 0, 0, 0, 1 << 30)
    clip.write_bytes(data)
    return clip


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_are_upright_as_opencv_has_them(
    tmp_path: Path, photos: dict[str, Any], degrees: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = picture(photos["astronaut"])
    clip = turned(clip_of(tmp_path / "clip.mp4", [np.rot90(upright, degrees // 90)] * 3), degrees)
    copy = copied(clip, tmp_path / "copy.mp4")
    for path in (clip, copy):
        with Video(path) as video:
            images = [frame.image for frame in video]
        assert {image.shape for image in images} == {upright.shape}
        assert np.abs(images[0].astype(int) - upright).mean() < 8
    monkeypatch.setitem(sys.modules, "av", None)
    with Video(clip) as video:
        assert np.abs(next(iter(video)).image.astype(int) - images[0]).mean() < 8


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_mirrored_videos_are_as_players_show_them(tmp_path: Path, photos: dict[str, Any], degrees: int) -> None:
    """Of a front camera, for example: its matrix mirrors, and turns."""
    upright = picture(photos["astronaut"])
    stored = np.ascontiguousarray(np.rot90(upright[:, ::-1], degrees // 90))
    with Video(turned(clip_of(tmp_path / "clip.mp4", [stored] * 3), degrees, mirrored=True)) as video:
        image = next(iter(video)).image
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 8


def test_pixels_keep_their_shape(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", numbered(4, 48, 64), shape=Fraction(16, 11))
    for degrees, expected in ((0, Fraction(16, 11)), (90, Fraction(11, 16))):
        source = turned(clip, degrees) if degrees else clip
        with av.open(str(copied(source, tmp_path / "copy.mp4"))) as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


# ---- sound


def _loudness(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Samples (channels, N) as one channel in [-1, 1]."""
    largest = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    return np.asarray(samples.astype(float).mean(axis=0) / largest)


def heard(path: Path) -> tuple[str, float, NDArray[np.float64]]:
    """The codec of the sound of a file, its duration, and its samples."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        samples = [_loudness(frame.to_ndarray()) for frame in container.decode(stream)]
        rate, together = stream.codec_context.sample_rate, np.concatenate(samples)
        return stream.codec_context.codec.canonical_name, len(together) / rate, together


@pytest.mark.parametrize(("sound", "target", "codec"), [
    ("aac", "copy.mp4", "aac"), ("aac", "copy.mkv", "aac"), ("aac", "copy.mov", "aac"), ("mp2", "copy.avi", "mp2"),
    ("pcm_s16le", "copy.mp4", "aac"), ("pcm_s16le", "copy.mov", "pcm_s16le"), ("flac", "copy.mov", "aac"),
])  # fmt: skip
def test_the_sound_is_kept(tmp_path: Path, sound: str, target: str, codec: str) -> None:
    clip = clip_of(tmp_path / "clip.mkv", numbered(20), sound=sound)
    _, _, before = heard(clip)
    found, _, after = heard(copied(clip, tmp_path / target))
    assert found == codec
    assert len(after) == pytest.approx(len(before), abs=3000)  # of 96,000: an encoder adds a block or two
    part = before[20_000:24_000]
    off = [np.abs(part - after[20_000 + lag : 24_000 + lag]).mean() for lag in range(-1200, 1201)]
    assert abs(int(np.argmin(off)) - 1200) < 1000  # samples: AVI cannot say that an encoder began early
    assert min(off) < (1e-3 if found == sound else 0.1) * np.abs(part).mean()


def test_unwritable_sound_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures are there all the same."""
    clip = clip_of(tmp_path / "clip.mkv", numbered(6), sound="flac")
    monkeypatch.setattr("mtcnn.stream.video_sound._IN", {})  # FFmpeg says that MOV takes it
    with av.open(str(copied(clip, tmp_path / "copy.mov"))) as container:
        assert not container.streams.audio
        assert len(list(container.decode(container.streams.video[0]))) == 6
    assert capsys.readouterr().err.startswith(f"mtcnn: {clip}: its sound is left out (")


def test_the_sound_ends_with_a_copy_that_broke_off(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", numbered(20), sound="aac")
    output = VideoOutput(tmp_path / "copy.mp4", 10, (48, 64), str(clip))
    with Video(clip) as video:
        for _ in range(10):
            frame = video.read()
            assert frame is not None
            output.write(frame.image, frame.time)
    output.close()
    _, seconds, _ = heard(tmp_path / "copy.mp4")
    assert seconds == pytest.approx(1.0, abs=0.06)


def test_sound_and_pictures_stay_together(tmp_path: Path) -> None:
    """The pictures begin half a second after the sound."""
    clip = clip_of(tmp_path / "clip.mkv", numbered(10), sound="aac", start=0.5)
    with av.open(str(copied(clip, tmp_path / "copy.mkv"))) as container:
        first = next(container.decode(container.streams.video[0]))
        assert first.time == pytest.approx(0.5, abs=0.03)


# ---- the command


def test_a_copy_plays_in_browsers(random_models: Path, tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "clip.mp4", numbered(len(TIMES), 64, 80), TIMES, sound="aac")
    for option in ("--blur", "--draw"):
        done = run("detect", clip, "--json", option, tmp_path / "copy.mp4", "--models", random_models, *OPTIONS)
        assert (done.exit_code, problems(done.stderr)) == (0, "")
        assert [json.loads(line)["time"] for line in done.stdout.splitlines()] == pytest.approx(TIMES, abs=1e-3)
        with av.open(str(tmp_path / "copy.mp4")) as container:
            pictures = container.streams.video[0].codec_context
            assert (pictures.codec.canonical_name, pictures.pix_fmt) in (("h264", "yuv420p"), ("mpeg4", "yuv420p"))
            assert container.streams.audio[0].codec_context.codec.canonical_name == "aac"


def test_photos_do_without_pyav(random_models: Path, tmp_path: Path) -> None:
    """It takes a tenth of a second to load."""
    save_image(tmp_path / "a.png", np.zeros((64, 80, 3), np.uint8))
    script = (
        "import sys; from pathlib import Path; import mtcnn; from mtcnn.stream.run import Run\n"
        "settings = dict(models=sys.argv[2])\n"
        "assert Run([Path(sys.argv[1])], draw=Path(sys.argv[3]), settings=settings)()\n"
        "sys.exit('av' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "a.png"), str(random_models), str(tmp_path / "drawn.png")]
    assert subprocess.run(words, timeout=120).returncode == 0
    assert (tmp_path / "drawn.png").exists()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    video, noise = VideoOutput(target, 25, (128, 128)), np.random.default_rng(0)

    def write() -> None:
        for _ in range(60):
            video.write(noise.integers(0, 256, (128, 128, 3), np.uint8))
        video.close()

    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"out\.mp4: cannot be written \(File too large\)"):
            write()
        with pytest.raises(WriteError):
            video.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_phone_video_is_hidden_whole(tmp_path: Path, photos: dict[str, Any]) -> None:
    """300 frames of a face that moves, with sound, turned, and with a rate that varies; detection in every fifth."""
    scene, times = (
        photos["astronaut"],
        np.cumsum([0.0, *(0.02 if number % 7 else 0.09 for number in range(299))]).tolist(),
    )
    upright = [np.ascontiguousarray(scene[20:260, 100 + number % 60 : 260 + number % 60]) for number in range(300)]
    clip = clip_of(tmp_path / "clip.mp4", [np.rot90(image) for image in upright], times, sound="aac")
    copy, words = tmp_path / "copy.mp4", ("--blur-style", "solid", "--blur-shape", "ellipse")
    done = run("detect", turned(clip, 90), "--blur", copy, *words, "--detect-every", 5, "--min-face", 40, "--json")
    assert (done.exit_code, problems(done.stderr)) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["frame"] for row in rows] == list(range(300))
    assert sum(bool(row["faces"]) for row in rows) > 290
    with Video(copy) as video:
        frames = list(video)
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.01)
    assert {frame.image.shape for frame in frames} == {upright[0].shape}
    detector = Detector(min_face=40)
    for frame in frames[::13]:
        assert not len(detector.detect(frame.image)), "a face shows"
    codec, seconds, _ = heard(copy)
    assert codec == "aac"
    assert seconds == pytest.approx(times[-1] + 0.02, abs=0.05), "it ends with the pictures"


def test_frames_too_small_for_a_video(tmp_path: Path) -> None:
    with pytest.raises(
        WriteError, match=r"out.mp4: cannot be written: size is \(1, 40\); expected a height and a width"
    ):
        VideoOutput(tmp_path / "out.mp4", 25, (1, 40))
    assert not list(tmp_path.iterdir())
