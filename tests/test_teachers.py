"""Labels from teachers: fusion, calibration, classes of regions, files of results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.boxes import iou
from mtcnn.errors import CheckpointError, DataError, SettingsError
from mtcnn.files.stamps import stamp_of
from mtcnn.types import Faces, ImageSize
from prepare.photo_names import common_folder
from prepare.records import ImageRecord
from prepare.teachers.calibration import (
    Calibration,
    Logistic,
    fit_calibration,
    fit_logistic,
    hits,
)
from prepare.teachers.found import FoundFile, PhotoFaces
from prepare.teachers.fusion import OVERLAP, fuse
from prepare.teachers.photo_labels import LabelSettings, labels_of
from prepare.teachers.teacher import Teacher, _scales, find_teachers
from prepare.teachers.written import label_files
from prepare.written_files import WrittenFiles

UNKNOWN = np.full((5, 2), np.nan)
SIZE = ImageSize(100, 200)


def faces(*rows: tuple[float, float, float, float, float], points: bool = False) -> Faces:
    """x1 y1 x2 y2 score; landmarks at the corner of each box."""
    values = np.array(rows, np.float32).reshape(-1, 5)
    marks = np.repeat(values[:, None, :2], 5, axis=1) if points else None
    return Faces(values[:, :4], values[:, 4], marks)


# ---- fusion


def test_the_score_is_the_mean_of_the_best_and_boxes_are_weighted() -> None:
    one = faces((10, 10, 30, 30, 0.8), (11, 10, 31, 30, 0.4), points=True)
    two = faces((12, 10, 32, 30, 0.4))
    found = fuse([one, two])
    assert len(found) == 1 and found.landmarks is not None
    assert found.scores[0] == pytest.approx((0.8 + 0.4) / 2)
    assert found.boxes[0] == pytest.approx([(8 * 10 + 4 * 11 + 4 * 12) / 16, 10, (8 * 30 + 4 * 31 + 4 * 32) / 16, 30])
    assert found.landmarks[0, 0] == pytest.approx([(8 * 10 + 4 * 11) / 12, 10]), "of those that have some"


def test_a_teacher_that_sees_nothing_counts_as_zero() -> None:
    found = fuse([faces((0, 0, 20, 20, 0.9), (50, 0, 70, 20, 0.5)), faces((50, 0, 70, 20, 0.7)), Faces.empty()])
    assert found.scores == pytest.approx([0.4, 0.3])
    assert found.boxes[:, 0].tolist() == [50, 0]
    assert np.isnan(found.landmarks).all()  # type: ignore[arg-type]
    assert len(fuse([])) == len(fuse([Faces.empty(), Faces.empty(True)])) == 0


def slow_fuse(found: list[Faces]) -> list[tuple[float, list[float]]]:
    """Box by box."""
    every = [(float(s), t, box) for t, each in enumerate(found) for box, s in zip(each.boxes, each.scores, strict=True)]
    every.sort(key=lambda row: -row[0])
    clusters: list[list[Any]] = []
    for row in every:
        for cluster in clusters:
            if iou(row[2][None], cluster[0][2][None])[0, 0] >= OVERLAP:
                cluster.append(row)
                break
        else:
            clusters.append([row])
    made = []
    for cluster in clusters:
        best = [max([s for s, t, _ in cluster if t == teacher], default=0.0) for teacher in range(len(found))]
        weight = sum(s for s, _, _ in cluster)
        box = sum((s * b.astype(np.float64) for s, _, b in cluster), np.zeros(4)) / weight
        made.append((sum(best) / len(found), box.tolist()))
    return sorted(made, key=lambda row: -row[0])


def test_fusion_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = []
        for _ in range(3):
            corner, score = rng.uniform(0, 60, (8, 2)), rng.uniform(0.05, 1, 8)
            boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (8, 2))], axis=1)
            found.append(Faces(boxes.astype(np.float32), score.astype(np.float32)))
        made, slow = fuse(found), slow_fuse(found)
        assert made.scores == pytest.approx([score for score, _ in slow], abs=1e-6)
        assert len(set(np.round(made.scores, 6))) == len(made)
        assert np.allclose(made.boxes, [box for _, box in slow], atol=1e-3)


# ---- calibration


def drawn(slope: float, offset: float, count: int = 4000) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.99, count)
    truth = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))
    return scores, rng.random(count) < truth


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_a_logistic_curve_is_found(slope: float, offset: float) -> None:
    found = fit_logistic(*drawn(slope, offset), "x")
    assert (found.slope, found.offset) == pytest.approx((slope, offset), abs=0.15)
    values = found(np.linspace(0, 1, 50))
    assert (np.diff(values) > 0).all() and values.dtype == np.float32


def test_scores_that_are_nearly_separate_are_fitted() -> None:
    """A plain Newton step overshoots here, and ends with a falling curve."""
    right = np.array([0.995, 0.941, 0.242, 0.068, 0.992, 0.726, 0.624, 0.132, 0.407] * 3)
    wrong = np.array([0.061, 0.051, 0.042, 0.036, 0.025, 0.023, 0.055] * 3)
    scores, truth = np.concatenate([right, wrong]), np.arange(len(right) + len(wrong)) < len(right)
    found = fit_logistic(scores, truth, "x")
    target = np.where(truth, 28 / 29, 1 / 23)

    def loss(slope: float, offset: float) -> float:
        p = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    best = loss(found.slope, found.offset)
    for slope, offset in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert loss(found.slope + slope, found.offset + offset) > best


def test_the_default_changes_nothing() -> None:
    scores = np.array([0, 0.3, 1], np.float32)
    assert np.array_equal(Logistic()(scores), scores)


def test_what_cannot_be_calibrated() -> None:
    scores, right = drawn(1, 0)
    with pytest.raises(DataError, match="yunet-n: 0 right and 4000 wrong detections"):
        fit_logistic(scores, np.zeros(len(scores), bool), "yunet-n")
    with pytest.raises(DataError, match="higher scores are no likelier to be faces"):
        fit_logistic(scores, ~right, "x")


def test_each_face_is_found_once_and_ignored_regions_do_not_count() -> None:
    record = ImageRecord(Path("x"), np.array([[0, 0, 20, 20], [50, 50, 90, 90]]), ignore=np.array([False, True]))
    found = faces((0, 0, 20, 20, 0.9), (1, 0, 21, 20, 0.8), (60, 60, 80, 80, 0.7), (120, 0, 140, 20, 0.6))
    right, counts = hits(found, record)
    assert right.tolist() == [True, False, False, False]
    assert counts.tolist() == [True, True, False, True]


def test_teachers_become_comparable(tmp_path: Path) -> None:
    """One that is too sure and one that hardly dares say the same after it, and the fused score is a probability."""
    rng, found = np.random.default_rng(1), []
    for _ in range(400):
        real = rng.random(6) < 0.5
        corners = np.stack([np.arange(6) * 30.0, np.zeros(6)], axis=1)
        boxes = np.concatenate([corners, corners + 20], axis=1)
        z = np.where(real, 1, -1) + rng.normal(0, 1, 6)
        bold, shy = (1 / (1 + np.exp(-value)) for value in (4 * z + 3, z - 3))
        record = ImageRecord(Path("x"), boxes[real])
        places = boxes.astype(np.float32)
        made_by = {"bold": Faces(places, bold.astype(np.float32)), "shy": Faces(places, shy.astype(np.float32))}
        found.append((made_by, record))
    made = fit_calibration(found)
    scores = np.linspace(-1, 1, 5)
    sure = [
        made.teachers[name](1 / (1 + np.exp(-given))) for name, given in (("bold", 4 * scores + 3), ("shy", scores - 3))
    ]
    assert np.allclose(sure[0], sure[1], atol=0.05)
    every = [(made(each).sorted(), record) for each, record in found]
    fused = np.concatenate([each.scores for each, _ in every])
    right = np.concatenate([hits(each, record)[0] for each, record in every])
    for low in (0.0, 0.25, 0.5, 0.75):
        chosen = (fused >= low) & (fused < low + 0.25)
        assert abs(right[chosen].mean() - fused[chosen].mean()) < 0.06
    made.write(tmp_path / "c.json")
    assert Calibration.read(tmp_path / "c.json") == made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"is cut off or damaged \(Expecting value: .*\)"),
        ('{"format": 1, "teachers": {', r"is cut off or damaged \(Expecting property name .*\)"),
        ("[" * 100_000, "is cut off or damaged"),
        ('{"format": 2, "teachers": {}}', "has format 2, and 1 is known here"),
        ("[]", "holds no calibration"),
        ("{}", "holds no calibration"),
        ('{"format": 1, "teachers": {"a": {}}, "fused": {}}', "holds no calibration"),
        ('{"format": 1, "teachers": {}, "fused": {"slope": -1, "offset": 0}}', "holds no calibration"),
        ('{"format": 1, "teachers": {}, "fused": {"slope": NaN, "offset": 0}}', "holds no calibration"),
        (f'{{"format": 1, "teachers": {{}}, "fused": {{"slope": 1{"0" * 400}, "offset": 0}}}}', "holds no calibration"),
    ],
)
def test_a_file_that_is_no_calibration(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match=f"c.json: {why}.*; expected a calibration.json of `mtcnn label`"):
        Calibration.read(tmp_path / "c.json")


def test_a_calibration_of_other_teachers() -> None:
    made = Calibration({"retinaface": Logistic(2.0), "yunet-n": Logistic()})
    made.check_teachers(["yunet-n", "retinaface"])
    for names in (["retinaface"], ["retinaface", "mtcnn"], ["retinaface", "yunet-n", "mtcnn"]):
        with pytest.raises(SettingsError, match=f"are {','.join(names)}; expected those of .*, retinaface,yunet-n;"):
            made.check_teachers(names)


# ---- classes


def test_three_classes_by_score() -> None:
    found = faces((0, 0, 20, 20, 0.5), (30, 0, 40, 10, 0.9), (0, 50, 20, 70, 0.1), (60, 50, 80, 70, 0.09), points=True)
    made = labels_of(Path("a.jpg"), "a.jpg", SIZE, found, LabelSettings())
    assert np.allclose(made.scores, [0.5, 0.9])
    assert (made.doubtful[:, 1].tolist(), made.dropped[:, 0].tolist()) == ([50], [60])
    assert np.isfinite(made.landmarks[0]).all() and np.isnan(made.landmarks[1]).all(), "10 pixels: too small"
    with pytest.raises(SettingsError, match=r"doubtful is 0.6; expected at most sure, 0.5"):
        LabelSettings(doubtful=0.6)


def test_labels_of_people_stay_and_get_landmarks() -> None:
    known = np.full((5, 2), 7.0)
    record = ImageRecord(
        Path("a.jpg"), np.array([[0, 0, 20, 20], [50, 0, 70, 20], [100, 0, 120, 20], [150, 0, 170, 20]]),
        np.array([UNKNOWN, known, UNKNOWN, UNKNOWN]), np.array([False, False, False, True]),
    )  # fmt: skip
    found = faces((1, 0, 21, 20, 0.9), (51, 0, 71, 20, 0.9), (101, 0, 121, 20, 0.3), (0, 60, 20, 80, 0.9), points=True)
    made = labels_of(Path("a.jpg"), "a.jpg", SIZE, found, LabelSettings(), record)
    assert np.array_equal(made.boxes, record.boxes[:3]) and np.isnan(made.scores).all()
    assert made.landmarks[0, 0].tolist() == [1, 0], "of the teachers"
    assert made.landmarks[1, 0].tolist() == [7, 7], "of the labels"
    assert np.isnan(made.landmarks[2]).all(), "of no teacher that is sure"
    assert made.doubtful.tolist() == record.boxes[3:].tolist() and not len(made.dropped)
    part = ImageRecord(record.path, record.boxes[:1], complete=False)
    assert labels_of(record.path, "a.jpg", SIZE, found, LabelSettings(), part).doubtful.tolist() == [[0, 0, 200, 100]]


# ---- the file of results


def add(file: FoundFile, photo: Path, found: Faces) -> None:
    if not photo.exists():
        photo.touch()
    file.add(photo, stamp_of(photo), PhotoFaces(SIZE, found))


def test_results_come_back_and_a_torn_line_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, one = tmp_path / "found.jsonl", faces((1.234, 2, 3, 4, 0.123456), points=True)
    written = FoundFile(file, {"a": 1})
    add(written, Path("é\n.jpg"), one)
    add(written, Path("b.jpg"), Faces.empty())
    whole = file.read_bytes()
    assert b"[0.123456,1.23,2.0,3.0,4.0," in whole, "coordinates are written with two decimals"
    for torn in (b'{"image": "c.j', b"\n", b"[]\n", b'{"image": "c.jpg", "height": 1'):
        file.write_bytes(whole + torn)
        found = FoundFile(file, {"a": 1})
        assert file.read_bytes() == whole
        assert Path("é\n.jpg") in found and Path("b.jpg") in found and Path("c.jpg") not in found
    add(found, Path("c.jpg"), one)
    rows = dict(FoundFile(file, {"a": 1}).read([Path("c.jpg"), Path("x.jpg"), Path("b.jpg")]))
    assert list(rows) == [Path("c.jpg"), Path("b.jpg")]
    assert rows[Path("c.jpg")].size == SIZE and len(rows[Path("b.jpg")].faces) == 0
    back = rows[Path("c.jpg")].faces
    assert np.allclose(back.boxes, [[1.23, 2, 3, 4]]) and back.scores[0] == np.float32(0.123456)
    with pytest.raises(DataError, match="holds labels of other teachers"):
        FoundFile(file, {"a": 2})


@pytest.mark.parametrize("change", [
    {"faces": None}, {"faces": "x"}, {"faces": 5}, {"faces": [5]}, {"faces": [[1.0] * 14]}, {"faces": [["x"] * 15]},
    {"faces": [[10**400] * 15]}, {"faces": [[1.0] * 30]}, {"height": None}, {"height": "9"}, {"width": 0},
    {"width": True}, {"image": 5}, {"image": None}, {"stamp": None}, {"stamp": 5},
])  # fmt: skip
def test_a_damaged_line_costs_its_photo_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    file, photos = tmp_path / "found.jsonl", [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    for photo in photos:
        add(FoundFile(file, 1), photo, faces((1, 2, 3, 4, 0.5), points=True))
    lines = file.read_text().splitlines()
    row = {name: value for name, value in {**json.loads(lines[2]), **change}.items() if value is not None}
    whole = "\n".join([*lines[:2], json.dumps(row), lines[3], ""])
    file.write_text(whole)
    found = FoundFile(file, 1)
    assert [photo in found for photo in photos] == [True, False, True]
    assert [photo for photo, _ in found.read(photos)] == [photos[0], photos[2]]
    assert file.read_text() == whole
    file.write_text(whole.replace(f"{lines[3]}\n", ""))
    assert [photo in FoundFile(file, 1) for photo in photos] == [True, False, False]
    assert file.read_text().splitlines() == lines[:2], "the end is that of the last whole line"
    with pytest.raises(DataError, match=r"found.jsonl: was changed meanwhile; run the same command again"):
        list(found.read(photos))


def test_a_photo_that_changed_or_lies_elsewhere_was_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, here, there = tmp_path / "found.jsonl", tmp_path / "here", tmp_path / "there"
    for folder in (there, here):
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path("a.jpg").touch()
    add(FoundFile(file, 1), Path("a.jpg"), Faces.empty())
    assert Path("a.jpg") in FoundFile(file, 1) and here / "a.jpg" in FoundFile(file, 1)
    monkeypatch.chdir(there)
    assert Path("a.jpg") not in FoundFile(file, 1), "that was another one"
    date = stamp_of(here / "a.jpg")[1]
    os.utime(here / "a.jpg", ns=(date, date + 1))
    found = FoundFile(file, 1)
    assert here / "a.jpg" not in found and not list(found.read([here / "a.jpg"]))
    add(found, here / "a.jpg", faces((1, 2, 3, 4, 0.5)))
    assert [len(each.faces) for _, each in FoundFile(file, 1).read([here / "a.jpg"])] == [1]
    (here / "a.jpg").unlink()
    assert here / "a.jpg" not in FoundFile(file, 1)


def test_results_without_stamps_are_looked_for_again(tmp_path: Path) -> None:
    """As versions before wrote them."""
    file = tmp_path / "found.jsonl"
    add(FoundFile(file, 1), tmp_path / "a.jpg", Faces.empty())
    head, row = file.read_text().splitlines()
    old = {name: value for name, value in json.loads(row).items() if name != "stamp"}
    file.write_text(f"{head}\n{json.dumps(old)}\n")
    assert tmp_path / "a.jpg" not in FoundFile(file, 1)


@pytest.mark.parametrize("torn", [b"", b'{"format":1,"key":', b"\0\0"])
def test_a_file_without_a_whole_head_is_new(tmp_path: Path, torn: bytes) -> None:
    """As a full disk leaves it."""
    file = tmp_path / "found.jsonl"
    add(FoundFile(file, {"a": 2}), tmp_path / "a.jpg", Faces.empty())
    whole = file.read_bytes()
    file.write_bytes(torn)
    found = FoundFile(file, {"a": 2})
    assert tmp_path / "a.jpg" not in found and not list(found.read([tmp_path / "a.jpg"]))
    add(found, tmp_path / "a.jpg", Faces.empty())
    assert file.read_bytes() == whole


# ---- files of labels


def test_files_of_a_person_are_known(tmp_path: Path) -> None:
    """What was written is known again, however often, also after a torn line; anything else is not."""
    file, draft = tmp_path / "labels" / "a.txt", tmp_path / "draft"
    file.parent.mkdir()
    WrittenFiles(tmp_path).check([file])
    for text in ("one", "two", "one"):
        draft.write_text(text)
        WrittenFiles(tmp_path).note(file, draft)
        if file.exists():
            WrittenFiles(tmp_path).check([file])  # killed before the draft took its place
        draft.replace(file)
        WrittenFiles(tmp_path).check([file])
    record = tmp_path / "written.jsonl"
    assert record.read_bytes().count(b"\n") == 2
    with record.open("ab") as torn:
        torn.write(b'{"file":"b.t')
    draft.write_text("three")
    WrittenFiles(tmp_path).note(file, draft)
    draft.replace(file)
    WrittenFiles(tmp_path).check([file])
    file.write_text("mine")
    with pytest.raises(DataError, match=r"labels/a.txt was changed since it was written; expected a new `folder`"):
        WrittenFiles(tmp_path).check([file])
    (tmp_path / "b.txt").touch()
    with pytest.raises(DataError, match=r"b.txt exists, and no earlier call wrote it; expected a new `folder`"):
        WrittenFiles(tmp_path).check([tmp_path / "b.txt"])


def test_no_two_photos_share_a_file_of_labels(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a/x/1.jpg", "a/x/1.PNG", "b/x/1.jpg"))
    assert [path.name for path in label_files("labelv2", [a, b, c], tmp_path)] == ["labelv2.txt", "teachers.json"]
    assert label_files("yolo", [a, c], tmp_path)[-2:] == [
        tmp_path / "labels" / each for each in ("a/x/1.txt", "b/x/1.txt")
    ]
    assert label_files("wider", [a], tmp_path)[-1] == tmp_path / "detections/x/1.txt"
    for form, two in (("yolo", [a, b]), ("wider", [a, b]), ("wider", [a, c])):
        with pytest.raises(
            DataError, match=r"would both have the labels (labels|detections/x)/1.txt; expected photos of"
        ):
            label_files(form, two, tmp_path)


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\u2028b.jpg", "a\udce9.jpg", " a.jpg", "a.jpg "])
def test_names_that_labels_cannot_hold(tmp_path: Path, name: str) -> None:
    for form in ("labelv2", "coco", "yolo"):
        with pytest.raises(DataError, match="its name cannot stand in labels; expected UTF-8 on one line"):
            label_files(form, [tmp_path / name], tmp_path)
    label_files("wider", [tmp_path / name], tmp_path)
    label_files("labelv2", [tmp_path / "# é\u200d #.jpg"], tmp_path)


# ---- teachers


def test_teachers_by_name(tmp_path: Path) -> None:
    mtcnn, face = find_teachers(["mtcnn", "retina"], scales=["1,2", "retina=0.5"], flip=True)
    assert (mtcnn.name, mtcnn.scales, len(mtcnn.sha256), mtcnn.flip) == ("mtcnn", (1.0, 2.0), 4, True)
    assert (face.name, face.scales, len(face.sha256[0])) == ("retinaface", (0.5,), 64)
    assert json.loads(json.dumps(face.to_dict())) == face.to_dict()
    for names, scales, why in (
        (["x"], [], "teacher is 'x'; expected mtcnn or one of retinaface"),
        ([""], [], "teacher is ''"),
        (["s3fd"], [], "teacher is s3fd, of which there are no weights among those that ship"),
        (["retinaface", "retina"], [], "expected different detectors"),
        (["mtcnn"], ["a"], "scales are 'a'; expected factors such as 1,1.5"),
        (["mtcnn"], ["retinaface=1"], "scales are 'retinaface=1'; expected one of the teachers before =: mtcnn"),
        (["mtcnn"], ["0"], "scales is 0.0; expected a number from 0.1 to 8"),
        (["mtcnn"], ["nan"], "scales is nan"),
    ):
        with pytest.raises(SettingsError, match=why):
            find_teachers(names, None, scales)
    assert find_teachers(["mtcn"])[0].name == "mtcnn"
    with pytest.raises(
        CheckpointError, match="none: no such folder; train them or import them, or name another folder"
    ):
        find_teachers(["mtcnn"], tmp_path / "none")  # and not the packaged ones


def test_scales_of_a_teacher_whose_name_begins_another() -> None:
    names = ["retinaface-r50", "retinaface", "yunet-n"]
    assert _scales(["retinaface=2", "retinaface-=3", "y=4"], names) == {
        "retinaface": (2.0,), "retinaface-r50": (3.0,), "yunet-n": (4.0,)
    }  # fmt: skip
    with pytest.raises(
        SettingsError, match="scales are 'retina=2'; expected one teacher, not retinaface-r50 and retinafa"
    ):
        _scales(["retina=2"], names)


def test_a_teacher_looks_at_all_scales() -> None:
    """Faces of each look come back in the pixels of the photo, mirrored ones too."""
    sizes = []

    class Fake:
        def detect(self, image: NDArray[np.uint8]) -> Faces:
            sizes.append(image.shape[:2])
            x = float(np.argmax(image[0, :, 0])) if image.shape[1] == 40 else 10.0 * image.shape[1] / 40
            return faces((x, 0, x + image.shape[1] / 10, image.shape[0] / 5, 0.5), points=True)

    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10] = 255
    teacher = Teacher("mtcnn", scales=(1.0, 2.0), flip=True)
    teacher._detector.append(Fake())
    found = teacher(image)
    assert sizes == [(20, 40), (20, 40), (40, 80), (40, 80)]
    assert np.allclose(found.boxes[:, 0], [10, 7, 10, 26]) and np.allclose(found.boxes[:, 3], 4)
    assert found.landmarks is not None and len(found) == 4


def test_names_of_linked_photos_are_those_of_the_links(tmp_path: Path) -> None:
    """Labels of a folder of links name what is in it, and not paths to elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "photos" / "a.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    assert common_folder([tmp_path / "photos" / "a.jpg"]) == tmp_path / "photos"
