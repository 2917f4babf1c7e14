"""The table of label formats: each is read, written, found by looking, survives a round trip, and rejects bad input."""

from __future__ import annotations

import itertools
import os
import pkgutil
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import succeeds_forked

from commands.data import FORMATS as NAMED
from mtcnn.errors import DataError, MtcnnError
from mtcnn.files.atomic_write import write_whole
from mtcnn.pictures.draw import save_image
from mtcnn.stream.items import Item
from mtcnn.stream.places import Places
from mtcnn.types import Faces, ImageSize
from prepare.convert import convert
from prepare.joined_records import merged
from prepare.label_sink import LabelFiles
from prepare.photo_names import place_photo
from prepare.readers import READERS, form_of, read_source, split_names, split_source
from prepare.records import ImageRecord, Note
from prepare.teachers.photo_labels import LabelSettings
from prepare.whole_folder import MARK, written_whole
from prepare.writers import FORMATS

ROOT = Path(__file__).resolve().parent.parent
FORMS = sorted(FORMATS)
HEIGHT, WIDTH = 120, 160
BOX = [20.5, 30.5, 60.5, 80.0]
FIVE = np.array([[30, 45], [50, 45], [40.5, 55], [32, 68], [48, 68.5]], np.float32)


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return path


def records(folder: Path) -> list[ImageRecord]:
    """Three photos in two folders: two faces and an ignore region; one face with a score; none."""
    names = ("0--a/one.png", "0--a/two of them.png", "1--b/one.png")
    one, two, none = (photo(folder / name) for name in names)
    some = FIVE.copy()
    some[2] = np.nan
    points = np.stack([FIVE, np.full((5, 2), np.nan, np.float32), np.full((5, 2), np.nan, np.float32)])
    boxes = [BOX, [100, 10, 110, 22], [0, 90, 40, 120]]
    return [
        ImageRecord(one, np.array(boxes), points, np.array([0, 0, 1]), size=ImageSize(HEIGHT, WIDTH)),
        ImageRecord(two, np.array([BOX]), some[None], scores=np.array([0.875])),
        ImageRecord(none),
    ]


def rows(record: ImageRecord, form: str) -> list[tuple[Any, ...]]:
    """What a format can hold of a record, sorted: boxes, landmarks, ignore marks, scores."""
    kind, found = FORMATS[form], []
    scores = np.ones(len(record.boxes)) if record.scores is None else record.scores
    for box, points, ignored, score in zip(record.boxes, record.landmarks, record.ignore, scores, strict=True):
        if ignored and not kind.ignored:
            continue
        five = np.round(np.nan_to_num(points, nan=-1), 1) if kind.landmarks else np.zeros(0)
        found.append(
            (*np.round(box, 1).tolist(), *five.ravel().tolist(), bool(ignored), float(score) if kind.scores else 1)
        )
    return sorted(found)


def expected(record: ImageRecord, form: str) -> list[tuple[Any, ...]]:
    found = rows(record, form)
    if FORMATS[form].several:
        return found
    # CelebA: the largest face, and its landmarks if all are known
    largest = max(found, key=lambda row: (row[2] - row[0]) * (row[3] - row[1]))
    return [largest if -1 not in largest[4:14] else (*largest[:4], *[-1.0] * 10, *largest[14:])]


def written(tmp_path: Path, form: str, photos: Any = "copy") -> tuple[list[ImageRecord], Any]:
    made = records(tmp_path / "from")
    return made, convert(made, form, tmp_path / form, photos)


@pytest.mark.parametrize("form", FORMS)
def test_round_trip(tmp_path: Path, form: str) -> None:
    """Everything that the format has a place for comes back; the rest is counted."""
    made, done = written(tmp_path, form)
    found, problems = read_source(str(tmp_path / form))
    assert [problem for problem in problems if not isinstance(problem, Note)] == []
    kept = made if FORMATS[form].several else [record for record in made if len(record.boxes)]
    assert [rows(record, form) for record in merged(found)] == [expected(record, form) for record in kept]
    assert all(record.path.read_bytes() == old.path.read_bytes() for record, old in zip(found, kept, strict=True))
    assert {record.complete for record in found} == {form != "celeba"}
    sizes = form in ("coco", "labelme", "labelv2", "voc", "yolo")
    assert {record.size for record in found} == {ImageSize(HEIGHT, WIDTH) if sizes else None}
    lost = {"faces with landmarks": 2, "scores": 1, "ignore regions": 1}
    places = {"faces with landmarks": "landmarks", "scores": "scores", "ignore regions": "ignored"}
    wanted = {what: count for what, count in lost.items() if not getattr(FORMATS[form], places[what])}
    if form == "celeba":
        wanted |= {"faces besides the largest of a photo": 1, "photos without a face": 1}
    assert done.lost == wanted and done.photos == 3


