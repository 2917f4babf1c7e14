"""Detection over files: which images a name stands for, where pictures go, and what is printed."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn import report
from mtcnn.draw import draw_faces, save_image
from mtcnn.images import read_image
from mtcnn.report import detect_files, image_files, picture_paths
from mtcnn.types import Faces

POINTS: list[list[float]] = [[11, 12], [13, 14], [15, 16], [17, 18], [19, 20.5]]
WIDTHS = {"none.png": 30, "one.png": 31, "two.png": 32}  # of the pictures, by which the detector below knows them


class KnownFaces:
    """A detector that knows how many faces a picture of some width has."""

    made_with: dict[str, Any] = {}  # noqa: RUF012 - of the last one made

    def __init__(self, **settings: Any) -> None:
        KnownFaces.made_with = settings

    def detect(self, image: Any) -> Faces:
        count = image.shape[1] - 30
        boxes = np.array([[1, 2, 21.126, 22], [5, 6, 15, 16.5]], np.float32)[:count]
        points = np.array([POINTS] * 2, np.float32)[:count]
        points[1:, 0] = np.nan
        return Faces(boxes, np.array([0.98765, 0.5], np.float32)[:count], points)


@pytest.fixture(autouse=True)
def _known_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "Detector", KnownFaces)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/none.png, one.png, two.png, each of 40 rows."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in WIDTHS.items():
        save_image(photos / name, np.full((40, width, 3), 90, np.uint8))
    return photos


def detected(*named: Path, style: Any = "text", draw: Path | None = None) -> tuple[bool, str]:
    out = io.StringIO()
    return detect_files(named, style, draw, {}, out), out.getvalue()


# ---- which files


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_files_are_taken_as_named(tmp_path: Path) -> None:
    """Whatever their suffix, and also where there are none: reading them tells."""
    named = [*make(tmp_path, "b.jpg", "a.dat"), tmp_path / "missing.png"]
    assert list(image_files(named)) == named


def test_folders_are_searched_through(tmp_path: Path) -> None:
    make(tmp_path, "z.JPG", "a.png", "notes.txt", "sub/b.webp", "sub/deep/c.tiff", "sub/readme")
    (tmp_path / "folder.jpg").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files([tmp_path])]
    assert found == ["a.png", "sub/b.webp", "sub/deep/c.tiff", "z.JPG"]


def test_dangling_links_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert list(image_files([tmp_path])) == [tmp_path / "link.jpg"]


def test_patterns_are_expanded(tmp_path: Path) -> None:
    make(tmp_path, "a1.png", "a2.png", "b1.png", "sub/a3.png")
    assert list(image_files([tmp_path / "a*.png"])) == [tmp_path / "a1.png", tmp_path / "a2.png"]
    assert list(image_files([tmp_path / "**" / "a?.png"]))[-1] == tmp_path / "sub" / "a3.png"
    assert list(image_files([tmp_path / "s*"])) == [tmp_path / "sub" / "a3.png"]  # a folder, as a shell would give it
    assert list(image_files([tmp_path / "x*"])) == []


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    make(tmp_path, "a[1].png", "a1.png")
    assert list(image_files([tmp_path / "a[1].png"])) == [tmp_path / "a[1].png"]


def test_order_is_that_of_the_names(tmp_path: Path) -> None:
    make(tmp_path, "x/2.png", "x/1.png", "3.png")
    found = list(image_files([tmp_path / "x", tmp_path / "3.png", tmp_path / "x" / "2.png"]))
    assert [path.name for path in found] == ["1.png", "2.png", "3.png", "2.png"]


# ---- where pictures go


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_pictures_go_to_the_folder(tmp_path: Path) -> None:
    images = [Path("in/a.jpg"), Path("in/b.gif"), Path("in/c.JPEG"), Path("in/d")]
    targets = picture_paths(tmp_path, images)
    assert names(targets) == ["a.jpg", "b.png", "c.JPEG", "d.png"]  # what cannot be written becomes PNG
    assert {path.parent for path in targets} == {tmp_path}
    assert picture_paths(tmp_path / "new", images[:1]) == [tmp_path / "new" / "a.jpg"]
    assert not (tmp_path / "new").exists()


def test_no_picture_covers_another(tmp_path: Path) -> None:
    images = [Path("x/a.jpg"), Path("y/a.jpg"), Path("z/a.gif"), Path("z/a.png"), Path("x/a.jpg")]
    assert names(picture_paths(tmp_path, images)) == ["a.jpg", "a-2.jpg", "a.png", "a-2.png", "a-3.jpg"]


def test_no_picture_covers_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [tmp_path / "a.jpg", tmp_path / "a-2.jpg", tmp_path / "b.gif"]
    assert names(picture_paths(tmp_path, images)) == ["a-3.jpg", "a-2-2.jpg", "b.png"]
    monkeypatch.chdir(tmp_path)
    assert names(picture_paths(Path(), [tmp_path / "a.jpg"])) == ["a-2.jpg"]  # the same folder by another name


def test_one_picture_may_be_named(tmp_path: Path) -> None:
    target = tmp_path / "out.jpg"
    assert picture_paths(target, [Path("a.png")]) == [target]
    target.touch()
    assert picture_paths(target, [Path("a.png")]) == [target]  # written anew, like any output
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    assert picture_paths(folder, [Path("a.png")]) == [folder / "a.png"]


@pytest.mark.parametrize(
    ("draw", "images"),
    [("out.jpg", ["a.png", "b.png"]), ("notes.txt", ["a.png"]), ("a.png", ["a.png"]), ("out.jpg", [])],
)
def test_a_file_that_cannot_take_the_pictures(tmp_path: Path, draw: str, images: list[str]) -> None:
    make(tmp_path, "a.png", "notes.txt")
    if not images:
        assert picture_paths(tmp_path / draw, []) == [tmp_path / draw]  # nothing to draw is told elsewhere
        return
    with pytest.raises(ValueError, match="expected a folder, or a new image file"):
        picture_paths(tmp_path / draw, [tmp_path / name for name in images])


# ---- what is printed


def test_text(folder: Path) -> None:
    done, text = detected(folder)
    assert done
    assert text.splitlines() == [
        f"{folder / 'none.png'}: 0 faces",
        f"{folder / 'one.png'}: 1 face",
        "       1.0      2.0     21.1     22.0  score 0.988",
        f"{folder / 'two.png'}: 2 faces",
        "       1.0      2.0     21.1     22.0  score 0.988",
        "       5.0      6.0     15.0     16.5  score 0.500",
    ]


def test_json_lines(folder: Path) -> None:
    done, text = detected(folder, style="json")
    assert done
    rows = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [(row["image"], row["width"], row["height"]) for row in rows] == [
        (str(folder / name), width, 40) for name, width in WIDTHS.items()
    ]
    assert rows[0]["faces"] == []
    assert rows[1]["faces"] == [{"box": [1, 2, 21.13, 22], "score": 0.98765, "landmarks": POINTS}]
    assert rows[2]["faces"][1]["landmarks"] == [[None, None], *POINTS[1:]]


def test_csv(folder: Path) -> None:
    done, text = detected(folder, style="csv")
    assert done
    header, *rows = csv.reader(io.StringIO(text))
    assert header[:8] == ["image", "x1", "y1", "x2", "y2", "score", "x_left_eye", "y_left_eye"]
    assert header[-1] == "y_right_mouth"
    assert {len(row) for row in rows} == {len(header)} == {16}
    assert [Path(row[0]).name for row in rows] == ["one.png", "two.png", "two.png"]
    assert [float(value) for value in rows[0][1:]] == [1, 2, 21.13, 22, 0.98765, *np.ravel(POINTS)]
    assert rows[2][6:10] == ["", "", "13.0", "14.0"]  # an unknown point is left empty


def test_names_of_any_kind_are_printed(folder: Path) -> None:
    odd = folder / 'größe, "2"\n.png'
    (folder / "one.png").rename(odd)
    row = json.loads(detected(odd, style="json")[1])
    assert row["image"] == str(odd)
    (_, fields) = csv.reader(io.StringIO(detected(odd, style="csv")[1], newline=""))
    assert fields[0] == str(odd)


def test_names_that_are_no_text_come_out_as_stored(folder: Path) -> None:
    name = os.fsencode(folder) + b"/\xff.png"
    try:
        os.rename(folder / "one.png", name)
    except OSError:
        pytest.skip("this file system takes no such name")
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8")
    assert detect_files([folder], "text", None, {}, out)
    out.flush()
    assert name + b": 1 face\n" in raw.getvalue()


def test_results_come_as_they_are_found(folder: Path) -> None:
    """Each image's before the next is read: here the second is removed while the first is printed."""
    (folder / "none.png").unlink()

    class Watched(io.StringIO):
        def flush(self) -> None:
            (folder / "two.png").unlink(missing_ok=True)

    out = Watched()
    assert not detect_files([folder], "text", None, {}, out)
    assert "one.png: 1 face" in out.getvalue()


