"""Readers of label formats: records are correct; invalid rows are reported with their line and skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtcnn.errors import DataError
from mtcnn.images import SUFFIXES
from prepare.readers import READERS, fddb, negatives, points, read_source, retinaface, split_source, voc, wider
from prepare.records import ImageRecord, Problem

Reading = tuple[list[ImageRecord], list[Problem]]


def touch(folder: Path, *names: str) -> Path:
    """Empty image files: a reader must not open them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def boxes_of(record: ImageRecord) -> Any:
    return record.boxes.tolist()


class TestWider:
    def read(self, tmp_path: Path, text: str) -> Reading:
        touch(tmp_path / "images", "a/1.jpg", "a/2.jpg", "a/3.jpg")
        return wider.read(write(tmp_path / "labels.txt", text))

    def test_official_format(self, tmp_path: Path) -> None:
        text = (
            "a/1.jpg\n2\n10 20 30 40 0 0 0 0 0 0 \n5 6 7 8 2 0 0 1 2 1\n"
            "a/2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\na/3.jpg\n1\n1 2 3 4\n"
        )
        found, problems = self.read(tmp_path, text)
        assert problems == []
        assert [record.path for record in found] == [tmp_path / "images" / f"a/{n}.jpg" for n in (1, 2, 3)]
        assert boxes_of(found[0]) == [[10, 20, 40, 60], [5, 6, 12, 14]]
        assert found[0].ignore.tolist() == [False, True]
        assert found[1].boxes.shape == (0, 4)
        assert boxes_of(found[2]) == [[1, 2, 4, 6]]
        assert all(record.complete for record in found)
        assert np.isnan(found[0].landmarks).all()

    def test_boxes_without_size_are_summed_up(self, tmp_path: Path) -> None:
        rows = "1 2 0 3 0 0 0 0 0 0\n1 2 2 0 0 0 0 0 0 0\n1 2 5 5 0 0 0 0 0 0\n"
        found, problems = self.read(tmp_path, f"a/1.jpg\n3\n{rows}a/2.jpg\n1\n1 1 0 4 0 0 0 0 0 0\n")
        assert [len(record.boxes) for record in found] == [1, 0]
        assert [str(problem) for problem in problems] == [
            f"{tmp_path / 'labels.txt'}: 3 boxes without width or height dropped"
        ]
        assert [record.complete for record in found] == [True, False]  # a line of more than 3 pixels was a face

    def test_boxes_turned_inside_out_stay(self, tmp_path: Path) -> None:
        """For `fit`, which handles them."""
        found, problems = self.read(tmp_path, "a/1.jpg\n1\n5 9 -2 4 0 0 0 0 0 0\n")
        assert boxes_of(found[0]) == [[5, 9, 3, 13]] and problems == []

    @pytest.mark.parametrize(
        ("block", "line", "why"),
        [
            ("a/1.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", 1, "2 faces announced, 1 rows found"),
            ("a/1.jpg\n1\n1 2 3 4\n5 6 7 8\n", 1, "1 faces announced, 2 rows found"),
            ("a/1.jpg\n0\n1 2 3 4\n", 1, "0 faces announced, 1 rows found"),
            ("a/1.jpg\nmany\n1 2 3 4\n", 1, "'many' is not a face count"),
            ("a/1.jpg\n-1\n", 1, "'-1' is not a face count"),
            ("a/1.jpg\n", 1, "no face count"),
            ("a/9.jpg\n1\n1 2 3 4\n", 1, "no image 'a/9.jpg'"),
        ],
    )
    def test_a_bad_image_is_left_out_and_the_next_one_read(
        self, tmp_path: Path, block: str, line: int, why: str
    ) -> None:
        found, problems = self.read(tmp_path, block + "a/2.jpg\n1\n1 2 3 4\n")
        assert [record.path.name for record in found] == ["2.jpg"]
        assert len(problems) == 1
        assert problems[0].where == f"{tmp_path / 'labels.txt'}:{line}"
        assert why in problems[0].why

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ("1 2 x 4 0 0 0 0 0 0", "'x' is not a number"),
            ("1 2 nan 4 0 0 0 0 0 0", "'nan'"),
            ("1 2 1e39 4 0 0 0 0 0 0", "'1e39'"),
            ("1 2 3", "3 values in the row"),
        ],
    )
    def test_a_bad_row_makes_its_image_incomplete(self, tmp_path: Path, row: str, why: str) -> None:
        found, problems = self.read(tmp_path, f"a/1.jpg\n2\n1 2 3 4\n{row}\na/2.jpg\n1\n1 2 3 4\n")
        assert [record.complete for record in found] == [False, True]
        assert [len(record.boxes) for record in found] == [1, 1]
        assert [problem.where for problem in problems] == [f"{tmp_path / 'labels.txt'}:4"]
        assert why in problems[0].why

    def test_rows_before_the_first_name(self, tmp_path: Path) -> None:
        found, problems = self.read(tmp_path, "1 2 3 4\na/1.jpg\n0\n")
        assert len(found) == 1
        assert problems[0].where.endswith(":1")

    def test_re_encoded_images_are_found(self, tmp_path: Path) -> None:
        touch(tmp_path / "images", "b/x.y.webp", "b/z.PNG")
        found, problems = self.read(tmp_path, "b/x.y.jpg\n0\nb/z.jpg\n0\n")
        assert problems == []
        assert [record.path.name for record in found] == ["x.y.webp", "z.PNG"]

    def test_undecodable_bytes_are_reported(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.txt"
        touch(tmp_path / "images", "1.jpg")
        path.write_bytes(b"\xef\xbb\xbf1.jpg\r\n1\r\n1 2 3 4\r\n\xff\xfe.jpg\r\n0\r\n")
        found, problems = wider.read(path)
        assert boxes_of(found[0]) == [[1, 2, 4, 6]]
        assert [problem.where for problem in problems] == [f"{path}:4"]

    @pytest.mark.parametrize(
        ("labels", "images"),
        [
            ("wider_face_train_bbx_gt.txt", "train/images"),
            ("wider_face_split/wider_face_train_bbx_gt.txt", "WIDER_train/images"),
            ("wider_face_val_bbx_gt.txt", "WIDER_val/images"),
            ("wider_face_train_bbx_gt.txt", "images"),
        ],
    )
    def test_images_lie_in_the_usual_places(self, tmp_path: Path, labels: str, images: str) -> None:
        touch(tmp_path / images, "1.jpg")
        touch(tmp_path / "dev/images", "1.jpg")  # another split's
        found, _ = wider.read(write(tmp_path / labels, "1.jpg\n0\n"))
        assert found[0].path.samefile(tmp_path / images / "1.jpg")

    def test_missing_files_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nothing\.txt: no such label file"):
            wider.read(tmp_path / "nothing.txt")
        labels = write(tmp_path / "labels.txt", "a/1.jpg\n0\n")
        with pytest.raises(DataError, match="found no image folder"):
            wider.read(labels)
        with pytest.raises(DataError, match="photos: no such image folder"):
            wider.read(labels, tmp_path / "photos")
        with pytest.raises(DataError, match="names no image"):
            wider.read(write(tmp_path / "empty.txt", ""), tmp_path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=30), max_size=8))
