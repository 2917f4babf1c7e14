"""`mtcnn detect` with --crop, --blur and --trace: the files that they write, for images and for videos."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import face_clip, write_clip
from numpy.typing import NDArray
from PIL import Image
from run_command import problems, run, visible
from sample_data import block, write_text

from mtcnn.cascade import Detector
from mtcnn.errors import MtcnnError
from mtcnn.images import read_image
from mtcnn.pictures.align import align, crop
from mtcnn.pictures.anonymise import anonymise
from mtcnn.pictures.draw import save_image
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.anonymous import AnonymousCopies
from mtcnn.stream.sinks.face_files import FaceFiles
from mtcnn.stream.video import Video
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

RGB = NDArray[np.uint8]
OPTIONS = ("--min-face", "40")
ORIENTATION, GPS = 0x0112, 0x8825


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with photos/: a.png and b.jpg show two faces each, none.bmp nothing."""
    (tmp_path / "photos").mkdir()
    save_image(tmp_path / "photos" / "a.png", draw_scene(0, 3)[0])
    save_image(tmp_path / "photos" / "b.jpg", draw_scene(0, 7)[0])
    save_image(tmp_path / "photos" / "none.bmp", np.full((60, 80, 3), 99, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(path: Path) -> Faces:
    return Detector(min_face=40).detect(path)


def names(folder: str) -> list[str]:
    return visible(folder)


# ---- crops


def test_crop(inside: Path) -> None:
    done = run("detect", "photos", *OPTIONS, "--crop", "faces", "--json")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [
        f"{Path(row['image']).stem}-face{number}.png" for row in rows for number in range(1, len(row["faces"]) + 1)
    ]
    assert names("faces") == sorted(expected)
    assert len(expected) >= 4
    image = read_image("photos/a.png")
    for number, picture in enumerate(crop(image, found(Path("photos/a.png")).boxes, 0.2), 1):
        assert np.array_equal(read_image(f"faces/a-face{number}.png"), picture)


def test_crop_margin(inside: Path) -> None:
    assert run("detect", "photos/a.png", *OPTIONS, "--crop", "faces", "--crop-margin", 0).exit_code == 0
    boxes = found(Path("photos/a.png")).boxes
    assert np.array_equal(read_image("faces/a-face1.png"), crop(read_image("photos/a.png"), boxes, 0)[0])


def test_crop_align(inside: Path) -> None:
    assert run("detect", "photos", *OPTIONS, "--crop", "faces", "--crop-align").exit_code == 0
    for name in ("a.png", "b.jpg"):
        points = found(Path("photos", name)).landmarks
        assert points is not None
        for number, picture in enumerate(align(read_image(f"photos/{name}"), points), 1):
            assert np.array_equal(read_image(f"faces/{name[0]}-face{number}.png"), picture)


def test_faces_without_usable_landmarks_are_not_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, boxes, points = draw_scene(0, 7)
    points[0] = np.nan
    source = tmp_path / "x.jpg"
    sink = FaceFiles(tmp_path / "faces", [source], aligned=True)
    sink.write(Item(source, image, Faces(boxes[:2], np.ones(2, np.float32), points[:2])))
    assert names(str(tmp_path / "faces")) == ["x-face2.png"]
    assert capsys.readouterr().err == f"mtcnn: {source}: face 1 lacks landmarks to align it by; left out\n"
    sink.write(Item(source, image, Faces.empty()))
    with pytest.raises(MtcnnError, match="`crop_align` needs landmarks and these models find none"):
        sink.write(Item(source, image, Faces(boxes, np.ones(len(boxes), np.float32))))


# ---- hidden faces


def photo_with_secrets(path: Path, image: RGB, **settings: Any) -> Path:
    """A rotated image file with GPS data, a thumbnail, a comment, XMP and a colour profile."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # its top is on the right
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2)})
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0SecretNote"
    lying = np.ascontiguousarray(np.rot90(image))
    Image.fromarray(lying).save(path, exif=exif, icc_profile=b"SecretProfile" * 20, **settings)
    return path


SECRETS = (b"Secret", b"Exif", b"eXIf", b"http://ns.adobe.com", b"ICC_PROFILE", b"iCCP")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.jpg", {"quality": 95, "comment": b"SecretComment", "xmp": b"http://ns.adobe.com SecretXmp"}),
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_metadata_is_gone_and_pixels_are_upright(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    image, boxes, _ = draw_scene(0, 3)
    image = np.asarray(cv2.blur(image, (3, 3)), np.uint8)  # without its noise, which no compression keeps
    source = photo_with_secrets(tmp_path / name, image, **settings)
    before = Image.open(source)
    assert before.getexif().get_ifd(GPS)[2][0] == 48
    assert source.read_bytes().count(b"Secret") >= 2
    upright = read_image(source)
    assert upright.shape == image.shape
    sink = AnonymousCopies(tmp_path / "copies", [source], "solid")
    sink.write(Item(source, upright, Faces(boxes, np.ones(len(boxes), np.float32))))
    sink.close()
    copy = tmp_path / "copies" / name
    after = Image.open(copy)
    assert after.format == before.format
    assert after.size == (320, 240)  # as it stands in the file, not turned by a tag
    assert not after.getexif()
    assert not after.getexif().get_ifd(GPS)
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(after.info)
    assert not [secret for secret in SECRETS if secret in copy.read_bytes()]
    hidden = anonymise(upright, boxes, "solid")
    assert np.abs(np.asarray(after.convert("RGB")).astype(int) - hidden).mean() < 2.5
    assert np.abs(upright.astype(int) - hidden).mean() > 4


def test_blur(inside: Path) -> None:
    """Every image gets a copy, even without faces; formats that cannot be written become PNG."""
    Image.fromarray(draw_scene(0, 5)[0]).save("photos/c.gif")
    originals = {path: path.read_bytes() for path in Path("photos").iterdir()}
    done = run("detect", "photos", *OPTIONS, "--blur", "copies")
    assert done.exit_code == 0, done.stderr
    assert names("copies") == ["a.png", "b.jpg", "c.png", "none.bmp"]
    assert {path: path.read_bytes() for path in Path("photos").iterdir()} == originals
    faces = found(Path("photos/a.png"))
    assert len(faces) >= 1
    assert np.array_equal(read_image("copies/a.png"), anonymise(read_image("photos/a.png"), faces.boxes))
    assert np.array_equal(read_image("copies/none.bmp"), read_image("photos/none.bmp"))


@pytest.mark.parametrize("style", ["blur", "solid"])
def test_blur_style(inside: Path, style: Any) -> None:
    assert run("detect", "photos/a.png", *OPTIONS, "--blur", "one.png", "--blur-style", style).exit_code == 0
    boxes = found(Path("photos/a.png")).boxes
    assert np.array_equal(read_image("one.png"), anonymise(read_image("photos/a.png"), boxes, style))


def test_blur_shape(inside: Path) -> None:
    assert run("detect", "photos/a.png", *OPTIONS, "--blur", "one.png", "--blur-shape", "ellipse").exit_code == 0
    photo, boxes = read_image("photos/a.png"), found(Path("photos/a.png")).boxes
    assert np.array_equal(read_image("one.png"), anonymise(photo, boxes, shape="ellipse"))


def test_blur_gap(inside: Path, photos: dict[str, RGB]) -> None:
    """A face in the first of two seconds stays hidden for as many frames longer."""
    face = np.ascontiguousarray(photos["astronaut"][:230, 110:340])
    write_clip(Path("clip.mp4"), (face if number < 10 else np.full_like(face, 255) for number in range(20)), 10)
    line = ("detect", "clip.mp4", *OPTIONS, "--json", "--blur-style", "solid", "--blur")
    plain = run(*line, "half.mp4")
    for more, target, count in (
        ((), "half.mp4", 15),
        (("--blur-gap", 2), "two.mp4", 12),
        (("--blur-gap", 0), "no.mp4", 10),
    ):
        done = run(*line, target, *more)
        assert (done.exit_code, done.stdout) == (0, plain.stdout)
        with Video(target) as copy:
            assert [bool(frame.image.min() < 40) for frame in copy] == [True] * count + [False] * (20 - count)


def test_originals_are_never_overwritten(inside: Path) -> None:
    """Neither in their own folder, nor through a link in the folder of the copies."""
    before = Path("photos/a.png").read_bytes()
    assert run("detect", "photos/a.png", *OPTIONS, "--blur", "photos/a.png").exit_code == 2
    assert run("detect", "photos/a.png", *OPTIONS, "--blur", "photos").exit_code == 0
    assert Path("photos/a-2.png").is_file()
    Path("links").mkdir()
    Path("links/a.png").symlink_to(inside / "photos" / "a.png")
    assert run("detect", "photos/a.png", *OPTIONS, "--blur", "links").exit_code == 0
    assert names("links") == ["a-2.png", "a.png"]
    assert Path("photos/a.png").read_bytes() == before


def test_blur_and_crop_of_a_video(inside: Path, photos: dict[str, RGB]) -> None:
    face_clip(Path("clip.mp4"), photos["astronaut"], count=6)
    done = run("detect", "clip.mp4", *OPTIONS, "--every", 2, "--blur", "copies", "--crop", "faces", "--json")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["faces"]) for row in rows] == [1, 1, 1]
    assert names("faces") == [f"clip-frame{number:06d}-face1.png" for number in (0, 2, 4)]
    with Video("clip.mp4", every=2) as video, Video("copies/clip.mp4") as copy:
        assert copy.fps == pytest.approx(video.fps / 2)
        for row, frame, hidden in zip(rows, video, copy, strict=True):
            expected = anonymise(frame.image, np.array([row["faces"][0]["box"]]))
            assert np.abs(expected.astype(int) - hidden.image).mean() < 3
            assert np.abs(frame.image.astype(int) - hidden.image).mean() > 6


# ---- traces


def test_trace_does_not_change_the_listing(inside: Path) -> None:
    """The listing is the same with and without a trace, and the trace has the same faces."""
    plain = run("detect", "photos", *OPTIONS, "--json")
    traced = run("detect", "photos", *OPTIONS, "--json", "--trace", "why")
    assert traced.stdout == plain.stdout
    stages = ("1-proposals.jpg", "2-pnet.jpg", "3-rnet.jpg", "4-onet.jpg")
    assert names("why") == sorted(
        f"{name}{end}" for name in ("a", "b", "none") for end in (".json", *(f"-{s}" for s in stages))
    )
    for row in map(json.loads, plain.stdout.splitlines()):
        trace = json.loads(Path("why", Path(row["image"]).stem + ".json").read_text())
        assert trace["faces"] == row["faces"]
        assert trace["image"] == row["image"]
    assert [line.split(": ")[1] for line in problems(traced.stderr).splitlines()] == [
        os.path.join("photos", name) for name in ("a.png", "b.jpg", "none.bmp")
    ]


def test_trace_box_and_truth(inside: Path) -> None:
    boxes = draw_scene(0, 3)[1]
    x1, y1, x2, y2 = (round(float(value)) for value in boxes[0])
    asked = run(
        "detect", "photos/a.png", *OPTIONS, "--thresholds", 0.6, 1, 0.7, "--trace", "why", "--trace-box", x1, y1, x2, y2
    )
    assert asked.exit_code == 0
    last = problems(asked.stderr).splitlines()[-2:]
    assert f"face [{x1} {y1} {x2} {y2}] lost by rnet: below the threshold 1: best score " in last[0]
    assert last[1] == "mtcnn: 0 of 1 faces found, 1 lost by rnet"
    rows = [[a, b, c - a, d - b, 0, 0, 0, 0, 0, 0] for a, b, c, d in boxes]
    write_text(Path("labels.txt"), block("photos/a.png", rows))
    labelled = run("detect", "photos/a.png", *OPTIONS, "--trace", "why", "--trace-labels", "labels.txt")
    assert problems(labelled.stderr).splitlines()[-1] == f"mtcnn: {len(boxes)} of {len(boxes)} faces found"


def test_resume_makes_no_copy_twice(inside: Path) -> None:
    options = ("detect", "photos", *OPTIONS, "--blur", "copies", "--json", "--out", "faces.jsonl")
    assert run(*options).exit_code == 0
    Path("copies/a.png").unlink()
    lines = Path("faces.jsonl").read_text().splitlines(keepends=True)
    Path("faces.jsonl").write_text("".join(lines[:2]))
    Path("copies/none.bmp").unlink()
    assert run(*options, "--resume").exit_code == 0
    assert names("copies") == ["b.jpg", "none.bmp"]  # a.png is told to be done


# ---- wrong usage


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop-align"], "--crop-align is given without --crop; expected --crop DIR as well"),
        (["--crop-margin", "0.1"], "--crop-margin is given without --crop"),
        (["--blur-style", "solid"], "--blur-style is given without --blur"),
        (["--blur-shape", "ellipse"], "--blur-shape is given without --blur"),
        (["--blur-gap", "3"], "--blur-gap is given without --blur"),
        (["--trace-box", "1", "2", "3", "4"], "--trace-box is given without --trace"),
        (["--trace-labels", "x.txt"], "--trace-labels is given without --trace"),
        (["--crop", "f", "--crop-align", "--crop-margin", "0"], "expected it or --crop-margin, not both"),
        (["--crop", "f", "--crop-margin", "-1"], "crop-margin is -1.0; expected a share"),
        (["--crop", "photos/b.jpg"], "--crop photos/b.jpg is a file; expected a folder"),
        (["--trace", "photos/b.jpg"], "--trace photos/b.jpg is a file; expected a folder"),
        (["--blur", "photos/a.png"], "--blur photos/a.png is the source itself; expected a folder"),
        (["--trace", "t", "--trace-box", "9", "2", "3", "4"], "--trace-box 9 2 3 4; expected pixels x1 y1 x2 y2"),
        (["photos/b.jpg", "--trace", "t", "--trace-box", "1", "2", "3", "4"], "is a face of one image and there are 2"),
    ],
)
def test_usage_errors(inside: Path, options: list[str], message: str) -> None:
    done = run("detect", "photos/a.png", *options)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert names(".") == ["photos"]


@pytest.mark.parametrize("text", ["photos/a.png\n1\n1 2 3\n", ""])
def test_invalid_labels(inside: Path, text: str) -> None:
    write_text(Path("labels.txt"), text)
    done = run("detect", "photos/a.png", "--trace", "why", "--trace-labels", "labels.txt")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mtcnn: labels.txt:")


@pytest.mark.parametrize("option", ["--crop", "--blur", "--trace"])
def test_uncreatable_folder(inside: Path, option: str) -> None:
    done = run("detect", "photos/a.png", *OPTIONS, option, "photos/b.jpg/below")
    assert done.exit_code == 1
    assert "photos/b.jpg/below" in done.stderr.splitlines()[-1]
    assert "cannot be written" in done.stderr.splitlines()[-1]
