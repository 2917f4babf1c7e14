"""`mtcnn label`: labels in every format, going on after a kill, and labels that a training takes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import MTCNN, signalled
from run_command import run

from mtcnn.checkpoint import packaged_weights
from mtcnn.images import read_image
from mtcnn.metrics.wider_detections import load_detections
from prepare import synthetic
from prepare.readers import read_source
from prepare.readers.label_file import POINT_NAMES
from prepare.records import ImageRecord

WORDS = ("--teachers", "retinaface", "--workers", 1, "--quiet", "--doubtful", 0.05)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    synthetic.write_folder(folder, 8, 0)
    return folder


@pytest.fixture(scope="module")
def photos(drawn: Path) -> Path:
    return next((drawn / "wider/train/images").iterdir())


@pytest.fixture(scope="module")
def labelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("labels") / "x"
    return folder, run("label", photos, *WORDS, "--to", folder, "--sheet", folder.parent / "sheet.png")


def contents(folder: Path) -> dict[str, object]:
    """All files and links of a folder, with what is in them."""
    return {str(path): path.readlink() if path.is_symlink() else path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()}  # fmt: skip


def records_of(folder: Path, photos: Path) -> list[ImageRecord]:
    records, problems = read_source(f"labelv2:{folder}/labelv2.txt:{photos}")
    assert not problems
    return records


def test_labels_are_read_back(labelled: tuple[Path, Any], photos: Path) -> None:
    folder, done = labelled
    assert done.exit_code == 0, done.stderr
    records = records_of(folder, photos)
    assert [record.path for record in records] == sorted(photos.iterdir())
    sure = sum(int((~record.ignore).sum()) for record in records)
    doubtful = sum(int(record.ignore.sum()) for record in records)
    assert f"labelv2.txt: 8 photos, {sure} faces, {doubtful} doubtful, " in done.stdout and done.stdout.count("\n") == 1
    assert f"--data labelv2:{folder}/labelv2.txt:{photos}" in done.stderr
    assert sure >= 4 and doubtful
    scores = np.concatenate([np.asarray(record.scores)[~record.ignore] for record in records])
    assert ((scores >= 0.5) & (scores < 1)).all()
    assert any(np.isfinite(record.landmarks).all(axis=(1, 2)).any() for record in records)
    assert read_image(folder.parent / "sheet.png").shape[1] == 16 * 74


def test_the_note_names_the_teachers(labelled: tuple[Path, Any]) -> None:
    import hashlib

    note = json.loads((labelled[0] / "teachers.json").read_text())
    weights = packaged_weights() / "models-full/retinaface/weights.safetensors"
    (teacher,) = note["teachers"]
    (file,) = teacher.pop("weights")
    assert file == {"net": "retinaface", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
                    "from": "packaged with mtcnn", "licence": "MIT",
                    "terms": "see Terms of the data in models-full/retinaface/MODEL_CARD.md"}  # fmt: skip
    assert teacher == {"name": "retinaface", "scales": [1.0], "flip": False,
                       "sha256": [hashlib.sha256(weights.read_bytes()).hexdigest()]}  # fmt: skip
    assert (note["photos"], note["labels"], note["sure"] > 0) == (8, "labelv2.txt", True)


def test_again_takes_no_look(
    labelled: tuple[Path, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other thresholds and formats come from what was found; other teachers need another folder."""
    folder = tmp_path / "again"
    shutil.copytree(labelled[0], folder)
    monkeypatch.setattr("prepare.teachers.teacher.Teacher.__call__", lambda *given: pytest.fail("looks again"))
    before = (folder / "labelv2.txt").read_bytes()
    (folder / "labelv2.txt").unlink()
    assert run("label", photos, *WORDS, "--to", folder).exit_code == 0
    assert (folder / "labelv2.txt").read_bytes() == before
    stricter = run("label", photos, *WORDS, "--sure", 0.99, "--to", folder)
    assert len((folder / "labelv2.txt").read_bytes()) < len(before), stricter.stderr
    other = run("label", photos, *WORDS, "--scales", "1,2", "--to", folder)
    assert other.exit_code == 1 and "holds labels of other teachers, scales" in other.stderr