def test_noise_in_a_block_never_shifts_the_next_image(tmp_path: Path, noise: list[str]) -> None:
    """Whatever follows the count of the first image, the second is read correctly, and every problem is reported."""
    noise = [line for line in noise if not line.strip().lower().endswith(SUFFIXES)]
    touch(tmp_path / "images", "1.jpg", "2.jpg")
    text = "\n".join(["1.jpg", "1", *noise, "2.jpg", "1", "1 2 3 4", ""])
    (tmp_path / "labels.txt").write_bytes(text.encode("utf-8", "replace"))
    found, problems = wider.read(tmp_path / "labels.txt")
    assert found[-1].path.name == "2.jpg"
    assert boxes_of(found[-1]) == [[1, 2, 4, 6]]
    assert len(found) == 2 or problems


FIVE = np.array([[488.9, 373.6], [542.1, 376.4], [515.0, 412.8], [485.2, 425.9], [538.4, 431.5]], np.float32)
FIVE_ROW = "488.9 373.6 0.0 542.1 376.4 0.0 515.0 412.8 1.0 485.2 425.9 0.0 538.4 431.5 0.0"


class TestRetinaface:
    def test_label_txt(self, tmp_path: Path) -> None:
        touch(tmp_path / "images", "a/1.jpg", "a/2.jpg")
        unknown = " ".join(["-1.0"] * 15)
        text = f"# a/1.jpg\n449 330 122 149 {FIVE_ROW} 0.82\n1 2 3 4 {unknown} 0.1\n# a/2.jpg\n1 2 3 4\n1 2 3 4 5\n"
        found, problems = retinaface.read(write(tmp_path / "label.txt", text))
        assert boxes_of(found[0]) == [[449, 330, 571, 479], [1, 2, 4, 6]]
        np.testing.assert_array_equal(found[0].landmarks[0], FIVE)
        assert np.isnan(found[0].landmarks[1]).all()
        assert boxes_of(found[1]) == [[1, 2, 4, 6]]
        assert [record.complete for record in found] == [True, False]
        assert [problem.where for problem in problems] == [f"{tmp_path / 'label.txt'}:6"]

    def test_labelv2_txt(self, tmp_path: Path) -> None:
        touch(tmp_path / "images", "a/1.jpg", "a/my photo.jpg")
        text = (
            f"# a/1.jpg 1024 1385\n449 330 571 479 {FIVE_ROW}\n1 2 3 4\n1 2 3 4 1\n1 2 3 4 0\n"
            "# a/my photo.jpg 10 10\n# a/1.jpg\n1 2 3 4\n"
        )
        found, problems = retinaface.read_labelv2(write(tmp_path / "labelv2.txt", text))
        assert [record.path.name for record in found] == ["1.jpg", "my photo.jpg"]
        assert boxes_of(found[0]) == [[449, 330, 571, 479], *[[1, 2, 3, 4]] * 3]
        assert found[0].ignore.tolist() == [False, False, True, False]
        np.testing.assert_array_equal(found[0].landmarks[0], FIVE)
        assert np.isnan(found[0].landmarks[1:]).all()
        assert [problem.where for problem in problems] == [f"{tmp_path / 'labelv2.txt'}:7"]

    def test_a_point_at_minus_one_is_known_if_only_its_place_is(self, tmp_path: Path) -> None:
        touch(tmp_path / "images", "1.jpg")
        row = "0 0 9 9 -1 -1 -1 -1 5 0 -1 -1 0 3 3 0 4 4 0 0.5"
        found, _ = retinaface.read(write(tmp_path / "label.txt", f"# 1.jpg\n{row}\n"))
        assert np.isnan(found[0].landmarks[0]).all(axis=1).tolist() == [True, False, False, False, False]
        assert found[0].landmarks[0, 1].tolist() == [-1, 5]