@pytest.mark.parametrize("form", FORMS)
def test_names_with_commas_quotes_and_letters(tmp_path: Path, form: str) -> None:
    first = records(tmp_path / "from")[0]
    path = first.path.rename(first.path.with_name('\u00fcn\u00ef, "q" 1.png'))
    done = convert([replace(first, path=path)], form, tmp_path / form, "copy")
    found, _ = read_source(done.source)
    assert [record.path.name for record in found] == [path.name]
    assert rows(found[0], form) == expected(first, form)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize(("name", "is_text"), [("\U0001f600", True), (os.fsdecode(b"caf\xe9"), False), ("\x01", False)])
@pytest.mark.parametrize("photos", ["copy", "leave"])
@pytest.mark.parametrize("form", FORMS)
def test_folders_of_any_name(tmp_path: Path, form: str, photos: Any, name: str, is_text: bool) -> None:
    """Labels in which the path of a photo stands can be read, or are refused in one line."""
    folder = tmp_path / name
    first = records(folder)[0]
    if form == "yolo" and photos == "leave" and not is_text:
        with pytest.raises(DataError, match="its name cannot stand in labels"):
            convert([first], form, tmp_path / form, photos)
        return
    done = convert([first], form, tmp_path / f"{name} {form}", photos)
    assert [rows(record, form) for record in read_source(done.source)[0]] == [expected(first, form)]


@pytest.mark.parametrize("form", FORMS)
def test_found_by_looking(tmp_path: Path, form: str) -> None:
    _, done = written(tmp_path, form)
    assert form_of(str(tmp_path / form)) == form
    assert form_of(str(done.path)) == form
    assert len(read_source(f"{form}:{tmp_path / form}")[0]) == (2 if form == "celeba" else 3)


@pytest.mark.parametrize("photos", ["link", "leave"])
@pytest.mark.parametrize("form", FORMS)
def test_photos_linked_or_left(tmp_path: Path, form: str, photos: str) -> None:
    before = {path: path.stat().st_mtime_ns for record in records(tmp_path / "from") for path in [record.path]}
    made, done = written(tmp_path, form, photos)
    pictures = list((tmp_path / form).rglob("*.png"))
    assert [path.is_symlink() for path in pictures] == ([True] * len(pictures) if photos == "link" else [])
    found, _ = read_source(done.source)
    kept = made if form != "celeba" else made[:2]
    assert [record.path.resolve() for record in merged(found)] == [record.path.resolve() for record in kept]
    assert [rows(record, form) for record in merged(found)] == [expected(record, form) for record in kept]
    assert before.keys() == {path for path in (tmp_path / "from").rglob("*") if path.is_file()}


