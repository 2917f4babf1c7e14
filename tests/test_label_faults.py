"""Labels with faults that would teach faces as background: photos named twice, labels of no known photo or class."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn.errors import DataError
from mtcnn.pictures.draw import save_image
from mtcnn.types import ImageSize
from prepare.joined_records import joined_repeats
from prepare.readers import form_of, read_source
from prepare.records import ImageRecord, Note
from prepare.sources import read_sources, remember_sources

HEIGHT, WIDTH = 120, 160


def lay(folder: Path, files: dict[str, Any]) -> Path:
    """Files with these texts, or JSON; of the names of pictures, black ones."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            save_image(folder / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        else:
            (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return folder


def coco(*annotations: Any, images: Any = None, categories: Any = None) -> dict[str, Any]:
    """One photo, 1.png, and one category, both of id 1, if no others are given."""
    images = [{"id": 1, "file_name": "1.png"}] if images is None else images
    return {
        "images": images,
        "categories": [{"id": 1, "name": "face"}] if categories is None else categories,
        "annotations": list(annotations),
    }


def face(**more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [20, 30, 40, 50], **more}


# ---- photos named twice, with a face at each place

_XML = (
    "<annotation><filename>1.png</filename><object><name>face</name><bndbox><xmin>{}</xmin><ymin>31</ymin>"
    "<xmax>{}</xmax><ymax>80</ymax></bndbox></object></annotation>"
)
_ROWS = "20 30 40 50 0 0 0 0 0 0", "90 30 40 50 0 0 0 0 0 0"


def _shapes(x: int) -> dict[str, Any]:
    shape = {"label": "face", "shape_type": "rectangle", "points": [[x, 30], [x + 40, 80]]}
    return {"version": "5", "imagePath": "1.png", "shapes": [shape]}


TWICE: dict[str, dict[str, Any]] = {
    "coco": {
        "x.json": coco(
            face(), face(image_id=2, bbox=[90, 30, 40, 50]),
            images=[{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "1.png"}],
        ),
        "images/1.png": "",
    },
    "labelme": {"a.json": _shapes(20), "b.json": _shapes(90), "1.png": ""},
    "labelv2": {"x.txt": "# 1.png 160 120\n20 30 60 80\n# 1.png 160 120\n90 30 130 80\n", "images/1.png": ""},
    "retinaface": {"x.txt": "# 1.png\n20 30 40 50\n# 1.png\n90 30 40 50\n", "images/1.png": ""},
    "voc": {"a.xml": _XML.format(21, 60), "b.xml": _XML.format(91, 130), "1.png": ""},
    "wider": {"x.txt": f"1.png\n1\n{_ROWS[0]}\n1.png\n1\n{_ROWS[1]}\n", "images/1.png": ""},
}  # fmt: skip


@pytest.mark.parametrize("form", TWICE)
def test_labels_of_a_photo_named_twice_are_joined(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lay(tmp_path, TWICE[form])
    (record,) = read_sources([str(tmp_path)], quiet=True)
    assert record.boxes.tolist() == [[20, 30, 60, 80], [90, 30, 130, 80]] and record.complete
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": 1 photos are named more than once; their labels are joined")


def test_a_folder_of_several_parts_joins_too(tmp_path: Path) -> None:
    rows = f"1.png\n1\n{_ROWS[0]}\n1.png\n1\n{_ROWS[1]}\n"
    lay(tmp_path, {"wider/wider_face_train_bbx_gt.txt": rows, "wider/train/images/1.png": "", "negatives/2.png": ""})
    found, problems = read_source(str(tmp_path))
    assert [len(record.boxes) for record in found] == [2, 0]
    assert [isinstance(problem, Note) for problem in problems] == [True]


def test_a_photo_of_which_one_part_is_bad_is_incomplete(tmp_path: Path) -> None:
    """The face that is left out stands in neither part."""
    lay(tmp_path, {"x.txt": f"1.png\n1\n{_ROWS[0]}\n1.png\n1\n90 30 40\n", "images/1.png": ""})
    (record,), _ = read_source(str(tmp_path))
    assert record.boxes.tolist() == [[20, 30, 60, 80]] and not record.complete


def test_a_photo_of_which_one_count_is_wrong_is_incomplete(tmp_path: Path) -> None:
    rows = f"1.png\n1\n{_ROWS[0]}\n1.png\n3\n{_ROWS[1]}\n2.png\n1\n{_ROWS[0]}\n"
    lay(tmp_path, {"x.txt": rows, "images/1.png": "", "images/2.png": ""})
    found, _ = read_source(str(tmp_path))
    assert [(len(record.boxes), record.complete) for record in found] == [(1, False), (1, True)]


def test_labels_for_two_sizes_of_a_photo_stay_apart(tmp_path: Path) -> None:
    path, box = tmp_path / "1.png", np.array([[20, 30, 60, 80]])
    given = [ImageRecord(path, box, size=ImageSize(*size)) for size in ((120, 160), (240, 320))]
    found, repeats = joined_repeats(given)
    assert repeats == 1 and [(record.complete, record.size) for record in found] == [
        (False, ImageSize(120, 160)), (False, ImageSize(240, 320)),
    ]  # fmt: skip


def test_photos_named_once_stay_as_they_are(tmp_path: Path) -> None:
    """The very records, so that the key of the data stays the same; and rows of points stay apart."""
    given = [ImageRecord(tmp_path / name) for name in ("b.png", "a.png")]
    found, repeats = joined_repeats(given)
    assert repeats == 0 and all(one is other for one, other in zip(found, given, strict=True))
    columns = [f"{axis}_{point}" for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
               for axis in "xy"]  # fmt: skip
    row = "1.png,,,,,30,45,50,45,40,55,32,68,48,68\n"
    lay(tmp_path, {"p.csv": f"path,x1,y1,x2,y2,{','.join(columns)}\n{row}{row}", "1.png": ""})
    rows, problems = read_source(f"points:{tmp_path / 'p.csv'}")
    assert len(rows) == 2 and problems == []


# ---- annotations of COCO that name no known image or category

TWO_IMAGES = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
GOOD = face(image_id=2)


def read_coco(folder: Path, body: dict[str, Any]) -> tuple[list[ImageRecord], list[str], list[str]]:
    """The records, problems and notes of a file beside two photos."""
    lay(folder, {"x.json": body, "1.png": "", "2.png": ""})
    found, problems = read_source(f"coco:{folder / 'x.json'}")
    texts = {kind: [each.why for each in problems if isinstance(each, Note) is kind] for kind in (True, False)}
    return found, texts[False], texts[True]


@pytest.mark.parametrize(
    ("bad", "complete", "why"),
    [
        (face(category_id=7), False, "category_id is 7, no id of a category in the file; face left out"),
        (face(category_id="1"), False, "category_id is '1', no id of a category in the file; face left out"),
        (face(category_id=True), False, "category_id is True, no id of a category in the file; face left out"),
        (face(image_id="1"), True, "1 annotations of no image in the file left out, such as 1: image_id is '1', "
                                   "no id of an image in the file"),
        ({"category_id": 1}, True, "1 annotations of no image in the file left out, such as 1: image_id is missing, "
                                   "no id of an image in the file"),
        (face(image_id=[1]), True, "1 annotations of no image in the file left out, such as 1: image_id is [1], "
                                   "no id of an image in the file"),
        (3, True, "1 annotations of no image in the file left out, such as 1: is '3', expected an object"),
    ],
)  # fmt: skip
def test_a_bad_annotation_is_reported_and_its_photo_incomplete(
    tmp_path: Path, bad: Any, complete: bool, why: str
) -> None:
    """And alone it is an error: its photo would be one without faces."""
    found, problems, _ = read_coco(tmp_path, coco(bad, GOOD, images=TWO_IMAGES))
    assert [record.complete for record in found] == [complete, True] and problems == [why]
    assert [len(record.boxes) for record in found] == [0, 1]
    with pytest.raises(DataError, match=r"x\.json: none of its 1 annotations can be used; of annotation 1, ") as error:
        read_coco(tmp_path, coco(bad, images=TWO_IMAGES))
    assert "\n" not in str(error.value)


def test_annotations_without_categories_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of its 2 annotations can be used; of annotation 1, category_id is 1, no"):
        read_coco(tmp_path, coco(face(), GOOD, images=TWO_IMAGES, categories=[]))


def test_a_file_without_annotations_has_photos_without_faces(tmp_path: Path) -> None:
    found, problems, _ = read_coco(tmp_path, coco(images=TWO_IMAGES, categories=[]))
    assert [record.complete for record in found] == [True, True] and problems == []


def test_whole_numbers_may_be_written_as_floats(tmp_path: Path) -> None:
    images = [{"id": 1.0, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
    body = coco(face(category_id=1.0), face(image_id=2.0), images=images)
    found, problems, _ = read_coco(tmp_path, body)
    assert [(len(record.boxes), record.complete) for record in found] == [(1, True)] * 2 and problems == []


def test_two_images_of_one_id_are_incomplete(tmp_path: Path) -> None:
    """Whose the faces are is unknown. Of one file name, they are one image."""
    images = [{"id": 1, "file_name": "1.png"}, {"id": 1, "file_name": "2.png"}, {"id": 2, "file_name": "3.png"}]
    lay(tmp_path, {"3.png": ""})
    found, problems, _ = read_coco(tmp_path, coco(face(), GOOD, images=images))
    assert [(len(record.boxes), record.complete) for record in found] == [(0, False), (0, False), (1, True)]
    assert problems[0] == "has the id of another image, 1; their annotations are left out" and len(problems) == 3
    found, problems, _ = read_coco(tmp_path, coco(face(), images=[TWO_IMAGES[0], TWO_IMAGES[0]]))
    assert [(len(record.boxes), record.complete) for record in found] == [(1, True)] and len(problems) == 1


def test_other_categories_leave_a_photo_complete(tmp_path: Path) -> None:
    kinds = [{"id": 1, "name": "face"}, {"id": 3, "name": "dog"}]
    found, problems, _ = read_coco(tmp_path, coco(face(category_id=3), GOOD, images=TWO_IMAGES, categories=kinds))
    assert [(len(record.boxes), record.complete) for record in found] == [(0, True), (1, True)] and problems == []


# ---- key points of COCO

FIVE = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]


@pytest.mark.parametrize("count", [5, 6, 7])
def test_more_names_than_key_points(tmp_path: Path, count: int) -> None:
    kinds = [{"id": 1, "name": "face", "keypoints": [*(f"ear{i}" for i in range(count - 5)), *FIVE]}]
    (record, _), problems, notes = read_coco(
        tmp_path, coco(face(keypoints=[10, 20, 2] * 5), GOOD, images=TWO_IMAGES, categories=kinds)
    )
    assert np.isfinite(record.landmarks).all() == (count == 5)
    assert len(record.boxes) == 1 and record.complete and problems == notes == []


@pytest.mark.parametrize("count", [4, 5, 17, 65])
def test_key_points_without_names(tmp_path: Path, count: int) -> None:
    body = coco(face(keypoints=[10, 20, 2] * count), face(image_id=2, keypoints=[]), images=TWO_IMAGES)
    (record, _), problems, notes = read_coco(tmp_path, body)
    assert np.isfinite(record.landmarks).all() == (count == 5) and record.complete and problems == []
    why = "1 annotations have key points without names, and not five; their landmarks are not read"
    assert notes == ([] if count == 5 else [why])


# ---- YOLO


def yolo(folder: Path, **more: Any) -> Path:
    """Two photos with a dog and a face each."""
    rows = "0 .5 .5 .1 .1\n1 .25 .5 .25 .5\n"
    return lay(folder, {f"{part}/{name}.{end}": text for name in "ab" for part, end, text in
                        (("images", "png", ""), ("labels", "txt", rows))} | more)  # fmt: skip


def test_listed_photos_that_are_not_there_are_reported(tmp_path: Path) -> None:
    names = "names: [dog, face]\n"
    yolo(tmp_path, **{"data.yaml": f"train: t.txt\n{names}", "t.txt": "images/a.png\n\n./images/9.jpg\nimages/8.jpg\n"})
    found, problems = read_source(str(tmp_path))
    assert [record.path.name for record in found] == ["a.png"]
    assert problems[0].why == "2 of 3 photos of t.txt are not there, such as ./images/9.jpg"
    lay(tmp_path, {"data.yaml": f"train: [images, more]\n{names}"})
    found, problems = read_source(str(tmp_path))
    assert len(found) == 2 and problems[0].why == "more is no folder and no list of photos (.txt) that is there"
    lay(tmp_path, {"data.yaml": f"train: t.txt\n{names}", "t.txt": "images/9.jpg\n"})
    with pytest.raises(DataError, match=r"names no photo that is there.*; 1 of 1 photos of t.txt are not there"):
        read_source(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        "names: [\n  'dog',  # not a [ face\n  \"face\",\n]\nnc: 2\n",
        "names: ['dog',\n'face']\n",
        "names:\n  [dog,\n   face]\n",
        "names: {0: dog,\n  1: face}\n",
        "names: {\n0: 'dog'\n,\n1: face\n}\n",
        "names: [dog, face, don't, 'a]', \"[b\"]\n",
    ],
)
def test_class_names_over_several_lines(tmp_path: Path, names: str) -> None:
    yolo(tmp_path, **{"data.yaml": f"{names}train: images\n"})
    found, problems = read_source(str(tmp_path))
    assert [len(record.boxes) for record in found] == [1, 1]
    assert [problem.why for problem in problems] == ["took face 2 for faces, left dog 2"]


@pytest.mark.parametrize(("text", "close"), [("['dog',", "]"), ("{0: dog, 1: face", "}")])
def test_class_names_that_never_close(tmp_path: Path, text: str, close: str) -> None:
    yolo(tmp_path, **{"data.yaml": f"train: images\nnames: {text}\nnc: 2\n"})
    with pytest.raises(DataError, match=r"'names' begins with .*, which never closes; expected ") as error:
        read_source(str(tmp_path))
    assert str(error.value).endswith(repr(close)) and "data.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_list_without_end_is_not_read_to_the_end(tmp_path: Path) -> None:
    yolo(tmp_path, **{"data.yaml": "names: [\n" + "'a',\n" * 50_000})
    with pytest.raises(DataError, match="which never closes"):
        read_source(str(tmp_path))


# ---- sources that cannot be paths


LONG = "x" * 5000


@pytest.mark.parametrize(
    "spec",
    [
        "~nosuchuser/x", "wider:~nosuchuser/x", "coco:x.json:~nosuchuser/x", "coco:x.json:~nosuchuser:face",
        LONG, f"wider:{LONG}", f"voc:x:{LONG}", f"voc:x:{LONG}:face", "wider:a\0b", f"wider:{'y/' * 3000}",
    ],
)  # fmt: skip
def test_what_cannot_be_a_path_is_one_line(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: read_source(spec), lambda: remember_sources(tmp_path, [spec])):
        with pytest.raises(DataError, match=r"cannot be looked up .*; expected the path of a file or folder") as error:
            call()
        assert "\n" not in str(error.value) and len(str(error.value)) < 250
    if spec in (LONG, "~nosuchuser/x"):
        with pytest.raises(DataError, match="cannot be looked up"):
            form_of(spec)


def test_many_class_names_are_no_path(tmp_path: Path) -> None:
    """Longer together than the name of a file may be."""
    lay(tmp_path, {"x.json": coco(face()), "1.png": ""})
    with pytest.raises(DataError, match="no object is named"):
        read_source(f"coco:{tmp_path / 'x.json'}::face,{LONG}")


# ---- tables


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["path x1 y1 x2 y2 class", "Path X1 Y1 X2 Y2 Class", "path_ _x1 y1_ x2 y2 class_"])
def test_headers_in_other_ways(tmp_path: Path, header: str, separator: str) -> None:
    words = [word.replace("_", " ") for word in header.split(" ")]
    rows = [words, ["1.png", "20", "30", "60", "80", "face"], ["1.png", "20", "30", "60", "80", "dog"]]
    lay(tmp_path, {"t.csv": "".join(f"{separator.join(row)}\n" for row in rows), "1.png": ""})
    (record,), problems = read_source(str(tmp_path))
    assert record.boxes.tolist() == [[20, 30, 60, 80]]
    assert [problem.why for problem in problems] == ["took face 1 for faces, left dog 1"]


