"""`mtcnn data check`: what sources hold, and each kind of fault."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_command import run

from mtcnn.errors import DataError
from mtcnn.images import difference_hash, read_image
from prepare import synthetic
from prepare.readers import form_of, read_source
from prepare.readers.forms import find_format
from prepare.sheet import fitted, write_sheet
from prepare.source_check import smallest_learnt

SIZES = ["<8", "8-16", "16-32", "32-64", "64-128", "128-256", ">=256"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Drawn scenes below `data`."""
    synthetic.write_folder(tmp_path / "data", 6, 0)
    return tmp_path / "data"


def photos(folder: Path) -> list[Path]:
    return sorted((folder / "wider" / "train" / "images").rglob("*.jpg"))


def labels_of(tmp_path: Path, text: str) -> Path:
    (tmp_path / "labels.txt").write_text(text)
    return tmp_path / "labels.txt"


def check(tmp_path: Path, *words: object) -> tuple[Any, list[dict[str, Any]]]:
    done = run("data", "check", *words, "--work", tmp_path / "w", "--json")
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_good_source(tmp_path: Path, folder: Path) -> None:
    labels = folder / "wider" / "wider_face_train_bbx_gt.txt"
    done, (found,) = check(tmp_path, labels)
    assert done.exit_code == 0
    truth = [synthetic.draw_scene(0, i)[1] for i in range(6)]
    sides = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).max(axis=1) for boxes in truth])
    assert (found["format"], found["photos"], found["faces"], found["ignored"]) == ("wider", 6, len(sides), 0)
    assert list(found["sizes"]) == SIZES and sum(found["sizes"].values()) == len(sides)
    assert found["sizes"]["16-32"] == int(((sides >= 16) & (sides < 32)).sum())
    for name in ("do_not_fit", "unreadable", "problems", "fault", "near_duplicates", "evaluation_photos"):
        assert not found[name]
    text = run("data", "check", labels, "--work", tmp_path / "w").stdout
    assert text.startswith(f"{labels}: wider\n  6 photos of 320 x 240, 0 of them not fully labelled\n")


def test_each_fault_is_told(tmp_path: Path, folder: Path) -> None:
    one, two, three = photos(folder)[:3]
    images = one.parent
    shutil.copy(one, images / "copy.jpg")
    (images / "cut.jpg").write_bytes(two.read_bytes()[:-900])
    rows = "\n".join(["5", "10 10 40 50", "60 60 30 30", "900 20 30 40", "150 20 -30 -40", "x"])
    text = f"{one.name}\n{rows}\n{two.name}\n0\n0 0 0 0\ncut.jpg\n1\n10 10 30 30\n{three.name}\n0\n0 0 0 0\n"
    labels = labels_of(tmp_path, f"{text}copy.jpg\n0\n0 0 0 0\nmissing.jpg\n0\n0 0 0 0\n")
    hashes = tmp_path / "eval.txt"
    hashes.write_text(f"{difference_hash(three):016x}\n")
    done, (found,) = check(tmp_path, f"wider:{labels}:{images}", "--eval-hashes", hashes)
    assert done.exit_code == 1, "a photo of an evaluation"
    assert found["do_not_fit"] == {"outside of their photo": 1, "with corners swapped": 1}
    assert (found["photos"], found["faces"], found["ignored"], found["incomplete"]) == (5, 5, 2, 1)
    assert found["problems"][0].startswith(f"{labels}:7: 'x' is not a number")
    assert "no image 'missing.jpg'" in found["problems"][1] and len(found["problems"]) == 2
    assert len(found["unreadable"]) == 1 and f"{images / 'cut.jpg'}: " in found["unreadable"][0]
    assert found["near_duplicates"] == [[str(one), str(images / "copy.jpg")]]
    assert found["evaluation_photos"] == [str(three)]
    text = run("data", "check", f"wider:{labels}:{images}", "--eval-hashes", hashes, "--work", tmp_path / "w").stdout
    for line in ("1 boxes outside of their photo", "2 rows or images skipped", "1 photos cannot be read",
                 "1 pairs of photos nearly the same", "1 photos of an evaluation, or nearly"):  # fmt: skip
        assert f"  {line}" in text