HEADER = ",".join(("path", *points.BOX_COLUMNS, *points.POINT_COLUMNS))


class TestPoints:
    def read(self, tmp_path: Path, rows: str, header: str = HEADER) -> Reading:
        touch(tmp_path / "faces", "1.jpg", "2.jpg")
        return points.read(write(tmp_path / "faces.csv", f"{header}\n{rows}"))

    def test_with_and_without_a_box(self, tmp_path: Path) -> None:
        found, problems = self.read(
            tmp_path, "faces/1.jpg,1,2,3,4,1,2,3,4,5,6,7,8,9,10\nfaces/2.jpg,,,,,1,2,3,4,5,6,7,8,9,10.5\n"
        )
        assert problems == []
        assert [record.path for record in found] == [tmp_path / "faces" / f"{n}.jpg" for n in (1, 2)]
        assert boxes_of(found[0]) == [[1, 2, 3, 4]]
        assert np.isnan(found[1].boxes).all()
        assert found[1].boxes.shape == (1, 4)
        assert found[1].landmarks.tolist() == [[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]]
        assert not any(record.complete for record in found)

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ("faces/1.jpg,1,2,3,4,1,2,3,4,5,6,7,8,9", "9 of the 10 values"),
            ("faces/1.jpg,1,,3,4,1,2,3,4,5,6,7,8,9,10", "3 of the 4 values x1 to y2"),
            ("faces/1.jpg,1,2,3,4,,,,,,,,,,", "no point"),
            ("faces/1.jpg,1,2,3,4,1,2,3,4,5,6,7,8,9,ten", "'ten' is not a number"),
            ("faces/9.jpg,1,2,3,4,1,2,3,4,5,6,7,8,9,10", "no image 'faces/9.jpg'"),
            ('"faces/1.jpg"x,1,2,3,4,1,2,3,4,5,6,7,8,9,10', "expected after"),
        ],
    )
    def test_a_bad_row_is_left_out(self, tmp_path: Path, row: str, why: str) -> None:
        found, problems = self.read(tmp_path, f"{row}\nfaces/2.jpg,,,,,1,2,3,4,5,6,7,8,9,10\n")
        assert [record.path.name for record in found] == ["2.jpg"]
        assert [problem.where for problem in problems] == [f"{tmp_path / 'faces.csv'}:2"]
        assert why in problems[0].why

    def test_an_open_quote_is_reported(self, tmp_path: Path) -> None:
        found, problems = self.read(tmp_path, '"faces/1.jpg,1,2\nfaces/2.jpg,,,,,1,2,3,4,5,6,7,8,9,10\n')
        assert found == []
        assert "unexpected end of data" in problems[0].why

    def test_a_missing_column_or_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has no column 'x_nose'"):
            self.read(tmp_path, "", HEADER.replace("x_nose", "nose"))
        with pytest.raises(DataError, match="no such file of points"):
            points.read(tmp_path / "nothing.csv")


