"""Pipes, signals, addresses, and unexpected errors while reading files."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import face_clip
from run_command import problems, run, visible

from mtcnn.errors import SettingsError
from mtcnn.images import read_image, read_photo
from mtcnn.pictures.draw import save_image
from mtcnn.stream import decoding
from mtcnn.stream import run as running
from mtcnn.stream.addresses import Address
from mtcnn.stream.readers import Readers, in_order
from mtcnn.stream.run import Run
from mtcnn.stream.sources import Piped, as_source, find_sources, kind_of, looks_like_image
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ("--min-face", "40")
PATIENCE = 240  # seconds, on a busy machine


def started(folder: Path, *words: object, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mtcnn", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, **more)


# ---- pipes and signals


@pytest.mark.parametrize("name", ["p.png", "v.mp4"])
def test_one_signal_ends_a_run_that_waits_for_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    save_image(tmp_path / "a.png", draw_scene(0, 3)[0])
    process = started(tmp_path, "detect", "a.png", name, "--batch", 1, *OPTIONS, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"a.png: ")  # so it waits for the pipe now, or soon
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_closed_pipe_ends_the_command(tmp_path: Path) -> None:
    """The command ends by SIGPIPE, like any filter, without a message."""
    for number in range(9):
        save_image(tmp_path / f"{number}.png", draw_scene(0, number)[0])
    process = started(tmp_path, "detect", ".", "--batch", 1, *OPTIONS, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait(PATIENCE) == -signal.SIGPIPE
    assert b"Traceback" not in told and b"Broken" not in told


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("detect", "--help"), ("flops", "pnet")])
def test_a_reader_that_reads_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    process = started(tmp_path, *words, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait(PATIENCE)) == (b"", -signal.SIGPIPE)


def test_an_image_on_standard_input(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", draw_scene(0, 3)[0])
    words = ("detect", "-", "--json", "--draw", "drawn", *OPTIONS)
    with open(tmp_path / "a.jpg", "rb") as stream:
        process = started(tmp_path, *words, stdin=stream, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=PATIENCE)
    row = json.loads(out)
    named = json.loads(run("detect", tmp_path / "a.jpg", "--json", *OPTIONS).stdout)
    assert row == {**named, "image": "-"}
    assert visible(tmp_path / "drawn") == ["stdin.png"]


def test_standard_input_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:] = b"y\n" * (len(buffer) // 2) + b"y" * (len(buffer) % 2)
            return len(buffer)

    monkeypatch.setattr("mtcnn.stream.sources.MAX_LIST", 1 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    sources, told = find_sources([Path("-")])
    assert sources == [] and told[0].startswith("-: more than 1 MiB; expected a list of names")


@pytest.mark.parametrize(
    ("head", "image"),
    [
        (b"\xff\xd8\xff\xe0", True), (b"\x89PNG\r\n\x1a\n", True), (b"GIF89a", True), (b"RIFF\0\0\0\0WEBPVP8 ", True),
        (b"BM\x36\0\0\0", True), (b"P6\n# x\n3 4\n255\n", False), (b"P6\n3 4\n255\n", True), (b"II*\0", True),
        (b"\0\0\0\x18ftypheic", True), (b"\0\0\0\x1cftypavif", True), (b"\0\0\0\x20ftypisom", False),
        (b"a.png\nb.png\n", False), (b"BMW.jpg\n", False), (b"P6 1.jpg\n", False),
        (b"", False),
    ],
)  # fmt: skip
def test_images_and_lists_are_distinguished(head: bytes, image: bool) -> None:
    assert looks_like_image(head) is image


@pytest.mark.parametrize("head", [b"\0\0\0\x20ftypisom", b"\x1aE\xdf\xa3\0", b"\0\0\1\xba"])
def test_a_video_on_standard_input(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(head + b"\0" * 100)))
    sources, told = find_sources([Path("-")])
    assert (sources, len(told)) == ([], 1)
    assert told[0].startswith("-: is no image; expected") and told[0].endswith("name videos as files")


def test_a_hanging_call_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.stream.readers.GRACE", 0.05)
    forever, readers = threading.Event(), Readers[int](1)
    calls = in_order([lambda: 1, lambda: int(forever.wait())], readers, 1, 9, lambda _: 1)
    assert next(calls) == 1
    calls.close()
    assert readers.close() is False
    forever.set()


# ---- addresses


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("rtsp://host/stream", "camera"), ("RTSP://u:p@host:554/x", "camera"), ("rtmp://host/live", "camera"),
        ("http://host/a.mp4", "video"), ("https://host/a//b.m3u8?x=1", "video"),
    ],
)  # fmt: skip
def test_addresses_are_kept_as_written(text: str, kind: str) -> None:
    source = as_source(text)
    assert isinstance(source, Address) and str(source) == os.fspath(source) == text
    assert kind_of(source) == kind


@pytest.mark.parametrize("text", ["http:/host/a.mp4", "concat:a.mp4|b.mp4", "file:///etc/x.mp4"])
def test_other_protocols_are_file_names(text: str) -> None:
    assert isinstance(as_source(text), Path)


@pytest.mark.parametrize("text", ["tcp://host/x", "http://", "ftp://host/a.jpg"])
def test_other_addresses_are_rejected(text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{text}: expected a file, or an address of http"):
        as_source(text)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_names_are_rejected(text: str) -> None:
    with pytest.raises(SettingsError, match="an empty name"):
        as_source(text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """An address, and the first lines of the requests made to it."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                asked.append(client.recv(200).split(b"\r\n")[0])
                client.sendall(b"HTTP/1.0 404 no\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.close()


def test_a_list_does_not_open_the_network(tmp_path: Path, server: tuple[str, list[bytes]]) -> None:
    address, asked = server
    port = address.rpartition(":")[2]
    save_image(tmp_path / "a.png", draw_scene(0, 3)[0])
    names = [
        f"{address}/x.mp4",
        f"http:/127.0.0.1:{port}/y.mp4",
        f"tcp://127.0.0.1:{port}/z.mp4",
        str(tmp_path / "a.png"),
    ]
    (tmp_path / "names.txt").write_text("\n".join(names))
    done = run("detect", f"@{tmp_path}/names.txt", *OPTIONS)
    assert done.exit_code == 1
    assert asked == []
    assert f"{address}/x.mp4 in a list is not opened; expected files; allow it with --network" in done.stderr
    assert f"http:/127.0.0.1:{port}/y.mp4: no such file" in done.stderr
    assert "a.png: " in done.stdout
    run("detect", f"@{tmp_path}/names.txt", "--network", *OPTIONS)
    assert asked and all(b"/x.mp4" in line for line in asked)


def test_a_named_address_is_opened_and_reported(server: tuple[str, list[bytes]]) -> None:
    address, asked = server
    done = run("detect", f"{address}/clip.mp4", *OPTIONS)
    assert asked and done.exit_code == 1
    first, second = problems(done.stderr).splitlines()
    assert first == f"mtcnn: {address}/clip.mp4: read over the network"
    assert second.startswith(f"mtcnn: skipped {address}/clip.mp4: cannot be opened; expected a video")
    asked.clear()
    photo = run("detect", f"{address}/photo.jpg", *OPTIONS)
    assert not asked and "photos are not read over the network; expected a video; download it first" in photo.stderr


# ---- failures of one file


class Clumsy:
    """A detector that fails at pictures of some widths."""

    errors: dict[int, Exception] = {  # noqa: RUF012
        31: MemoryError(), 32: cv2.error("OpenCV(4) a\n b"), 33: RuntimeError("odd"), 34: IndexError(5),
    }  # fmt: skip

    def __init__(self, **settings: Any) -> None:
        pass

    def detect(self, images: Sequence[Any]) -> list[Faces]:
        for image in images:
            if image.shape[1] in self.errors:
                raise self.errors[image.shape[1]]
        return [Faces.empty() for _ in images]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    for width in range(30, 36):
        save_image(tmp_path / f"{width}.png", np.zeros((20, width, 3), np.uint8))
    return tmp_path


def test_a_failed_detection_fails_only_that_image(
    several: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "Detector", Clumsy)
    assert not Run([several])()
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [f"{several}/30.png", f"{several}/35.png"]
    lines = problems(err).splitlines()
    assert [line.split(": ")[1].rpartition("/")[2] for line in lines] == ["31.png", "32.png", "33.png", "34.png"]
    assert "more memory than there is" in lines[0]
    assert "error: OpenCV(4) a b" in lines[1]
    with pytest.raises((MemoryError, cv2.error)):
        Run([several], debug=True)()


def test_a_failed_read_fails_only_that_image(
    several: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(source: Path, pixels: int) -> Any:
        width = int(source.stem)
        if width in Clumsy.errors:
            raise Clumsy.errors[width]
        return real(source, pixels)

    real = read_photo
    monkeypatch.setattr(running, "Detector", Clumsy)
    monkeypatch.setattr(decoding, "read_photo", read)
    assert not Run([several])()
    assert len(problems(capsys.readouterr().err).splitlines()) == len(Clumsy.errors)


def test_a_damaged_tail_is_a_note_and_no_problem(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", draw_scene(0, 3)[0])
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    done = run("detect", tmp_path / "a.jpg", *OPTIONS)
    assert done.exit_code == 0
    assert problems(done.stderr).startswith(f"mtcnn: {tmp_path}/a.jpg: ends early")


def test_largest_image(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", draw_scene(0, 3)[0])
    done = run("detect", tmp_path / "a.png", "--max-pixels", 1000)
    assert done.exit_code == 1 and "320 x 240 pixels" in done.stderr


# ---- crops


def test_crops_have_ids_and_the_listing_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    face_clip(Path("clip.mp4"), photos["astronaut"], 30)
    done = run("detect", "clip.mp4", "--every", 5, "--track", "--crop", "faces", "--json", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    crops = [(row, face) for row in rows for face in row["faces"]]
    assert len(crops) >= 2
    for row, face in crops:
        assert face["crop"] == f"faces/clip-frame{row['frame']:06d}-id{face['id']}.png"
        assert read_image(face["crop"]).size
    assert visible("faces") == sorted(Path(face["crop"]).name for _, face in crops)
    assert "crop" not in run("detect", "clip.mp4", "--every", 5, "--json", *OPTIONS).stdout


def test_piped_images_have_a_name_for_outputs() -> None:
    assert (str(Piped(b"")), Piped(b"").stem, kind_of(Piped(b""))) == ("-", "stdin", "image")