# A file of each format with one good face and one that is bad, and what is said about the bad one.
BAD: dict[str, tuple[dict[str, str], str]] = {
    "celeba": (
        {
            "Anno/list_bbox_celeba.txt": "2\nimage_id x_1 y_1 width height\n1.png 20 30 40 50\n2.png 20 x 40 50\n",
            "img_celeba/1.png": "",
            "img_celeba/2.png": "",
        },
        "list_bbox_celeba.txt:4: 'x' is not a number; left out",
    ),
    "coco": (
        {
            "x.json": '{"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 3, "name": "face"}], '
            '"annotations": [{"image_id": 1, "category_id": 3, "bbox": [20, 30, 40, 50]}, '
            '{"image_id": 1, "category_id": 3, "bbox": [20, 30, 40]}]}',
            "images/1.png": "",
        },
        "x.json annotation 2: bbox is [20, 30, 40], expected 4 numbers; face left out",
    ),
    "csv": (
        {"x.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n1.png,160,120,face,20,30,60,80\n"
         "1.png,160,120,face,20,30,,80\n", "1.png": ""},
        "x.csv:3: 3 of the 4 values xmin to ymax given; face left out",
    ),
    "labelme": (
        {
            "1.json": '{"version": "5", "imagePath": "1.png", "shapes": [{"label": "face", "shape_type": "rectangle", '
            '"points": [[60, 30], [20, 80]]}, {"label": "face", "shape_type": "rectangle", "points": [[1, 2]]}]}',
            "1.png": "",
        },
        "1.json: a rectangle of one point; left out",
    ),
    "labelv2": (
        {"x.txt": "# 1.png 160 120\n20 30 60 80\n20 30 60\n", "images/1.png": ""},
        "x.txt:3: 3 values in the row, expected 19 (or 4, a box alone, 5 with the ignore mark, or 20 with a score); "
        "face left out",
    ),
    "retinaface": (
        {"x.txt": "# 1.png\n20 30 40 50\n20 30 40\n", "images/1.png": ""},
        "x.txt:3: 3 values in the row, expected 20 (or 4, a box alone); face left out",
    ),
    "voc": (
        {
            "1.xml": "<annotation><object><name>face</name><bndbox><xmin>21</xmin><ymin>31</ymin><xmax>60</xmax>"
            "<ymax>80</ymax></bndbox></object><object><name>face</name></object></annotation>",
            "1.png": "",
        },
        "1.xml: object 2: 0 numbers in its bndbox, expected xmin ymin xmax ymax; left out",
    ),
    "wider": (
        {
            "wider_face_split/wider_face_train_bbx_gt.txt": "1.png\n2\n20 30 40 50 0 0 0 0 0 0\n20 30 40\n",
            "WIDER_train/images/1.png": "",
        },
        "wider_face_train_bbx_gt.txt:4: 3 values in the row, expected 10 (or 4, a box alone); face left out",
    ),
    "yolo": (
        {"labels/1.txt": "0 .25 .45833333 .25 .41666667\n0 .5 .5 .1 x\n", "images/1.png": "photo"},
        "1.txt:2: 'x' is not a number; face left out",
    ),
}  # fmt: skip


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            photo(folder / name)
        else:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_bad_input(tmp_path: Path, form: str) -> None:
    """The good face is read, the bad one reported in one line, and its photo gives no background."""
    files, why = BAD[form]
    assert form_of(str(lay(tmp_path / "x", files))) == form
    found, problems = read_source(str(tmp_path / "x"))
    np.testing.assert_allclose(found[0].boxes, [[20, 30, 60, 80]], atol=1e-3)
    assert [record.complete for record in found] == [False]
    told = [str(problem) for problem in problems if not isinstance(problem, Note)]
    assert [line.endswith(why) for line in told] == [True], told


# Formats that are only read: a folder of each with one good label and one bad, and what is said about the bad one.
READ_ONLY: dict[str, tuple[dict[str, str], str]] = {
    "fddb": (
        {
            "FDDB-folds/FDDB-fold-01-ellipseList.txt": "2002/1\n2\n25 20 1.57079633 40 55 1\n25 20 1.5 40\n",
            "2002/1.png": "",
        },
        "FDDB-fold-01-ellipseList.txt:4: ",
    ),
    "points": (
        {
            "landmarks/faces_train.csv": "path,x1,y1,x2,y2,x_left_eye,y_left_eye,x_right_eye,y_right_eye,x_nose,y_nose,"
            "x_left_mouth,y_left_mouth,x_right_mouth,y_right_mouth\n1.png,20,30,60,80,30,45,50,45,40,55,32,68,48,68\n"
            "1.png,20,30,x,80,30,45,50,45,40,55,32,68,48,68\n",
            "landmarks/1.png": "",
        },
        "faces_train.csv:3: ",
    ),
    "negatives": ({"negatives/1.png": ""}, ""),
    "unlabelled": ({"1.png": ""}, ""),
}


@pytest.mark.parametrize("form", READ_ONLY)
def test_formats_that_are_only_read(tmp_path: Path, form: str) -> None:
    """Read; found by looking, but for photos that may show faces; bad input is one line."""
    files, why = READ_ONLY[form]
    folder = lay(tmp_path / "x", files)
    assert form_of(str(folder)) == ("" if form == "unlabelled" else form)
    found, problems = read_source(f"{form}:{folder}" if form == "unlabelled" else str(folder))
    if form in ("fddb", "points"):
        np.testing.assert_allclose(found[0].boxes, [[20, 30, 60, 80]], atol=1e-3)
        assert len(problems) == 1 and why in str(problems[0])
    else:
        assert [len(record.boxes) for record in found] == [0]
        assert found[0].complete is (form == "negatives")
    with pytest.raises(DataError):
        read_source(f"{form}:{tmp_path / 'none'}")