def voc_xml(*objects: str, filename: str = "1.jpg") -> str:
    return f"<annotation><filename>{filename}</filename>{''.join(objects)}</annotation>"


def voc_object(corners: str = "1 2 30 40", name: str = "face", difficult: str = "0") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners.split(), strict=False))
    part = "<part><name>head</name><bndbox><xmin>7</xmin></bndbox></part>"
    return f"<object><name>{name}</name>{part}<difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


class TestVoc:
    def test_pixels_count_from_one_and_include_the_last(self, tmp_path: Path) -> None:
        touch(tmp_path, "JPEGImages/1.jpg")
        write(tmp_path / "Annotations/1.xml", voc_xml(voc_object(), voc_object("5 5 5 5", difficult="1")))
        found, problems = voc.read(tmp_path)
        assert problems == []
        assert found[0].path == tmp_path / "JPEGImages/1.jpg"
        assert boxes_of(found[0]) == [[0, 1, 30, 40], [4, 4, 5, 5]]
        assert found[0].ignore.tolist() == [False, True]

    def test_files_beside_images_and_names_to_keep(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/x.png", "b/2.jpg")
        write(tmp_path / "a/x.xml", voc_xml(voc_object(), voc_object(name="dog"), filename="C:\\labels\\gone.jpg"))
        write(tmp_path / "b/2.xml", voc_xml(filename=""))
        write(tmp_path / "b/3.xml", voc_xml(filename="D:\\photos\\2.jpg"))
        found, problems = voc.read(tmp_path, names={"face"})
        assert [problem.why for problem in problems] == ["took face 1 for faces, left dog 1"]
        assert [record.path.name for record in found] == ["x.png", "2.jpg", "2.jpg"]
        assert [len(record.boxes) for record in found] == [1, 0, 0]
        assert [len(record.boxes) for record in voc.read(tmp_path)[0]] == [1, 0, 0]
        assert [len(record.boxes) for record in voc.read(tmp_path, names={"face", "dog"})[0]] == [2, 0, 0]

    def test_names_without_face(self, tmp_path: Path) -> None:
        touch(tmp_path, "1.jpg")
        things = (
            voc_object(name="head"),
            voc_object(name="head"),
            voc_object(name="dog"),
            voc_object("1 2", name="cat"),
        )
        write(tmp_path / "1.xml", voc_xml(*things))
        found, problems = voc.read(tmp_path)
        assert len(found[0].boxes) == 3 and not found[0].complete
        why = "object 4: 2 numbers in its bndbox, expected xmin ymin xmax ymax; left out"
        assert [problem.why for problem in problems[:-1]] == [why]
        assert "took head 2, cat 1, dog 1 for faces; name those that are: voc:DIR:IMAGES:NAME" in problems[-1].why
        found, problems = read_source(f"voc:{tmp_path}::head, dog")
        assert len(found[0].boxes) == 3 and found[0].complete
        assert [problem.why for problem in problems] == ["took head 2, dog 1 for faces, left cat 1"]
        found, _ = read_source(f"voc:{tmp_path}:{tmp_path}:head")
        assert len(found[0].boxes) == 2
        with pytest.raises(DataError, match="no object is named 'horse'; expected one of cat, dog, head"):
            read_source(f"voc:{tmp_path}::head,horse")

    def test_face_is_matched_in_any_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "1.jpg")
        write(tmp_path / "1.xml", voc_xml(voc_object(name="Face"), voc_object(name="face"), voc_object(name="car")))
        assert len(voc.read(tmp_path)[0][0].boxes) == 2

    @pytest.mark.parametrize(("size", "told"), [("640 480", (480, 640)), ("0 0", None), ("x 1", None), ("", None)])
    def test_the_size_in_a_file(self, tmp_path: Path, size: str, told: tuple[int, int] | None) -> None:
        touch(tmp_path, "1.jpg")
        sides = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("width", "height"), size.split(), strict=False))
        write(tmp_path / "1.xml", voc_xml(voc_object(), f"<size>{sides}</size>"))
        assert voc.read(tmp_path)[0][0].size == told

    @pytest.mark.parametrize("corners", ["1 2 3", "1 2 3 x", ""])
    def test_a_bad_object_makes_its_image_incomplete(self, tmp_path: Path, corners: str) -> None:
        touch(tmp_path, "1.jpg")
        write(tmp_path / "1.xml", voc_xml(voc_object(), voc_object(corners)))
        found, problems = voc.read(tmp_path)
        assert len(found[0].boxes) == 1
        assert not found[0].complete
        assert problems[0].where == str(tmp_path / "1.xml")
        assert "object 2" in problems[0].why

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_entities_are_never_resolved(self, tmp_path: Path, encoding: str) -> None:
        write(tmp_path / "secret.txt", "secret")
        uri = (tmp_path / "secret.txt").as_uri()
        touch(tmp_path, "1.jpg", "2.jpg")
        bomb = (
            f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x SYSTEM "{uri}"><!ENTITY y "1.jpg">]>'
            + voc_xml(voc_object(name="&x;"), filename="&y;")
        )
        (tmp_path / "1.xml").write_bytes(bomb.encode(encoding))
        write(tmp_path / "2.xml", voc_xml(voc_object(), filename="2.jpg"))
        found, problems = voc.read(tmp_path)
        assert [record.path.name for record in found] == ["2.jpg"]
        assert "declares a document type" in problems[0].why

    @pytest.mark.parametrize(
        "content", [b"", b"<annotation>", b"<html></html>", b"\xff\xfe\x00", b"<?xml version='1.0' encoding='x'?><a/>"]
    )
    def test_other_files_are_left_out(self, tmp_path: Path, content: bytes) -> None:
        touch(tmp_path, "1.jpg", "2.jpg")
        (tmp_path / "1.xml").write_bytes(content)
        write(tmp_path / "2.xml", voc_xml(filename="2.jpg"))
        found, problems = voc.read(tmp_path)
        assert [record.path.name for record in found] == ["2.jpg"]
        assert [problem.where for problem in problems] == [str(tmp_path / "1.xml")]

    def test_missing_folders_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no XML file"):
            voc.read(tmp_path)
        write(tmp_path / "Annotations/1.xml", voc_xml())
        with pytest.raises(DataError, match="JPEGImages: no such image folder"):
            voc.read(tmp_path)