def test_settings_reach_the_detector(folder: Path) -> None:
    detect_files([folder], "text", None, {"min_face": 33, "device": "cpu"}, io.StringIO())
    assert KnownFaces.made_with == {"min_face": 33, "device": "cpu"}


# ---- what goes wrong


def test_bad_files_are_told_and_the_rest_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "none.png").write_text("no picture")
    (folder / "one.png").write_bytes((folder / "one.png").read_bytes()[:60])
    done, text = detected(folder / "missing.jpg", folder, style="json")
    assert not done
    assert [Path(json.loads(line)["image"]).name for line in text.splitlines()] == ["two.png"]
    problems = capsys.readouterr().err.splitlines()
    assert len(problems) == 3
    for name, problem in zip(("missing.jpg", "none.png", "one.png"), problems, strict=True):
        assert problem.startswith("mtcnn: skipped ")
        assert name in problem


def test_names_without_images_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    done, text = detected(folder / "empty", folder / "*.jpg", folder / "one.png")
    assert not done
    assert text.startswith(f"{folder / 'one.png'}: 1 face")
    problems = capsys.readouterr().err.splitlines()
    assert [problem.split(";")[0] for problem in problems] == [
        f"mtcnn: no image in {folder / 'empty'}",
        f"mtcnn: no image in {folder / '*.jpg'}",
    ]