def test_every_format_is_in_a_table() -> None:
    assert {*FORMATS, *READ_ONLY} == {*READERS}
    assert {*FORMATS} == {*BAD}


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_source_is_an_error(tmp_path: Path, form: str) -> None:
    with pytest.raises(DataError) as error:
        read_source(f"{form}:{tmp_path / 'none'}")
    assert str(tmp_path / "none") in str(error.value) and "\n" not in str(error.value)


def test_the_command_knows_every_format() -> None:
    assert list(NAMED) == FORMS and {*FORMS} <= {*READERS}


def test_nothing_is_replaced(tmp_path: Path) -> None:
    made = records(tmp_path / "from")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty; expected a new folder"):
        convert(made, "coco", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["ctrl-c", "full"]
)
def test_a_conversion_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, there: bool
) -> None:
    """At the second photo; an empty folder that was there stays."""
    made, calls = records(tmp_path / "from"), iter([None, failure])

    def place(*given: Any) -> Path:
        if (raised := next(calls)) is not None:
            raise raised
        return place_photo(*given)

    monkeypatch.setattr("prepare.convert.place_photo", place)
    if there:
        (tmp_path / "to").mkdir()
    with pytest.raises(type(failure)):
        convert(made, "voc", tmp_path / "to")
    assert (tmp_path / "to").exists() is there
    assert not list(tmp_path.glob("to/*"))
    assert all(record.path.is_file() for record in made)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_in(monkeypatch: pytest.MonkeyPatch, place: str, call: int, work: Callable[[], object]) -> None:
    """Does the work in another process, which is killed when it calls `place` for the `call`-th time."""
    original, calls = pkgutil.resolve_name(place), itertools.count(1)

    def counted(*given: Any, **named: Any) -> Any:
        return os._exit(0) if next(calls) == call else original(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(place, counted)
        assert succeeds_forked(lambda: bool(work()))


@pytest.mark.parametrize("photos", ["copy", "link"])
@pytest.mark.parametrize("form", FORMS)
def test_a_killed_conversion_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, photos: Any
) -> None:
    """Wherever it was killed, and nothing of it is left, also in another format."""
    made, folder = records(tmp_path / "from"), tmp_path / "to"
    convert(made, form, folder, photos)
    whole = content(folder)
    shutil.rmtree(folder)
    for call in (1, 3):
        killed_in(monkeypatch, "mtcnn.files.atomic_write.os.replace", call, lambda: convert(made, form, folder, photos))
    killed_in(monkeypatch, "shutil.copyfileobj", 2, lambda: convert(made, "csv", folder))
    assert (folder / MARK).exists()
    convert(made, form, folder, photos)
    assert content(folder) == whole and not (folder / MARK).exists()