class TestFddb:
    def test_folds(self, tmp_path: Path) -> None:
        touch(tmp_path / "originalPics", "2002/a/img_1.jpg", "2002/a/img.2.jpg")
        folds = tmp_path / "FDDB-folds"
        write(folds / "FDDB-fold-01-ellipseList.txt", "2002/a/img_1\n1\n40 20 1.5707963268 100 90  1\n")
        write(folds / "FDDB-fold-01.txt", "2002/a/img_1\n")
        write(folds / "FDDB-fold-02-ellipseList.txt", "2002/a/img.2\n2\n9 -2 0 1 1 1\n30 30 0.3 50 50 1\n")
        found, problems = fddb.read(folds)
        assert [record.path.name for record in found] == ["img_1.jpg", "img.2.jpg"]
        np.testing.assert_allclose(found[0].boxes, [[80, 50, 120, 130]], atol=1e-4)  # the major axis stands upright
        np.testing.assert_allclose(found[1].boxes, [[20, 20, 80, 80]], atol=1e-4)
        assert [problem.where for problem in problems] == [f"{folds / 'FDDB-fold-02-ellipseList.txt'}:3"]
        assert len(fddb.read(folds / "FDDB-fold-02-ellipseList.txt")[0]) == 1

    @given(
        major=st.floats(1, 200), minor=st.floats(1, 200), angle=st.floats(-7, 7), x=st.floats(0, 400), y=st.floats(0, 9)
    )
    def test_box_touches_the_ellipse_on_four_sides(
        self, major: float, minor: float, angle: float, x: float, y: float
    ) -> None:
        turn = np.linspace(0, 2 * np.pi, 3601)
        u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        outline = np.array([x, y]) + major * np.cos(turn)[:, None] * u + minor * np.sin(turn)[:, None] * v
        expected = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
        np.testing.assert_allclose(fddb.ellipse_box(major, minor, angle, x, y), expected, atol=1e-3)

    def test_missing_folds_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no FDDB-fold"):
            fddb.read(tmp_path)