def test_faces_beside_what_the_nets_learn(tmp_path: Path, folder: Path) -> None:
    assert smallest_learnt() == {"mtcnn": 8.0, "retinaface": 9.5}
    image = photos(folder)[0]
    labels = labels_of(tmp_path, f"{image.name}\n4\n1 1 7.9 5\n9 9 8 5\n30 30 9 9.4\n60 60 9 9.5\n")
    _, (found,) = check(tmp_path, f"wider:{labels}:{image.parent}")
    assert found["large_enough"] == {"mtcnn": 3, "retinaface": 1}
    text = run("data", "check", f"wider:{labels}:{image.parent}", "--work", tmp_path / "w").stdout
    assert "  large enough to learn: mtcnn 3 from 8 px, retinaface 1 from 9.5 px; of 4 that fit\n" in text


def test_ignored_faces_are_not_learnt(tmp_path: Path, folder: Path) -> None:
    """Invalid ones, of a photo whose boxes all fit and of one where a box does not."""
    one, two = photos(folder)[:2]
    ignored, face = "60 60 30 30 0 0 0 1 0 0", "10 10 40 50 0 0 0 0 0 0"
    labels = labels_of(tmp_path, f"{one.name}\n2\n{face}\n{ignored}\n{two.name}\n3\n{face}\n{ignored}\n900 20 30 40\n")
    _, (found,) = check(tmp_path, f"wider:{labels}:{one.parent}")
    assert (found["faces"], found["ignored"], found["large_enough"]) == (5, 3, {"mtcnn": 2, "retinaface": 2})
    text = run("data", "check", f"wider:{labels}:{one.parent}", "--work", tmp_path / "w").stdout
    assert "  5 faces, 3 of them ignored, 0 with landmarks\n" in text
    assert "retinaface 2 from 9.5 px; of 2 that fit, not ignored\n" in text


def test_sizes_from_before_an_exif_turn_and_empty_files(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (40, 30), "white").save(tmp_path / "b.jpg", exif=exif)
    (tmp_path / "c.jpg").touch()
    rows = "# a.jpg 40 30\n5 5 20 20\n# b.jpg 30 40\n5 5 20 20\n# c.jpg 40 30\n"
    (tmp_path / "labelv2.txt").write_text(rows)
    source = f"labelv2:{tmp_path / 'labelv2.txt'}:{tmp_path}"
    _, (found,) = check(tmp_path, source)
    assert found["turned"] == [str(tmp_path / "a.jpg")] and found["empty"] == [str(tmp_path / "c.jpg")]
    assert len(found["unreadable"]) == 1
    text = run("data", "check", source, "--work", tmp_path / "w").stdout
    assert "  1 photos turned by EXIF whose labels may not be: look at the sheet\n" in text
    assert "  1 photos of no bytes\n" in text


def test_units_that_cannot_be_right(tmp_path: Path, folder: Path) -> None:
    labels = labels_of(tmp_path, f"{photos(folder)[0].name}\n1\n0.1 0.2 0.3 0.4\n")
    done, (bad, good) = check(tmp_path, f"wider:{labels}:{photos(folder)[0].parent}", "synthetic:2")
    assert done.exit_code == 1
    assert bad["do_not_fit"] == {"of less than a pixel": 1}
    assert bad["fault"].endswith("are these x y w h in pixels of these photos?")
    assert good["fault"] == "" and good["photos"] == 2
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / photos(folder)[0].with_suffix(".txt").name).write_text("0 100 90 40 50\n")
    _, (pixels,) = check(tmp_path, f"yolo:{tmp_path / 'labels'}:{photos(folder)[0].parent}")
    assert pixels["fault"].endswith("are these centre, width and height as shares of these photos?")


def test_photos_of_two_sources_are_compared(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "more").mkdir()
    Image.open(photos(folder)[2]).resize((160, 120)).save(tmp_path / "more" / "small.png")
    _, (first, second) = check(tmp_path, folder / "wider/wider_face_train_bbx_gt.txt", f"negatives:{tmp_path / 'more'}")
    assert first["near_duplicates"] == second["near_duplicates"] == []
    pair = [str(photos(folder)[2]), str(tmp_path / "more" / "small.png")]
    assert second["near_duplicates_of_earlier_sources"] == [pair]
    assert "(" not in run("data", "check", "synthetic:1", "--work", tmp_path / "w").stdout