@pytest.mark.parametrize("name", ["labels.csv", "images/notes.txt", "images/0--a/one.png"])
def test_files_of_a_killed_conversion_that_are_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that somebody added or changed since is neither deleted nor replaced."""
    made, folder = records(tmp_path / "from"), tmp_path / "to"
    killed_in(monkeypatch, "mtcnn.files.atomic_write.os.replace", 3, lambda: convert(made, "csv", folder))
    (folder / name).write_text("mine")
    before = content(folder)
    for work in (lambda: convert(made, "csv", folder), lambda: written_whole(folder).__enter__()):
        with pytest.raises(DataError, match=rf"unfinished, and {name} in it is not as that run wrote it; .*; move"):
            work()
        assert content(folder) == before
    (folder / name).unlink()
    convert(made, "csv", folder)


def test_two_conversions_to_one_folder(tmp_path: Path) -> None:
    """The second deletes nothing of the first, and fails."""
    made, folder = records(tmp_path / "from"), tmp_path / "to"
    with written_whole(folder) as before:
        write_whole(folder / "labels.txt", b"x", before)
        with pytest.raises(MtcnnError, match="to: another process of mtcnn writes to it"):
            convert(made, "voc", folder)
    assert [path.name for path in folder.iterdir()] == ["labels.txt"]
    with pytest.raises(DataError, match="to: exists and is not empty"):
        convert(made, "voc", folder)
    with pytest.raises(DataError), written_whole(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["labels.txt"]


def test_a_failed_conversion_deletes_its_own_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "to"

    def interrupted() -> None:
        with written_whole(folder) as before:
            (folder / "images").mkdir()
            write_whole(folder / "images" / "a", b"x", before)
            (folder / "mine").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in folder.iterdir()] == ["mine"]


def found_labels(target: Path, photos: Sequence[Path]) -> bool:
    """Writes labels of photos as `mtcnn detect --yolo` does. True if that is possible."""
    sink = LabelFiles("yolo", target, Places(photos), LabelSettings(doubtful=0.0))
    for path in photos:
        sink.write(Item(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8), Faces.empty()))
    sink.close()
    return True


@pytest.mark.parametrize("there", [True, False])
def test_labels_of_a_detection_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Nothing is left that would be in the way of the next run."""
    photos, target = [photo(tmp_path / "from" / name) for name in ("a.png", "b.png")], tmp_path / "to"
    if there:
        target.mkdir()

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            found_labels(target, photos)
    assert target.exists() is there and not list(tmp_path.glob("to/*"))
    with monkeypatch.context() as patch:
        patch.setattr("prepare.writers.yolo.write_whole", lambda *given: os._exit(0))
        assert succeeds_forked(lambda: found_labels(target, photos))
    (target / "images" / "mine.txt").touch()
    with pytest.raises(DataError, match=r"unfinished, and images/mine\.txt in it is not as that run wrote it"):
        found_labels(target, photos)
    (target / "images" / "mine.txt").unlink()
    found_labels(target, photos)
    assert sorted(path.name for path in target.iterdir()) == ["data.yaml", "images", "labels"]


def test_labels_of_a_photo_and_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "b.png").symlink_to(photo(tmp_path / "a.png"))
    with pytest.raises(DataError, match=r"b\.png: is the photo .*a\.png by another name; expected each once"):
        found_labels(tmp_path / "to", [tmp_path / "a.png", tmp_path / "b.png"])


def test_names_that_clash_get_a_number_or_stay_where_they_are(tmp_path: Path) -> None:
    made = [ImageRecord(photo(tmp_path / "from" / name), np.array([BOX])) for name in ("a.png", "a.jpg")]
    done = convert(made, "voc", tmp_path / "voc")
    assert sorted(path.name for path in done.path.iterdir()) == ["a-2.xml", "a.xml"]
    assert len(read_source(str(tmp_path / "voc"))[0]) == 2
    with pytest.raises(DataError, match=r"a\.jpg: differs from the name of another photo by letter case or its suffix"):
        convert(made, "voc", tmp_path / "left", "leave")


def test_photos_not_fully_labelled_get_an_ignore_region(tmp_path: Path) -> None:
    made = [ImageRecord(photo(tmp_path / "from" / "a.png"), np.array([BOX]), complete=False)]
    convert(made, "coco", tmp_path / "coco")
    found = read_source(str(tmp_path / "coco"))[0][0]
    assert found.boxes.tolist() == [BOX, [0, 0, WIDTH, HEIGHT]] and found.ignore.tolist() == [False, True]


def _coco(**more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [20, 30, 40, 50], **more}


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["nose_tip", "left_eye", "right_eye", "mouth_left_corner", "Mouth-Right"], [1, 2, 0, 3, 4]),
        (["mouth_right", "mouth_left", "nose", "eye_right", "eye_left"], [4, 3, 2, 1, 0]),
        (["nose", "left_eye", "right_eye", "left_ear", "right_ear"], None),  # COCO's own
        (["0", "1", "2", "3", "4"], None),
    ],
)
def test_key_points_of_coco_are_known_by_name(tmp_path: Path, names: list[str], order: list[int] | None) -> None:
    points = [float(value) for i in range(5) for value in (10 + i, 20 + i, 2)]
    body = {
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "face", "keypoints": names}],
        "annotations": [_coco(keypoints=points)],
    }
    photo(tmp_path / "images/1.png")
    import json

    (tmp_path / "faces.json").write_text(json.dumps(body))
    (record,), problems = read_source(f"coco:{tmp_path / 'faces.json'}")
    if order is None:
        assert np.isnan(record.landmarks).all() and len(record.boxes) == 1
        (problem,) = problems
        assert f"key points of face are {', '.join(names)}; expected left_eye, right_eye, nose" in str(problem)
    else:
        wanted = np.array(points).reshape(5, 3)[order, :2]
        np.testing.assert_array_equal(record.landmarks[0], wanted)
        assert problems == []