def test_negatives_take_all_images_below(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/c.webp", "a/notes.txt")
    found, problems = negatives.read(tmp_path)
    assert [record.path.name for record in found] == ["c.webp", "b.JPG"]
    assert all(record.complete and len(record.boxes) == 0 for record in found)
    assert [str(problem) for problem in problems] == [f"{tmp_path}: 1 files that are not images skipped"]
    with pytest.raises(DataError, match="no such folder"):
        negatives.read(tmp_path / "nothing")


class TestReadSource:
    def test_images_may_be_given(self, tmp_path: Path) -> None:
        touch(tmp_path / "elsewhere", "1.jpg")
        labels = write(tmp_path / "labels.txt", "1.jpg\n0\n")
        found, _ = read_source(f"wider:{labels}:{tmp_path / 'elsewhere'}")
        assert found[0].path == tmp_path / "elsewhere" / "1.jpg"

    def test_a_folder_is_read_as_far_as_it_goes(self, tmp_path: Path) -> None:
        touch(tmp_path, "negatives/n.jpg")
        assert [record.path.name for record in read_source(str(tmp_path))[0]] == ["n.jpg"]
        touch(tmp_path, "wider/train/images/w.jpg", "landmarks/thumbs/t.jpg")
        write(tmp_path / "wider/wider_face_train_bbx_gt.txt", "w.jpg\n1\n1 2 3\n")
        write(tmp_path / "landmarks/thumbs_train.csv", f"{HEADER}\nthumbs/t.jpg,,,,,1,2,3,4,5,6,7,8,9,10\n")
        found, problems = read_source(str(tmp_path))
        assert [record.path.name for record in found] == ["w.jpg", "t.jpg", "n.jpg"]
        assert len(problems) == 1

    def test_drawn_scenes_follow_the_seed(self) -> None:
        assert [record.path.name for record in read_source("synthetic:2", seed=4)[0]] == ["4-000000", "4-000001"]

    @pytest.mark.parametrize(
        ("spec", "anywhere", "on_windows"),
        [
            ("wider:x.txt", ("wider", "x.txt", ""), None),
            ("wider:/d/x.txt:~/i", ("wider", "/d/x.txt", "~/i"), None),
            ("wider:x.txt:a:b", ("wider", "x.txt", "a:b"), None),
            ("wider:", ("wider", "", ""), None),
            ("no-such-folder", ("", "no-such-folder", ""), None),
            (":x", ("", ":x", ""), None),
            ("w:x.txt:i", ("w", "x.txt", "i"), None),
            (r"wider:C:\d\x.txt", ("wider", "C", r"\d\x.txt"), ("wider", r"C:\d\x.txt", "")),
            (r"wider:C:\d\x.txt:D:\i", ("wider", "C", r"\d\x.txt:D:\i"), ("wider", r"C:\d\x.txt", r"D:\i")),
            ("voc:c:/d", ("voc", "c", "/d"), ("voc", "c:/d", "")),
            ("voc:d:D:/i", ("voc", "d", "D:/i"), None),
            (r"C:\none", ("C", r"\none", ""), ("", r"C:\none", "")),
        ],
    )
    def test_the_colon_of_a_drive_is_no_separator(
        self, spec: str, anywhere: tuple[str, ...], on_windows: tuple[str, ...] | None
    ) -> None:
        assert split_source(spec, drives=False) == anywhere
        assert split_source(spec, drives=True) == (on_windows or anywhere)

    def test_a_folder_with_a_colon_in_its_name(self, tmp_path: Path) -> None:
        touch(tmp_path / "wider:x", "negatives/n.jpg")
        spec = str(tmp_path / "wider:x")
        assert split_source(spec) == ("", spec, "")
        assert [record.path.name for record in read_source(spec)[0]] == ["n.jpg"]

    @pytest.mark.parametrize(
        ("spec", "why"),
        [
            ("synthetic:1:2", "'1:2' is not a number of scenes"),
            ("kitti:x.txt", f"unknown format 'kitti'; expected one of {', '.join(sorted([*READERS, 'synthetic']))}"),
            ("wider:", "no path after the format"),
            ("synthetic:many", "'many' is not a number of scenes"),
            ("synthetic:0", "'0' is not a number of scenes"),
            ("negatives:.:.", "no image folder beside them"),
            ("no-such-folder", "no such folder; expected labels in one of the formats celeba, "),
        ],
    )
    def test_invalid_sources_are_rejected(self, spec: str, why: str) -> None:
        with pytest.raises(DataError, match="^" + spec) as caught:
            read_source(spec)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_number_of_thousands_of_digits_is_rejected(self) -> None:
        with pytest.raises(DataError, match="999' is not a number of scenes; expected synthetic:N") as caught:
            read_source("synthetic:" + "9" * 5000)
        assert len(str(caught.value)) < 300

    def test_a_source_without_a_usable_image_is_rejected(self, tmp_path: Path) -> None:
        labels = write(tmp_path / "labels.txt", "1.jpg\n0\n")
        with pytest.raises(DataError, match=r"no usable image in it; the first problem: .*labels\.txt:1: no image"):
            read_source(f"wider:{labels}:{tmp_path}")


@pytest.mark.data
def test_the_data_at_hand_has_its_known_counts(data_folder: Path) -> None:
    images, problems = wider.read(data_folder / "wider" / "wider_face_train_bbx_gt.txt")
    assert len(images) == 1926
    dropped = [problem.why for problem in problems]
    assert dropped == ["8 boxes without width or height dropped"]
    assert sum(len(record.boxes) for record in images) + 8 == 26_027
    assert sum(not record.complete for record in images) == 1  # of a face 16 pixels wide and without height
    assert sum(int(record.ignore.sum()) for record in images) > 0
    thumbs, problems = points.read(data_folder / "landmarks" / "thumbs_train.csv")
    assert (len(thumbs), problems) == (9645, [])
    assert all(np.isnan(record.boxes).all() for record in thumbs)
    faces, problems = points.read(data_folder / "landmarks" / "faces_train.csv")
    assert (len(faces), problems) == (1207, [])
    assert not any(np.isnan(record.boxes).any() for record in faces)
    scenes, problems = negatives.read(data_folder / "negatives")
    assert (len(scenes), problems) == (274, [])
    assert len(read_source(str(data_folder))[0]) == 1926 + 9645 + 1207 + 274
