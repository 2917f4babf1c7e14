"""`mtcnn data convert`, run for real."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_command import run
from sample_data import lay_out

from prepare.readers import read_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("data"))


def test_convert_says_what_it_wrote_and_what_was_lost(folder: Path, tmp_path: Path) -> None:
    first = run("data", "convert", folder / "labels.txt", f"csv:{folder / 'faces_test.csv'}", tmp_path / "a", "--quiet")
    assert first.exit_code == 0, first.stderr
    records, _ = read_source(str(tmp_path / "a"))
    faces = sum(len(record.boxes) for record in records)
    assert first.stdout == f"{tmp_path / 'a' / 'labelv2.txt'}: 3 photos, {faces} faces, 0 ignore regions\n"
    assert first.stderr.splitlines()[-1] == f"train on them: --data {tmp_path / 'a'}"
    words = ("data", "convert", f"csv:{folder / 'faces_test.csv'}", tmp_path / "b", "--format", "wider")
    done = run(*words, "--photos", "leave")
    assert done.exit_code == 0, done.stderr
    assert f"lost: {faces} faces with landmarks; wider has no place" in done.stderr
    assert "converting" not in done.stderr, "a bar is for terminals"
    source = done.stderr.splitlines()[-1].removeprefix("train on them: --data ")
    assert [record.path for record in read_source(source)[0]] == sorted((folder / "images").rglob("*.jpg"))
    again = run(*words)
    assert again.exit_code == 1 and "exists and is not empty; expected a new folder" in again.stderr


@pytest.mark.parametrize("where", ["photos/made", "photos", "photos/../photos/made"])
def test_a_folder_in_the_source_is_refused(folder: Path, where: str) -> None:
    for source in (f"negatives:{folder / 'photos'}", f"wider:{folder / 'labels.txt'}:{folder / 'photos'}"):
        done = run("data", "convert", source, folder / where)
        assert done.exit_code == 1
        assert "lies in the source" in done.stderr and "expected a folder elsewhere" in done.stderr
    assert not (folder / "photos" / "made").exists()


def test_drawn_scenes_can_be_copied_alone(tmp_path: Path) -> None:
    done = run("data", "convert", "synthetic:2", tmp_path / "yolo", "--format", "yolo", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert len(read_source(str(tmp_path / "yolo"))[0]) == 2
    done = run("data", "convert", "synthetic:2", tmp_path / "left", "--photos", "leave", "--quiet")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].endswith("a drawn scene has no file; expected --photos copy")


def test_a_sheet_that_is_one_of_the_photos(folder: Path) -> None:
    photo = sorted((folder / "photos").iterdir())[0]
    before = photo.read_bytes()
    done = run(
        "data", "check", f"negatives:{folder / 'photos'}", "--sheet", photo, "--work", folder / "check", "--quiet"
    )
    assert done.exit_code == 2 and "--sheet" in done.stderr and not done.stdout
    assert "is one of the photos; expected another file" in " ".join(done.stderr.split())
    assert photo.read_bytes() == before


def test_labels_in_other_units_are_refused(folder: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (folder / "photos").iterdir())
    rows = "".join(f"# {name}\n4000 4000 50 50\n" for name in names)
    (tmp_path / "label.txt").write_text(rows)
    done = run("data", "convert", f"retinaface:{tmp_path / 'label.txt'}:{folder / 'photos'}", tmp_path / "to")
    assert done.exit_code == 1 and "in pixels of these photos?" in done.stderr
    assert not (tmp_path / "to").exists()