def test_coco_crowds_categories_and_points_by_name(tmp_path: Path) -> None:
    """Run-length masks and crowds are ignored; key points are found by their names, in any order."""
    import json

    names = ["nose", "left_eye", "right_eye", "right_mouth", "left_mouth"]
    order = (2, 0, 1, 4, 3)
    points = [value for i in order for value in (*FIVE[i].tolist(), 2)]
    crowd = _coco(iscrowd=1, segmentation={"counts": [1, 2], "size": [HEIGHT, WIDTH]})
    body = {
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "head", "keypoints": names}, {"id": 2, "name": "dog"}],
        "annotations": [_coco(keypoints=points), crowd, _coco(category_id=2)],
    }
    photo(tmp_path / "train2017/1.png")
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations/instances_train2017.json"
    path.write_text(json.dumps(body))
    found, problems = read_source(f"coco:{path}::head")
    assert found[0].ignore.tolist() == [False, True]
    np.testing.assert_array_equal(found[0].landmarks[0], FIVE)
    assert [problem.why for problem in problems] == ["took head 2 for faces, left dog 1"]
    with pytest.raises(
        DataError, match="no object is named 'cat'; expected one of dog, head, as coco:PATH:IMAGES:NAME"
    ):
        read_source(f"coco:{path}::cat")


def test_yolo_names_its_folder_as_yaml_reads_it(tmp_path: Path) -> None:
    """Escapes of JSON in two halves, as for an emoji, are no letter in YAML."""
    folder = tmp_path / '\U0001f600 "a"'
    done = convert(records(tmp_path / "from")[:1], "yolo", folder, "leave")
    assert f'path: "{tmp_path}/\U0001f600 \\"a\\""\n' in done.path.read_text("utf-8")


def test_yolo_class_of_thousands_of_digits(tmp_path: Path) -> None:
    text = f"train: images\nnames:\n  {'9' * 5000}: dog\n  1: face\n"
    lay(tmp_path, {"images/1.png": "", "labels/1.txt": "1 .25 .5 .25 .5\n", "data.yaml": text})
    assert len(read_source(str(tmp_path))[0][0].boxes) == 1


