"""Labels compared with their photos: those that do not fit become neither faces nor background."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from run_command import run

from mtcnn.errors import DataError
from mtcnn.types import ImageSize
from prepare import label_check
from prepare.label_check import Fit, fit
from prepare.labels import IGNORE, IouBands, Kind, label
from prepare.readers import read_source
from prepare.records import ImageRecord
from prepare.sources import read_sources, remember_sources, remembered_sources
from prepare.synthetic import draw_scene, write_folder

WIDTH, HEIGHT = 200, 100
Boxes = Sequence[tuple[float, float, float, float]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "1.png")
    return tmp_path / "1.png"


def record(path: Path, boxes: Boxes, size: tuple[int, int] | None = None) -> ImageRecord:
    return ImageRecord(path, np.array(boxes, np.float32), size=None if size is None else ImageSize(*size))


def checked(path: Path, *boxes: tuple[float, float, float, float]) -> ImageRecord:
    """The record of a photo with these boxes, and eight that fit."""
    return fit([record(path, [*boxes, *GOOD])], "wider:x").records[0]


GOOD = [(10.0 * i, 10, 10.0 * i + 30, 50) for i in range(8)]


def test_labels_that_fit_stay_as_they_are(photo: Path) -> None:
    boxes: Boxes = [(0, 0, 200, 100), (-20, -20, 60, 60), (199, 99, 200, 100), (50, 50, 51, 51)]
    given = [record(photo, boxes), record(photo, []), record(photo.with_name("gone.png"), [(900, 900, 990, 990)])]
    found = fit(given, "wider:x")
    assert all(new is old for new, old in zip(found.records, given, strict=True))
    assert found.dropped == {}
    assert found.line == "3 photos of 200 x 100, 5 faces of 1 to 200 pixels"


NOT: dict[str, tuple[tuple[float, float, float, float], str, bool]] = {
    "outside": ((300, 20, 340, 60), "outside of their photo", False),
    "for the most part outside": ((150, 20, 251, 60), "outside of their photo", True),
    "far larger than the photo": ((10, 10, 400, 300), "outside of their photo", True),
    "above": ((10, -50, 40, -10), "outside of their photo", False),
    "shares of the photo": ((0.2, 0.3, 0.6, 0.9), "of less than a pixel", False),
    "corners swapped": ((60, 60, 20, 20), "with corners swapped", True),
    "one side swapped": ((20, 60, 60, 20), "with corners swapped", True),
    "corners swapped, outside": ((360, 60, 320, 20), "with corners swapped", False),
}


@pytest.mark.parametrize("kind", NOT)
def test_a_box_that_does_not_fit(photo: Path, kind: str) -> None:
    """It is ignored; if it covers nothing of the photo, the photo gives no background."""
    box, why, complete = NOT[kind]
    found = fit([record(photo, [box, *GOOD])], "wider:x")
    (one,) = found.records
    assert found.dropped == {why: 1}
    assert one.ignore.tolist() == [True] + [False] * 8
    assert one.complete is complete
    assert found.line.endswith(f"9 faces of 40 to 40 pixels; 1 do not fit and are left out: 1 {why}")
    x1, y1, x2, y2 = one.boxes[0]
    assert x1 < x2 and y1 < y2
    np.testing.assert_array_equal(one.boxes[1:], np.array(GOOD, np.float32))


def test_a_dropped_box_is_not_background(photo: Path) -> None:
    """A box with swapped corners was once dropped, and its face became background."""
    one = checked(photo, (180, 90, 140, 50))
    crops = np.array([[140, 50, 180, 90], [145, 55, 170, 80], [100, 60, 130, 90]], np.float64)
    kinds = label(crops, one, IouBands(), 8).kinds
    assert kinds.tolist() == [IGNORE, IGNORE, Kind.NEG]


def test_labels_of_a_photo_of_another_size(photo: Path) -> None:
    boxes: Boxes = [(10, 10, 40, 50)]
    fits = [record(photo, boxes, (HEIGHT, WIDTH)), record(photo, boxes, (WIDTH, HEIGHT))]
    found = fit([*fits, record(photo, boxes, (2 * HEIGHT, 2 * WIDTH))], "voc:x")
    assert found.dropped == {"for a photo of another size": 1}
    assert [one.complete for one in found.records] == [True, True, False]
    assert found.records[2].ignore.all()


@pytest.mark.parametrize(
    ("points", "ignored"),
    [([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], False), ([[0.2, 0.2], [0.4, 0.2], [0.3] * 2, [0.2, 0.4],
                                                                    [0.4, 0.4]], True),
     ([[420, 20], [440, 20], [430, 30], [422, 40], [438, 40]], True)],
)  # fmt: skip
def test_points_without_a_box(photo: Path, points: list[list[float]], ignored: bool) -> None:
    good = np.array([[[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]]] * 4, np.float32)
    unknown = np.full((5, 4), np.nan, np.float32)
    one = ImageRecord(photo, unknown, np.concatenate([[points], good]).astype(np.float32), complete=False)
    (found,) = fit([one], "points:x").records
    assert found.ignore.tolist() == [ignored, *[False] * 4]
    assert np.isnan(found.boxes).all()


def test_hardly_any_box_fits(photo: Path) -> None:
    """An error from four of five boxes on."""
    bad, good = (300, 20, 340, 60), (10, 10, 40, 50)
    fit([record(photo, [bad] * 4 + [good])], "wider:x")
    with pytest.raises(DataError, match=r"6 faces .* 5 outside of their photo; are these x y w h in pixels of these"):
        fit([record(photo, [bad] * 5 + [good])], "wider:x")


WAYS: dict[str, Callable[[float, float, float, float], tuple[float, ...]]] = {
    "shares": lambda x, y, w, h: (x / 320, y / 240, w / 320, h / 240),
    "tenfold": lambda x, y, w, h: (10 * x, 10 * y, 10 * w, 10 * h),
    "swapped": lambda x, y, w, h: (x + w, y + h, -w, -h),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_folder(folder, 12, 0)
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["wider", "retinaface", "labelv2", "voc"])
def test_a_source_in_the_wrong_units_is_refused(drawn: Path, tmp_path: Path, way: str, form: str) -> None:
    scenes = [draw_scene(0, i)[1] for i in range(12)]
    photos = sorted((drawn / "wider/train/images/0--Drawn").iterdir())
    path = tmp_path / "labels.txt"
    text = ""
    for photo, boxes in zip(photos, scenes, strict=True):
        rows = [WAYS[way](x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.tolist()]
        corners = [(x, y, x + w, y + h) for x, y, w, h in rows]
        words = [" ".join(f"{value:.4f}" for value in row) for row in (corners if form == "labelv2" else rows)]
        if form == "voc":
            path = tmp_path / "voc"
            path.mkdir(exist_ok=True)
            tags = ("xmin", "ymin", "xmax", "ymax")
            objects = "".join(
                "<object><name>face</name><bndbox>"
                + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, row, strict=True))
                + "</bndbox></object>" for row in corners
            )  # fmt: skip
            (path / f"{photo.stem}.xml").write_text(f"<annotation>{objects}</annotation>")
        elif form == "wider":
            text += "\n".join([photo.name, str(len(words)), *(f"{word} 0 0 0 0 0 0" for word in words)]) + "\n"
        else:
            text += "\n".join([f"# {photo.name}{' 320 240' if form == 'labelv2' else ''}", *words]) + "\n"
    if form != "voc":
        path.write_text(text)
    with pytest.raises(DataError, match=r"do not fit and are left out: .*; are these .* in pixels of these photos\?"):
        read_sources([f"{form}:{path}:{photos[0].parent}"])


def test_a_line_for_each_source(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = f"wider:{drawn}/wider/wider_face_train_bbx_gt.txt"
    read_sources([spec, "synthetic:3"], quiet=True)
    assert capsys.readouterr().err == ""
    records = read_sources([spec, "synthetic:3"])
    lines = capsys.readouterr().err.splitlines()
    faces = sum(len(one.boxes) for one in records[:12])
    assert lines[0].startswith(f"{spec}: 12 photos of 320 x 240, {faces} faces of ")
    assert lines[1].startswith("synthetic:3: 3 photos, ")
    assert len(lines) == 2


def test_classes_are_reported_and_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(draw_scene(0, 1)[0]).save(tmp_path / "1.png")
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>60</xmax><ymax>70</ymax></bndbox></object>"
        for name in ("head", "helmet")
    )
    (tmp_path / "1.xml").write_text(f"<annotation>{things}</annotation>")
    assert len(read_sources([f"voc:{tmp_path}"], quiet=True)[0].boxes) == 2
    assert "took head 1, helmet 1 for faces" in capsys.readouterr().err
    for spec in (f"voc:{tmp_path}::head", f"voc:{tmp_path}:{tmp_path}:head"):
        remember_sources(tmp_path, [spec])
        assert remembered_sources(tmp_path) == [spec]
        assert len(read_source(spec)[0][0].boxes) == 1


def test_prepare_rejects_bad_labels(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("0_Drawn_0_000000.jpg\n1\n0.1 0.2 0.3 0.4\n")
    done = run("prepare", "--net", 12, "--work", tmp_path / "w", "--quiet", "--data",
               f"wider:{tmp_path / 'l.txt'}:{drawn / 'wider/train/images/0--Drawn'}")  # fmt: skip
    assert done.exit_code == 1
    assert "1 of less than a pixel; are these x y w h in pixels of these photos?" in done.stderr
    assert not (tmp_path / "w/sources.json").exists()


def test_many_records_equal_one_by_one(tmp_path: Path) -> None:
    """Boxes inside, outside, cut, tiny, swapped, empty and unknown, in photos of any size or none that can be read."""
    rng, values = np.random.default_rng(0), [-5, -1, 0, 0.4, 1, 2, 9, 10, 11, 20, 25, np.nan]
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    for trial in range(100):
        given = []
        for _ in range(12):
            count = rng.integers(0, 4)
            usual = np.sort(rng.uniform(-3, 14, (count, 2, 2)), axis=1).reshape(count, 4)
            boxes = rng.choice(values, (count, 4)) if trial % 4 == 0 else usual
            size = [None, ImageSize(10, 20), ImageSize(20, 10), ImageSize(5, 6)][rng.integers(4)]
            name, ignore = "a.png" if rng.random() < 0.8 else "b.png", rng.random(count) < 0.2
            given.append(ImageRecord(tmp_path / name, boxes, ignore=ignore, size=size))
        sizes = [ImageSize(10, 20) if each.path.name == "a.png" and len(each.boxes) else None for each in given]
        wanted, counts, sides, ignored = zip(
            *(label_check._checked(*each) for each in zip(given, sizes, strict=True)), strict=True
        )
        try:
            found = fit(given, "x")
        except DataError:
            assert len(np.concatenate(sides)) < label_check.HARDLY_ANY * sum(len(each.boxes) for each in given)
            continue
        assert found.sizes == label_check._span(np.concatenate(sides))
        assert found.ignored.sum() == np.concatenate(ignored).sum()
        dropped = {reason: sum(each.get(reason, 0) for each in counts) for reason in label_check._REASONS}
        assert found.dropped == {reason: count for reason, count in dropped.items() if count}
        for one, many in zip(wanted, found.records, strict=True):
            np.testing.assert_array_equal(one.boxes, many.boxes)
            np.testing.assert_array_equal(one.ignore, many.ignore)
            assert one.complete == many.complete


# ---- the labels of a source as a whole


def taken_for(change: Callable[[NDArray[np.float32]], NDArray[np.float32]], folder: Path) -> Fit:
    """150 faces all over photos of 200 x 100 pixels, as a reader would have them that takes them for something else."""
    rng, given = np.random.default_rng(0), []
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    for _ in range(50):
        sides = rng.uniform(10, 40, (3, 1)) * (1, 1.2)
        corners = rng.uniform(0, 1, (3, 2)) * ((WIDTH, HEIGHT) - sides)
        given.append(ImageRecord(folder / "a.png", change(np.concatenate([corners, corners + sides], axis=1))))
    return label_check.compare(given)


@pytest.mark.parametrize(("change", "doubt"), [
    (lambda boxes: boxes, ""),
    (lambda boxes: np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), "boxes do not fit"),
    (lambda boxes: boxes[:, [1, 0, 3, 2]], "boxes do not fit"),
    (lambda boxes: 1.3 * boxes, "boxes do not fit"),
    (lambda boxes: boxes / 2, "no box reaches beyond 50% of the width or height of its photo"),
    (lambda boxes: boxes / (WIDTH, HEIGHT, WIDTH, HEIGHT) * (50, 25, 50, 25), "no box reaches beyond 25% of"),
], ids=["right", "corners for sides", "y x", "larger", "half", "quarter"])  # fmt: skip
def test_units_that_hardly_show(
    tmp_path: Path, change: Callable[[NDArray[np.float32]], NDArray[np.float32]], doubt: str
) -> None:
    """Most boxes lie in their photos: the training goes on, with a question."""
    found = taken_for(change, tmp_path)
    assert found.fault("wider:x") == ""
    if doubt:
        doubt += ".*; are these x y w h in pixels of these photos"
    assert re.search(doubt, found.doubt("wider:x")) if doubt else found.doubt("wider:x") == ""


def test_few_odd_boxes_or_few_boxes_are_no_doubt(tmp_path: Path, photo: Path) -> None:
    good = [(10, 10, 90, 50)] * 20
    bad = [(500, 10, 590, 50)]
    assert label_check.compare([record(photo, [*good, *bad * 4])]).doubt("x") == ""
    assert label_check.compare([record(photo, [*good, *bad * 5])]).doubt("x").startswith("5 of 25 boxes do not fit")
    many = [record(photo, good)] * 20
    few = label_check.compare([*many, record(photo, bad * 8)])
    assert few.doubt("x").startswith("no box reaches beyond 50% of")
    assert label_check.compare([*many, record(photo, bad * 9)]).doubt("x").startswith("9 of 409 boxes do not fit")
    assert label_check.compare([record(photo, good * 4)]).doubt("x") == ""
    assert label_check.compare([record(photo, [*good * 5, (100, 50, 150, 56)])]).doubt("x") == ""
    assert label_check.compare([record(photo, [(500, 10, 590, 50)] * 30)]).doubt("x") == ""  # a fault


def test_the_doubt_is_said(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = photo.with_name("labels.txt")
    labels.write_text(f"{photo.name}\n150\n" + "10 10 40 30 0 0 0 0 0 0\n" * 150)
    read_sources([f"wider:{labels}:{photo.parent}"], quiet=True)
    assert "warning: wider:" in capsys.readouterr().err
    done = run("data", "check", f"wider:{labels}:{photo.parent}", "--work", photo.parent / "work")
    assert "no box reaches beyond 40% of" in done.stdout, done.stderr


def test_photos_are_ranged_by_their_areas() -> None:
    assert label_check._range([ImageSize(40, 30), ImageSize(10, 100), ImageSize(35, 30)]) == " of 100 x 10 to 30 x 40"
    assert label_check._range([ImageSize(100, 10), ImageSize(30, 40)]) == " of 10 x 100 to 40 x 30"
    assert label_check._range([ImageSize(3, 4)] * 2) == " of 4 x 3" and label_check._range([]) == ""