def test_what_cannot_be_read_is_a_fault_and_the_others_are_checked(tmp_path: Path) -> None:
    done, (bad, good) = check(tmp_path, tmp_path / "missing", "synthetic:1")
    assert done.exit_code == 1 and done.stderr == ""
    assert "no such folder" in bad["fault"] and good["photos"] == 1


def test_hashes_are_remembered(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(tmp_path, folder)[1]
    monkeypatch.setattr("prepare.photo_hashes.difference_hash", lambda path: pytest.fail(f"{path} is read again"))
    monkeypatch.setattr("prepare.photo_sizes.image_size", lambda path: pytest.fail(f"{path} is opened again"))
    assert check(tmp_path, folder)[1] == first


def test_the_sheet(tmp_path: Path, folder: Path) -> None:
    shutil.copy(photos(folder)[0], photos(folder)[0].with_name("copy.jpg"))
    sheet = tmp_path / "sheet.png"
    negatives = f"negatives:{photos(folder)[0].parent}"
    labels = folder / "wider/wider_face_train_bbx_gt.txt"
    assert run("data", "check", labels, negatives, "--work", tmp_path / "w", "--sheet", sheet).exit_code == 0
    picture = read_image(sheet)
    assert picture.shape[1] == 6 * 242
    assert (picture == (240, 228, 66)).all(axis=2).any(), "boxes of faces"
    bad = run("data", "check", labels, "--work", tmp_path / "w", "--sheet", tmp_path / "sheet.xyz")
    assert bad.exit_code == 1 and "unknown suffix" in bad.stderr


def test_tiles_lie_in_rows(tmp_path: Path) -> None:
    tiles = [np.full((4, 3, 3), 10 * i, np.uint8) for i in range(3)]
    write_sheet(tmp_path / "s.png", [("", tiles), ("", [])], 2, 4)
    picture = read_image(tmp_path / "s.png")
    assert picture.shape == (26 + 2 * 6 + 26, 12, 3)
    assert picture[26, 6].tolist() == [10, 10, 10] and picture[32, 0].tolist() == [20, 20, 20]
    assert picture[26, 3].tolist() == [255, 255, 255]
    small, scale = fitted(np.zeros((40, 100, 3), np.uint8), 50)
    assert small.shape == (20, 50, 3) and scale == 0.5


@pytest.mark.parametrize(("name", "text", "found"), [
    ("a.txt", "0--Parade/1.jpg\n1\n449 330 122 149 0 0 0 0 0 0\n", "wider"),
    ("a.txt", "# 0--Parade/1.jpg\n449 330 122 149\n", "retinaface"),
    ("a.txt", "# 0--Parade/1 2.jpg 1024 1385\n449 330 571 479\n", "labelv2"),
    ("a.txt", "2002/08/11/big/img_591\n1\n123.5 85.5 1.2 269.6 161.7  1\n", "fddb"),
    ("a.csv", "path,x1\n", "points"),
    ("a.txt", "hello\nworld\n", None),
    ("a.txt", "", None),
    ("d/a.xml", "<annotation/>", "voc"),
    ("d/FDDB-fold-01-ellipseList.txt", "", "fddb"),
    ("d/a.jpg", "", None),
])  # fmt: skip
def test_formats_are_found_by_looking(tmp_path: Path, name: str, text: str, found: str | None) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    path = tmp_path / "d" if name.startswith("d/") else tmp_path / name
    assert find_format(path) == found and form_of(str(path)) == (found or "")
    assert form_of(f"labelv2:{path}") == "labelv2"


def test_a_source_without_its_format(tmp_path: Path, folder: Path) -> None:
    labels = folder / "wider" / "wider_face_train_bbx_gt.txt"
    assert [one.path for one in read_source(str(labels))[0]] == [one.path for one in read_source(f"wider:{labels}")[0]]
    assert form_of(str(folder)) == "wider, points"
    with pytest.raises(DataError, match="holds no training data"):
        read_source(str(tmp_path))


def test_hashes_are_printed(folder: Path) -> None:
    done = run("data", "hash", photos(folder)[0].parent)
    wanted = [f"{difference_hash(path):016x}  {path.name}" for path in photos(folder)]
    assert done.stdout.splitlines() == wanted