YAMLS = {
    "lists": "train: images\nval: images\nnc: 2\nnames: ['dog', \"face\"]  # two\n",
    "mapping": "path: .\ntrain:\n  - images\nnames:\n  0: dog\n  1: face\n",
    "items": "train: ../images\nnames:\n- dog\n- face\n",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_yolo_class_names(tmp_path: Path, text: str) -> None:
    lay(tmp_path, {"images/1.png": "", "labels/1.txt": "0 .5 .5 .1 .1\n1 .25 .5 .25 .5\n", "data.yaml": text})
    found, problems = read_source(str(tmp_path))
    assert found[0].boxes.tolist() == [[20, 30, 60, 90]]
    assert [problem.why for problem in problems] == ["took face 1 for faces, left dog 1"]


def test_yolo_splits_points_and_polygons(tmp_path: Path) -> None:
    five = " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in FIVE)
    rows_ = f"0 .25 .5 .25 .5 {five}\n0 .25 .25 .5 .25 .5 .75\n0 .25 .5 .25 .5 .875\n"
    for split in ("train", "val"):
        lay(tmp_path, {f"images/{split}/1.png": "", f"labels/{split}/1.txt": rows_})
    found, problems = read_source(str(tmp_path))
    assert [record.path.parent.name for record in found] == ["train"]
    assert "took the photos of train, left those of val" in str(problems[0])
    assert found[0].boxes.tolist() == [[20, 30, 60, 90], [40, 30, 80, 90], [20, 30, 60, 90]]
    np.testing.assert_allclose(found[0].landmarks[0], FIVE, atol=1e-3)
    assert found[0].scores is not None and found[0].scores.tolist() == [1, 1, 0.875]
    val, _ = read_source(f"yolo:{tmp_path / 'labels' / 'val'}")
    assert [record.path.parent.name for record in val] == ["val"]


SEVEN = "0 .5 .5 .6 .5 .7 .6 .7 .8 .6 .9 .5 .9 .4 .7"  # corners of a polygon
THREE = "0 .25 .25 .5 .25 .5 .75"
POINTS = "0 .25 .5 .25 .5 .2 .4 .3 .4 .25 .5 .2 .6 .3 .6"  # a box and five points, in as many values


@pytest.mark.parametrize(
    ("rows_", "yaml", "boxes", "score", "noted"),
    [
        ([POINTS], None, [[20, 30, 60, 90]], 1.0, False),
        ([f"{POINTS} .5"], None, [[20, 30, 60, 90]], 0.5, False),
        ([POINTS.replace(".2 .4", "-1 -1")], None, [[20, 30, 60, 90]], 1.0, False),
        ([SEVEN], None, [[64, 60, 112, 108]], 1.0, True),
        ([POINTS, THREE, THREE], None, [[32, 48, 48, 72], [40, 30, 80, 90], [40, 30, 80, 90]], 1.0, True),
        ([POINTS], "train: images\nkpt_shape: [5, 2]\n", [[20, 30, 60, 90]], 1.0, False),
        ([SEVEN], "train: images\nkpt_shape: [5, 2]\n", [[32, 30, 128, 90]], 1.0, False),  # as it says
        (["0 .25 .5 .25 .5 " + " ".join([".2 .4 .9"] * 5) + " .75"], None, [[20, 30, 60, 90]], 0.75, False),
        (["0 " + " ".join([".6 .7", ".9 .8"] * 5)], None, [[96, 84, 144, 96]], 1.0, True),
    ],
)
def test_yolo_polygons_of_as_many_values_as_key_points(
    tmp_path: Path, rows_: list[str], yaml: str | None, boxes: list[list[float]], score: float, noted: bool
) -> None:
    """Without kpt_shape, the other rows tell, and whether the points lie in the box."""
    lay(tmp_path, {"images/1.png": "", "labels/1.txt": "\n".join([*rows_, "0 .5 .5 .1 .1"])})
    if yaml is not None:
        lay(tmp_path, {"data.yaml": yaml})
    (record,), problems = read_source(str(tmp_path))
    np.testing.assert_allclose(record.boxes, np.array([*boxes, [72, 54, 88, 66]]), atol=1e-3)
    scores = np.ones(1) if record.scores is None else record.scores
    assert record.complete and scores[0] == score
    assert any("read as polygons" in problem.why for problem in problems) is noted


def test_wider_as_it_unzips_leaves_the_validation_photos(tmp_path: Path) -> None:
    for split in ("train", "val"):
        labels = {f"wider_face_split/wider_face_{split}_bbx_gt.txt": "a/1.png\n1\n20 30 40 50 0 0 0 0 0 0\n"}
        lay(tmp_path, {f"WIDER_{split}/images/a/1.png": "", **labels})
    found, problems = read_source(str(tmp_path))
    assert [record.path.parent.parent.parent.name for record in found] == ["WIDER_train"]
    assert [problem.why for problem in problems] == ["read wider_face_train_bbx_gt.txt, left wider_face_val_bbx_gt.txt"]


@pytest.mark.parametrize(("spec", "images", "names"), [
    ("coco:C:\\a\\x.json:D:\\photos:face,head", "D:\\photos", "face,head"),
    ("coco:C:\\a\\x.json:D:\\photos", "D:\\photos", ""),
    ("coco:C:\\a\\x.json::face", "", "face"),
    ("yolo:C:/a::face", "", "face"),
    ("labelme:C:/a", "", ""),
])  # fmt: skip
def test_drive_letters_of_windows(spec: str, images: str, names: str) -> None:
    form, path, rest = split_source(spec, drives=True)
    assert (form, path) == (spec.partition(":")[0], "C:\\a\\x.json" if form == "coco" else "C:/a")
    assert split_names(form, rest) == (images, names)


def test_labels_in_two_formats_are_an_error(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": BAD["labelv2"][0]["x.txt"], "b.csv": BAD["csv"][0]["x.csv"]})
    with pytest.raises(
        DataError, match=r"labels in two formats, labelv2 \(a.txt\) and csv \(b.csv\); name FORMAT:PATH"
    ):
        read_source(str(tmp_path))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nested": lambda: b'{"images": ' + b"[" * 100_000,
    "digits": lambda: b'{"images": [{"id": ' + b"9" * 10_000 + b"}]}",
    "types": lambda: (
        b'{"images": [1, null, {"id": [], "file_name": 3}], "categories": [[], {"id": {}}], '
        b'"annotations": [7, {"image_id": [1], "category_id": []}]}'
    ),
    "keys": lambda: b'{"images": {}, "categories": [], "annotations": []}',
    "list": lambda: b"[1, 2]",
    "bytes": lambda: bytes(range(256)),
    "shapes": lambda: b'{"version": 1, "imagePath": [], "shapes": [{"points": "x", "group_id": []}, 3]}',
    "infinite": lambda: (
        b'{"images": [{"id": 1, "file_name": "1.png", "width": 1e999, "height": NaN}], "categories": '
        b'[{"id": 1, "name": "face"}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [NaN, 1, 1e999, 2]}]}'
    ),
}


@pytest.mark.parametrize("form", ["coco", "labelme"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_one_line(tmp_path: Path, form: str, text: Callable[[], bytes]) -> None:
    photo(tmp_path / "1.png")
    (tmp_path / "x.json").write_bytes(text())
    path = tmp_path if form == "labelme" else tmp_path / "x.json"
    try:
        found, problems = READERS[form](path)
    except DataError as error:
        lines = str(error).splitlines()
    else:
        lines = [""]
        assert problems and not any(len(record.boxes) for record in found)
    assert len(lines) == 1


PAGE = ROOT / "docs" / "data.md"


def documented() -> list[list[str]]:
    """The rows of the page's table of formats, as cells."""
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [[name, *(cell.strip() for cell in rest.split("|"))] for name, rest in lines]


def test_the_table_of_the_page() -> None:
    """`mtcnn data convert` writes those with a folder of photos."""
    found = {name: cells for name, *cells in documented()}
    assert [*found] == sorted(READERS)
    yes = {True: "yes", False: "no"}
    for form, kind in FORMATS.items():
        wanted = [yes[kind.landmarks], yes[kind.ignored], yes[kind.scores]]
        assert found[form][1:4] == wanted and found[form][4] == f"`{kind.photos}`", form
    assert {form for form, cells in found.items() if cells[4] == "not written"} == {*READERS} - {*FORMATS}


def examples() -> dict[str, str]:
    """The page's example of each format, by name."""
    page = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^### `(\w+)`.*?^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL))


PLACES = {
    "celeba": ("Anno/list_bbox_celeba.txt", "img_celeba/000001.png"),
    "coco": ("coco.json", "images/party/1.png"),
    "csv": ("labels.csv", "images/party/1.png"),
    "labelme": ("party/1.json", "party/1.png"),
    "labelv2": ("labelv2.txt", "images/party/1.png"),
    "retinaface": ("label.txt", "images/party/1.png"),
    "voc": ("Annotations/party/1.xml", "JPEGImages/party/1.png"),
    "wider": ("wider_face_split/wider_face_train_bbx_gt.txt", "WIDER_train/images/party/1.png"),
    "yolo": ("labels/party/1.txt", "images/party/1.png"),
}


@pytest.mark.parametrize("form", FORMS)
def test_examples_of_the_page_are_read(tmp_path: Path, form: str) -> None:
    """All describe the same face."""
    labels, picture = PLACES[form]
    text = examples()[form].replace(".jpg", ".png")
    assert len(text.splitlines()) <= 5, form
    lay(tmp_path, {labels: text, picture: ""})
    assert form_of(str(tmp_path)) == form
    found, problems = read_source(str(tmp_path))
    assert [problem for problem in problems if not isinstance(problem, Note)] == []
    np.testing.assert_allclose(found[0].boxes[:1], [[20, 30, 60, 80]], atol=0.02)
    if FORMATS[form].landmarks and form != "celeba":
        wanted = [[30, 45], [50, 45], [40, 55], [32, 68], [48, 68]]
        np.testing.assert_allclose(found[0].landmarks[0], wanted, atol=0.02)