def test_senseless_draw_is_told_before_anything_is_done(folder: Path) -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="--draw"):
        detect_files([folder], "csv", folder / "out.png", {}, out)
    assert out.getvalue() == ""
    assert sorted(os.listdir(folder)) == sorted(WIDTHS)


# ---- pictures


def test_pictures_are_drawn(folder: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "new" / "drawn"
    assert detected(folder, draw=drawn)[0]
    assert sorted(os.listdir(drawn)) == sorted(WIDTHS)
    for name in WIDTHS:
        image = read_image(folder / name)
        np.testing.assert_array_equal(read_image(drawn / name), draw_faces(image, KnownFaces().detect(image)))
    assert not np.array_equal(read_image(drawn / "one.png"), read_image(folder / "one.png"))


def test_pictures_beside_the_images_leave_them_alone(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in WIDTHS}
    assert detected(folder, draw=folder)[0]
    assert {name: (folder / name).read_bytes() for name in WIDTHS} == before
    assert sorted(set(os.listdir(folder)) - set(WIDTHS)) == ["none-2.png", "one-2.png", "two-2.png"]


def test_one_picture_to_a_file(folder: Path, tmp_path: Path) -> None:
    assert detected(folder / "one.png", draw=tmp_path / "deep" / "out.bmp")[0]
    assert read_image(tmp_path / "deep" / "out.bmp").shape == (40, 31, 3)


def test_skipped_images_do_not_shift_the_pictures(folder: Path, tmp_path: Path) -> None:
    (folder / "none.png").write_text("no picture")
    detected(folder, draw=tmp_path / "drawn")
    found = {path.name: read_image(path).shape[1] for path in (tmp_path / "drawn").iterdir()}
    assert found == {"one.png": 31, "two.png": 32}


@pytest.fixture(autouse=True)
def _no_bar(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Standard error is no terminal here, so nothing but problems is printed to it."""
    yield
    assert "img/s" not in capsys.readouterr().err