def test_an_unknown_header_is_shown(tmp_path: Path) -> None:
    lay(tmp_path, {"t.csv": f"Photo;left;top;{LONG}\n", "1.png": ""})
    with pytest.raises(DataError, match=r"in line 1, 'Photo;left;top;x{65}'; expected path x1 y1 x2 y2"):
        read_source(f"csv:{tmp_path / 't.csv'}")
    with pytest.raises(DataError, match=r"has no column 'path' in line 1, 'Photo;left;top;x{65}'; expected path x1"):
        read_source(f"{tmp_path / 't.csv'}")


@pytest.mark.parametrize("name", ["x1", "path", "Y2", " score"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    """The later would replace the earlier."""
    lay(tmp_path, {"t.csv": f"path,x1,y1,x2,y2,score,{name},,\n1.png,20,30,60,80,1,5,,\n", "1.png": ""})
    with pytest.raises(DataError, match=f"has 2 columns '{name.strip().lower()}'; expected each name once in line 1"):
        read_source(str(tmp_path))


def test_two_columns_that_are_not_read(tmp_path: Path) -> None:
    lay(tmp_path, {"t.csv": "path,x1,y1,x2,y2,,\n1.png,20,30,60,80,,\n", "1.png": ""})
    assert len(read_source(str(tmp_path))[0][0].boxes) == 1


@pytest.mark.parametrize("separator", [",", ";"])
def test_points_in_other_ways_are_points(tmp_path: Path, separator: str) -> None:
    """As a table of all faces, its photos would give background."""
    words = ["Path", "x1", "y1", "x2", "y2", *(f"{axis}_{point} " for point in FIVE for axis in "xy")]
    rows = [words, ["1.png", *["20", "30", "60", "80", "30", "45", "50", "45", "40", "55", "32", "68", "48", "68"]]]
    lay(tmp_path, {"t.csv": "".join(f"{separator.join(row)}\n" for row in rows), "1.png": ""})
    (record,), problems = read_source(str(tmp_path))
    assert problems == [] and not record.complete and np.isfinite(record.landmarks).all()
    lay(tmp_path, {"t.csv": "".join(f"{separator.join([*row, row[1]])}\n" for row in rows)})
    with pytest.raises(DataError, match="has 2 columns 'x1'"):
        read_source(str(tmp_path))


def test_two_categories_of_one_id(tmp_path: Path) -> None:
    """Which of them an annotation means is unknown; if both are the same, nothing is."""
    kinds = [{"id": 1, "name": "face"}, {"id": 2, "name": "face"}, {"id": 1, "name": "dog"}]
    body = coco(face(), face(image_id=2, category_id=2), images=TWO_IMAGES, categories=kinds)
    found, problems, _ = read_coco(tmp_path, body)
    assert [(len(record.boxes), record.complete) for record in found] == [(0, False), (1, True)]
    assert problems == ["category_id 1 is that of two categories; face left out"]
    with pytest.raises(DataError, match=r"none of its 1 annotations can be used; .* is that of two categories"):
        read_coco(tmp_path, coco(face(), images=TWO_IMAGES, categories=kinds))
    found, problems, _ = read_coco(tmp_path, coco(face(), images=TWO_IMAGES, categories=[kinds[0], kinds[0]]))
    assert [len(record.boxes) for record in found] == [1, 0] and problems == []


def test_a_polygon_with_half_a_corner(tmp_path: Path) -> None:
    lay(tmp_path, {"images/1.png": "", "labels/1.txt": "0 .1 .1 .2 .1 .2 .2 .1\n0 .5 .5 .2 .2\n"})
    found, problems = read_source(f"yolo:{tmp_path}")
    assert [(len(record.boxes), record.complete) for record in found] == [(1, False)]
    assert str(problems[0]).endswith(
        "1.txt:1: 8 values in the row, expected 5, 6 with a score, 15 with key points, or a class and the x and y of a "
        "polygon's corners; face left out"
    )


def test_a_photo_in_two_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Its labels are joined: each would take the faces of the other for background."""
    row = "images/{}.png\n1\n{} 30 40 50 0 0 0 0 0 0\n"
    labels = {"a.txt": row.format(1, 20) + row.format(2, 20), "b.txt": row.format(3, 20) + row.format(1, 70)}
    lay(tmp_path, {**{f"images/{name}.png": "" for name in (1, 2, 3)}, **labels})
    monkeypatch.chdir(tmp_path)
    first, second = "wider:a.txt:.", f"wider:{tmp_path / 'b.txt'}:{tmp_path}"
    found = read_sources([first, second])
    assert [record.path.name for record in found] == ["1.png", "2.png", "3.png"]
    assert [record.boxes[:, 0].tolist() for record in found] == [[20, 70], [20], [20]]
    assert "1 photos are in more than one source; their labels are joined" in capsys.readouterr().err
    assert len(read_sources([first, first])[0].boxes) == 1
    assert len(read_sources([first])) == 2
    assert len(read_sources(["synthetic:2", "synthetic:3"])) == 3


@pytest.mark.parametrize("name", ["images/./1.png", "images/../images/1.png", "links/1.png", "all/1.png"])
def test_a_photo_by_two_names(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one label file or in two."""
    rows = [f"images/1.png\n1\n20 30 40 50 {'0 ' * 6}\n", f"{name}\n1\n70 30 40 50 {'0 ' * 6}\n"]
    lay(tmp_path, {"images/1.png": "", "a.txt": rows[0], "b.txt": rows[1], "both.txt": rows[0] + rows[1]})
    (tmp_path / "links").mkdir()
    (tmp_path / "links/1.png").symlink_to("../images/1.png")
    (tmp_path / "all").symlink_to("images")
    for specs in (["a.txt", "b.txt"], ["both.txt"]):
        (record,) = read_sources([f"wider:{tmp_path / spec}:{tmp_path}" for spec in specs])
        assert record.boxes[:, 0].tolist() == [20, 70]
        assert record.path == tmp_path / "images/1.png"
        assert "their labels are joined" in capsys.readouterr().err


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_that_an_archive_has_split(tmp_path: Path, forms: Any) -> None:
    written, stored = (unicodedata.normalize(form, "Zoë/caf\u00e9") for form in forms)
    lay(tmp_path, {f"{stored}.png": "", "l.txt": f"{written}.jpg\n1\n20 30 40 50 {'0 ' * 6}\n"})
    (record,) = read_sources([f"wider:{tmp_path / 'l.txt'}:{tmp_path}"])
    assert record.path.is_file()