def test_a_killed_run_goes_on(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    words = ("label", photos, *WORDS, "--to", tmp_path / "x")
    killed = signalled("prepare.teachers.found:FoundFile.add", 4, signal.SIGKILL, MTCNN, *words)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = tmp_path / "x" / "found.jsonl"
    assert done.read_bytes().count(b"\n") == 1 + 3 and not (tmp_path / "x" / "labelv2.txt").exists()
    with done.open("ab") as file:
        file.write(b'{"image":"torn')
    first = done.read_bytes().splitlines()[:4]
    assert run(*words).exit_code == 0
    assert done.read_bytes().splitlines()[:4] == first
    for name in ("found.jsonl", "labelv2.txt"):
        assert (tmp_path / "x" / name).read_bytes() == (labelled[0] / name).read_bytes()


def test_coco(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled[0], tmp_path / "x")
    assert run("label", photos, *WORDS, "--to", tmp_path / "x", "--format", "coco").exit_code == 0
    body = json.loads((tmp_path / "x" / "coco.json").read_text())
    records = records_of(labelled[0], photos)
    assert [image["file_name"] for image in body["images"]] == [record.path.name for record in records]
    assert [row["id"] for row in body["annotations"]] == list(range(1, len(body["annotations"]) + 1))
    for image, record in zip(body["images"], records, strict=True):
        rows = [row for row in body["annotations"] if row["image_id"] == image["id"]]
        assert [row["iscrowd"] for row in rows] == record.ignore.astype(int).tolist()
        boxes = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        assert np.allclose(boxes, record.boxes, atol=0.02)
        for row, score, points in zip(rows, np.asarray(record.scores), record.landmarks, strict=True):
            assert ("score" in row) is (row["iscrowd"] == 0)
            if "score" in row:
                assert row["score"] == pytest.approx(score, abs=1e-5)
                marks = np.array(row["keypoints"]).reshape(5, 3)
                assert (
                    row["num_keypoints"] == int(np.isfinite(points).all(axis=1).sum()) == int((marks[:, 2] == 2).sum())
                )
                assert np.allclose(marks[:, :2], np.nan_to_num(points), atol=0.01)


def test_yolo(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled[0], tmp_path / "x")
    assert run("label", photos, *WORDS, "--to", tmp_path / "x", "--format", "yolo").exit_code == 0
    assert (tmp_path / "x" / "data.yaml").read_text().splitlines() == [
        "train: images", "val: images", "kpt_shape: [5, 3]", "flip_idx: [1, 0, 2, 4, 3]", "names:", "  0: face",
        "  1: doubtful",
    ]  # fmt: skip
    listed = sorted((tmp_path / "x" / "images").iterdir())
    for record, photo in zip(records_of(labelled[0], photos), listed, strict=True):
        assert photo.is_symlink() and photo.resolve() == record.path.resolve()
        text = (tmp_path / "x" / "labels" / record.path.with_suffix(".txt").name).read_text()
        rows = np.array([line.split() for line in text.splitlines()], float).reshape(-1, 20)
        assert rows[:, 0].tolist() == record.ignore.astype(float).tolist()
        centre, sides = rows[:, 1:3] * (320, 240), rows[:, 3:5] * (320, 240)
        boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
        assert np.allclose(boxes, record.boxes, atol=0.01)
        marks = rows[:, 5:].reshape(-1, 5, 3)
        assert np.array_equal(marks[:, :, 2] == 2, np.isfinite(record.landmarks).all(axis=2))
        assert np.allclose(marks[:, :, :2] * (320, 240), np.nan_to_num(record.landmarks), atol=0.01)


def test_wider(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled[0], tmp_path / "x")
    assert run("label", photos, *WORDS, "--to", tmp_path / "x", "--format", "wider").exit_code == 0
    found = load_detections(tmp_path / "x" / "detections")
    rows = [json.loads(line) for line in (labelled[0] / "found.jsonl").read_text().splitlines()[1:]]
    for row in rows:
        scores = found[f"{photos.name}/{Path(row['image']).stem}"][:, 4]
        assert np.allclose(scores, [face[0] for face in row["faces"]], atol=1e-6)


def test_people_keep_their_boxes(drawn: Path, photos: Path, tmp_path: Path) -> None:
    spec = f"wider:{drawn}/wider/wider_face_train_bbx_gt.txt"
    done = run("label", "--labels", spec, *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 0, done.stderr
    truth, made = read_source(spec)[0], records_of(tmp_path / "x", photos)
    for one, other in zip(truth, made, strict=True):
        assert (
            np.allclose(one.boxes, other.boxes, atol=0.01)
            and (np.asarray(other.scores) == 1).all()
            and not other.ignore.any()
        )
    assert not any(np.isfinite(record.landmarks).any() for record in truth)
    assert sum(int(np.isfinite(record.landmarks).all(axis=(1, 2)).sum()) for record in made) >= 3


def test_all_faces_of_a_photo_with_a_row_each_stay(photos: Path, tmp_path: Path) -> None:
    name = sorted(photos.iterdir())[0].name
    rows = [f"{name},{x},10,{x + 40},60,{','.join(['20'] * 10)}" for x in (10, 100)]
    columns = [f"{axis}_{point}" for point in POINT_NAMES for axis in "xy"]
    (tmp_path / "l.csv").write_text("\n".join([f"path,x1,y1,x2,y2,{','.join(columns)}", *rows]))
    done = run("label", "--labels", f"points:{tmp_path / 'l.csv'}:{photos}", *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 0, done.stderr
    (record,) = records_of(tmp_path / "x", photos)
    assert record.boxes[~record.ignore][:, 0].tolist() == [10, 100] and record.ignore.any()


def test_calibration_is_fitted_once(drawn: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prepare.teachers.calibration.FEWEST", 4)
    spec = f"wider:{drawn}/wider/wider_face_train_bbx_gt.txt"
    words = ("label", photos, *WORDS, "--calibrate", spec, "--to", tmp_path / "x")
    assert run(*words).exit_code == 0
    curves = json.loads((tmp_path / "x" / "calibration.json").read_text())
    assert curves["teachers"].keys() == {"retinaface"} and curves["fused"]["slope"] > 0
    note = json.loads((tmp_path / "x" / "teachers.json").read_text())
    assert note["calibration"]["fused"] == curves["fused"]
    monkeypatch.setattr("prepare.teachers.teacher.Teacher.__call__", lambda *given: pytest.fail("looks again"))
    assert run(*words).exit_code == 0
    monkeypatch.undo()
    other = run("label", photos, *WORDS, "--calibrate", tmp_path / "x" / "calibration.json", "--to", tmp_path / "y")
    assert other.exit_code == 0
    assert not (tmp_path / "y" / "calibration.json").exists()
    assert (tmp_path / "y" / "labelv2.txt").read_bytes() == (tmp_path / "x" / "labelv2.txt").read_bytes()
    whole = contents(tmp_path / "x")
    for name, damaged in (("calibrated.json", b"\xff\0"), ("calibration.json", b'{"format": 1, "teachers"')):
        (tmp_path / "x" / name).write_bytes(damaged)
        assert run(*words).exit_code == 0, "a damaged one is made again"
        assert contents(tmp_path / "x") == whole


def test_a_calibration_that_cannot_be_used(photos: Path, tmp_path: Path) -> None:
    """The message is of the calibration, not of formats of labels."""
    file = tmp_path / "calibration.json"
    for text, why in (
        (None, "no such file"),
        ('{"format": 1, "teachers": {"reti', "is cut off or damaged"),
        ('{"format": 1, "widths": [3]}', "holds no calibration"),
        (json.dumps({"format": 1, "teachers": {}, "fused": {"slope": 1, "offset": 0}}), "--teachers are retinaface;"),
        (json.dumps({"images": [], "annotations": []})[:-9], "is no JSON"),  # labels
    ):
        if text is not None:
            file.write_text(text)
        done = run("label", photos, *WORDS, "--calibrate", file, "--to", tmp_path / "x")
        last = done.stderr.splitlines()[-1]
        assert done.exit_code and why in last and "unknown format" not in last, done.stderr


def test_corrected_labels_lead_to_another_calibration(
    drawn: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is not of the labels that are there: nothing is written. The labels may be a JSON file."""
    monkeypatch.setattr("prepare.teachers.calibration.FEWEST", 1)
    shutil.copy(drawn / "wider/wider_face_train_bbx_gt.txt", tmp_path / "l.txt")
    assert (
        run("data", "convert", f"wider:{tmp_path}/l.txt:{photos.parent}", tmp_path / "c", "--format", "coco").exit_code
        == 0
    )
    labels = tmp_path / "c" / "coco.json"
    words = ("label", photos, *WORDS, "--calibrate", labels, "--to", tmp_path / "x")
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    body = json.loads(labels.read_text())
    body["annotations"] = body["annotations"][:-2]
    labels.write_text(json.dumps(body))
    before = contents(tmp_path / "x")
    done = run(*words)
    assert done.exit_code == 1 and "holds labels of other teachers, scales or another calibration" in done.stderr
    assert contents(tmp_path / "x") == before
    (tmp_path / "x" / "found.jsonl").unlink()
    assert run(*words).exit_code == 0
    assert (tmp_path / "x" / "calibration.json").read_bytes() != before[str(tmp_path / "x" / "calibration.json")]


def test_bad_photos_are_skipped_and_counted(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    shutil.copy(sorted(photos.iterdir())[0], tmp_path / "p" / "good.jpg")
    (tmp_path / "p" / "bad.jpg").write_bytes(b"no photo")
    done = run("label", tmp_path / "p", *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 1 and "skipped " in done.stderr and "bad.jpg" in done.stderr
    assert ": 1 photos, 1 skipped, " in done.stdout and "# good.jpg " in (tmp_path / "x" / "labelv2.txt").read_text()
    (tmp_path / "p" / "bad.jpg").unlink()
    before = contents(tmp_path / "x")
    none = run("label", tmp_path / "p" / "goodTYPO.jpg", *WORDS, "--to", tmp_path / "x")
    assert none.exit_code == 1 and "no photo can be read; expected image files" in none.stderr and not none.stdout
    assert contents(tmp_path / "x") == before
    assert run("label", tmp_path / "p" / "goodTYPO.jpg", *WORDS, "--to", tmp_path / "y").exit_code == 1
    assert not (tmp_path / "y").exists()
    done = run("label", tmp_path / "p" / "good.jpg", tmp_path / "p" / "*.TYPO", *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 1 and "*.TYPO" in done.stderr and ": 1 photos, " in done.stdout
    done = run("label", tmp_path / "p" / "good.jpg", tmp_path / "x" / ".." / "p", *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 0 and ": 1 photos, " in done.stdout, "named in two ways"


FILE_OF = {"labelv2": "labelv2.txt", "coco": "coco.json", "yolo": "labels/{}.txt", "wider": "detections/{}/{}.txt"}


@pytest.mark.parametrize("form", FILE_OF)
def test_labels_that_were_corrected_stay(
    form: str, labelled: tuple[Path, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then new photos and thresholds change what was written; after it nothing is touched."""
    folder, some = tmp_path / "x", tmp_path / photos.name
    some.mkdir()
    for photo in sorted(photos.iterdir())[:2]:
        shutil.copy2(photo, some)
    words = ("label", some, *WORDS, "--format", form, "--to", folder)
    assert run(*words).exit_code == 0
    shutil.copy2(sorted(photos.iterdir())[2], some)
    assert ": 3 photos, " in run(*words, "--sure", 0.9).stdout
    names = [photos.name, sorted(photos.iterdir())[0].stem] if form == "wider" else [sorted(photos.iterdir())[0].stem]
    file = folder / FILE_OF[form].format(*names)
    right = file.read_bytes()
    file.write_bytes(right + b" ")
    before = contents(folder)
    shutil.copy2(sorted(photos.iterdir())[3], some)
    monkeypatch.setattr("prepare.teachers.teacher.Teacher.__call__", lambda *given: pytest.fail("looks first"))
    done = run(*words)
    line = f"mtcnn: {file} was changed since it was written; expected a new --to, as it may hold corrected labels\n"
    assert (done.exit_code, done.stderr, done.stdout) == (1, line, "")
    assert contents(folder) == before
    monkeypatch.undo()
    file.write_bytes(right)
    assert ": 4 photos, " in run(*words).stdout


def test_a_data_set_of_others_stays(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    folder, name = tmp_path / "x", sorted(photos.iterdir())[0].stem
    words = ("label", photos, *WORDS, "--format", "yolo", "--to", folder)
    for theirs in (f"labels/{name}.txt", "data.yaml", f"images/{name}.jpg"):
        shutil.copytree(labelled[0], folder)
        (folder / theirs).parent.mkdir(exist_ok=True)
        if theirs.startswith("images"):
            (folder / theirs).symlink_to("elsewhere")
        else:
            (folder / theirs).touch()
        before = contents(folder)
        done = run(*words)
        assert (
            done.exit_code == 1 and f"{theirs} exists, and no earlier call wrote it; expected a new --to" in done.stderr
        )
        assert contents(folder) == before and done.stderr.count("\n") == 1
        shutil.rmtree(folder)


def test_labels_that_are_corrected_meanwhile_stay(
    labelled: tuple[Path, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(labelled[0], tmp_path / "x")
    monkeypatch.setattr(
        "prepare.teachers.labelling.label_photos", lambda *given: (tmp_path / "x" / "labelv2.txt").write_text("mine")
    )
    done = run("label", photos, *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 1 and "labelv2.txt was changed since it was written" in done.stderr
    assert (tmp_path / "x" / "labelv2.txt").read_text() == "mine"


def test_yolo_killed_while_it_is_written_goes_on(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    """Old and new files are there, all of them of this command."""
    shutil.copytree(labelled[0], tmp_path / "x")
    words = ("label", photos, *WORDS, "--format", "yolo", "--to", tmp_path / "x")
    assert run(*words).exit_code == 0
    before = contents(tmp_path / "x" / "labels")
    killed = signalled("prepare.writers.yolo:write_whole", 5, signal.SIGKILL, MTCNN, *words, "--sure", 0.99)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    between = contents(tmp_path / "x" / "labels")
    assert run(*words, "--sure", 0.99).exit_code == 0
    assert contents(tmp_path / "x" / "labels") != between != before


def test_photos_of_another_folder_are_looked_at(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same relative names elsewhere, and other photos under old names."""
    first, second, third = sorted(photos.iterdir())[:3]
    for folder, photo in (("A", first), ("B", second)):
        (tmp_path / folder / "ph").mkdir(parents=True)
        shutil.copy(photo, tmp_path / folder / "ph" / "1.jpg")
    monkeypatch.chdir(tmp_path / "A")
    assert run("label", "ph", *WORDS, "--to", "../x").exit_code == 0
    monkeypatch.chdir(tmp_path / "B")
    assert run("label", "ph", *WORDS, "--to", "../x").exit_code == 0
    assert run("label", "ph", *WORDS, "--to", "../fresh").exit_code == 0
    found = (tmp_path / "x" / "labelv2.txt").read_bytes()
    assert found == (tmp_path / "fresh" / "labelv2.txt").read_bytes()
    shutil.copy(third, "ph/1.jpg")
    assert run("label", "ph", *WORDS, "--to", "../x").exit_code == 0
    assert run("label", "ph", *WORDS, "--to", "../other").exit_code == 0
    assert (tmp_path / "x" / "labelv2.txt").read_bytes() == (tmp_path / "other" / "labelv2.txt").read_bytes() != found


def test_names_that_do_not_fit_are_refused_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prepare.teachers.teacher.Teacher.__call__", lambda *given: pytest.fail("looks first"))
    first = sorted(photos.iterdir())[0]
    for name in ("1.jpg", "1.jpeg"):
        shutil.copy(first, tmp_path / name)
    done = run("label", tmp_path / "1.jpg", tmp_path / "1.jpeg", *WORDS, "--format", "yolo", "--to", tmp_path / "x")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert "1.jpeg and " in done.stderr and "expected photos of different names; rename one, or" in done.stderr
    shutil.copy(first, tmp_path / "a\nb.jpg")
    done = run("label", tmp_path / "a\nb.jpg", *WORDS, "--to", tmp_path / "x")
    assert done.exit_code == 1 and "a\\nb.jpg: its name cannot stand in labels" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_sheet_that_is_one_of_the_photos(photos: Path, tmp_path: Path) -> None:
    photo = tmp_path / "1.jpg"
    shutil.copy(sorted(photos.iterdir())[0], photo)
    before = photo.read_bytes()
    done = run("label", photo, *WORDS, "--to", tmp_path / "x", "--sheet", tmp_path / "." / "1.jpg")
    assert done.exit_code == 2 and "--sheet" in done.stderr
    assert "1.jpg is one of the photos; expected another file" in " ".join(done.stderr.split())
    assert photo.read_bytes() == before and not (tmp_path / "x").exists()


def test_workers_change_nothing(labelled: tuple[Path, Any], photos: Path, tmp_path: Path) -> None:
    words = [2 if word == 1 else word for word in WORDS]
    assert run("label", photos, *words, "--to", tmp_path / "x").exit_code == 0
    assert (tmp_path / "x" / "labelv2.txt").read_bytes() == (labelled[0] / "labelv2.txt").read_bytes()


def test_what_makes_no_sense(photos: Path, tmp_path: Path) -> None:
    to = ("--to", tmp_path / "x")
    for words, why, status in (
        (("--teachers", "retinaface"), "expected photos, or --labels SOURCE", 2),
        ((photos, "--labels", "synthetic:1", "--teachers", "retinaface"), "expected photos, or --labels", 2),
        (("--labels", "synthetic:3", "--teachers", "retinaface"), "--labels are synthetic:3, drawn scenes without", 2),
        ((photos, "--teachers", "retinaface", "--models", tmp_path / "none"), "none: no such folder; train them or", 1),
        ((photos, "--teachers", "nothing"), "teacher is 'nothing'", 2),
        ((photos, "--teachers", "retinaface", "--sure", 2), "sure is 2.0", 2),
        ((tmp_path, "--teachers", "retinaface"), "no photo to label", 1),
        ((photos, "--teachers", "retinaface", "--calibrate", f"negatives:{photos}"), "expected 20 or more of each", 1),
    ):
        done = run("label", *words, *to, "--quiet", "--workers", 1)
        assert done.exit_code == status and why in " ".join(done.stderr.split()), done.stderr
    Image.new("RGB", (30, 30)).save(tmp_path / "flat.png")
    assert "0 faces" in run("label", tmp_path / "flat.png", *WORDS, *to).stdout
