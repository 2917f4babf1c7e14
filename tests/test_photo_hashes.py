"""Hashes of photos: nearly the same photos have nearly the same hash, and no training sees those of an evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from processes import succeeds_forked
from run_command import run

from mtcnn.errors import DataError, ImageError
from mtcnn.images import difference_hash
from prepare import synthetic
from prepare.photo_hashes import NEAR, EvalHashes, PhotoHashes, distances, near_pairs, packaged_hashes
from prepare.sources import Refused, read_sources


def slow_hash(path: Path) -> int:
    """Bit by bit, as the definition says."""
    gray = Image.open(path).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    value = 0
    for y in range(8):
        for x in range(8):
            left, right = gray.getpixel((x, y)), gray.getpixel((x + 1, y))
            value = 2 * value + int(left < right)  # type: ignore[operator]  # one band
    return value


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Four drawn scenes; the fifth is the first again, smaller and compressed."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(synthetic.draw_scene(3, i)[0]).save(path)
    again = tmp_path / "again.jpg"
    Image.open(paths[0]).resize((200, 150)).save(again, quality=70)
    return [*paths, again]


def test_the_hash_is_its_definition(photos: list[Path]) -> None:
    for path in photos:
        assert difference_hash(path) == difference_hash(path.read_bytes()) == slow_hash(path)
    assert len({difference_hash(path) for path in photos[:4]}) == 4


def test_photos_saved_again_are_near_and_others_are_not(photos: list[Path]) -> None:
    hashes = np.array([difference_hash(path) for path in photos], np.uint64)
    assert near_pairs(hashes).tolist() == [[0, 4]]


def test_what_is_no_photo_has_no_hash(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "cut.jpg").write_bytes(photos[4].read_bytes()[:-800])
    for name in ("cut.jpg", "missing.jpg"):
        with pytest.raises(ImageError):
            difference_hash(tmp_path / name)
    found = PhotoHashes().of([tmp_path / "cut.jpg", tmp_path / "missing.jpg", synthetic.records(1, 0)[0].path])
    assert list(found.values()) == [None] * 3


def test_pairs_equal_a_plain_double_loop() -> None:
    rng = np.random.default_rng(0)
    for bits in (3, 8, 64):  # hashes of few bits have many pairs
        hashes = (
            rng.integers(0, 1 << bits, 60, np.uint64, endpoint=False)
            if bits < 64
            else rng.integers(0, 1 << 63, 60, np.uint64)
        )
        hashes[30:40] = hashes[:10] ^ np.uint64(1 << 63)
        hashes[40:50] = hashes[:10] ^ np.uint64((1 << 21) + (1 << 22))
        hashes[50:] = hashes[:10] ^ np.uint64((1 << 5) + (1 << 30) + (1 << 50))
        plain = [[i, j] for i in range(60) for j in range(i + 1, 60)
                 if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= NEAR]  # fmt: skip
        assert near_pairs(hashes).tolist() == plain
        assert len(plain) >= 20
    assert near_pairs(np.zeros(0, np.uint64)).shape == (0, 2)


def test_distances_count_bits() -> None:
    a, b = np.array([0, 1, (1 << 64) - 1], np.uint64), np.array([0, 7], np.uint64)
    assert distances(a[:, None], b[None]).tolist() == [[0, 3], [1, 2], [64, 61]]


def test_files_of_hashes(tmp_path: Path) -> None:
    one, two = tmp_path / "1.txt", tmp_path / "2.txt"
    one.write_text("# a remark\n00000000000000ff name.jpg\n\n!00000000000000f0  looks like it\n")
    two.write_text("FF00000000000000\r\n")
    found = EvalHashes.read([one, two])
    given = [0xFF, 0xFE, 0xFC, 0xF8, 0xF0, 0xFF << 56, 0, None]
    assert found.near(given).tolist() == [True, True, True, False, False, True, False, False]
    assert EvalHashes.read([]).near([1, None]).tolist() == [False, False]


@pytest.mark.parametrize("line", ["ff", "00000000000000fg", "0x000000000000ff", "0_00000000000000", "!", "! 12"])
def test_lines_that_are_no_hash(tmp_path: Path, line: str) -> None:
    (tmp_path / "h.txt").write_text(f"# x\n{line}\n")
    with pytest.raises(DataError, match=r"h.txt:2: .* is no hash; expected 16 hexadecimal digits"):
        EvalHashes.read([tmp_path / "h.txt"])
    with pytest.raises(DataError, match="no such file of hashes"):
        EvalHashes.read([tmp_path / "missing.txt"])


def test_hashes_are_remembered_until_the_photo_changes(tmp_path: Path, photos: list[Path]) -> None:
    file, looked = tmp_path / "hashes.json", []

    class Noted(PhotoHashes):
        def look(self, path: Path) -> tuple[int]:
            looked.append(path.name)
            return super().look(path)

    for expected in (["0.png", "1.png"], []):
        notes = Noted(file)
        assert notes.of(photos[:2]) == {path: slow_hash(path) for path in photos[:2]}
        notes.save()
        assert sorted(looked) == expected
        looked.clear()
    Image.fromarray(synthetic.draw_scene(5, 5)[0]).save(photos[0])
    assert Noted(file).of(photos[:2])[photos[0]] == slow_hash(photos[0])
    assert looked == ["0.png"]
    file.write_text(f'{{"format": 1, "hashes": {{"a": [1, 2, {1 << 64}]}}}}')
    assert Noted(file)._known == {}


class Slow(PhotoHashes):
    """Takes a while for each photo."""

    looks: ClassVar[list[Path]] = []

    def look(self, path: Path) -> tuple[int]:
        self.looks.append(path)
        time.sleep(0.02)
        return (len(self.looks),)


def names(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        path.touch()
    return paths


def test_a_killed_run_keeps_the_hashes_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for those of the last minute."""
    paths, file = names(tmp_path, 9), tmp_path / "hashes.json"
    assert PhotoHashes.save_every == 60
    monkeypatch.setattr(Slow, "save_every", -1.0)

    def killed(seen: Iterable[Any], **settings: Any) -> Iterator[Any]:
        for number, each in enumerate(seen):
            if number == 5:
                os._exit(0)
            yield each

    with monkeypatch.context() as patch:
        patch.setattr("prepare.photo_notes.progress", killed)
        assert succeeds_forked(lambda: bool(Slow(file).of(paths)))
    known = PhotoHashes(file, cached_only=True).of(paths)
    assert [known[path] is not None for path in paths] == [True] * 5 + [False] * 4


def test_an_interrupted_check_keeps_its_hashes_and_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    paths = names(tmp_path / "photos", 300)

    def interrupted(seen: Iterable[Any], **settings: Any) -> Iterator[Any]:
        for number, each in enumerate(seen):
            if number == 5:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr("prepare.photo_notes.progress", interrupted)
    monkeypatch.setattr("prepare.photo_hashes.PhotoHashes", Slow)
    monkeypatch.setattr(Slow, "looks", [])
    done = run("data", "check", f"negatives:{tmp_path / 'photos'}", "--work", tmp_path / "work", "--quiet")
    assert (done.exit_code, done.stderr) == (130, "mtcnn: interrupted; run the same command again to continue\n")
    assert len(Slow.looks) < 100
    known = PhotoHashes(tmp_path / "work" / "photo-hashes.json", cached_only=True).of(paths)
    assert sum(value is not None for value in known.values()) == 5


def test_only_the_cache_is_read(tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`mtcnn status` saves nothing, so it would read all photos of a folder every time."""
    known = PhotoHashes(tmp_path / "hashes.json")
    wanted = known.of(photos[:2])
    known.save()
    monkeypatch.setattr(PhotoHashes, "look", lambda self, path: pytest.fail(f"{path} was read"))
    found = PhotoHashes(tmp_path / "hashes.json", cached_only=True).of(photos)
    assert found == {**dict.fromkeys(photos), **wanted}


def test_the_packaged_hashes() -> None:
    found = EvalHashes.read([packaged_hashes()])
    assert len(found.hashes) == 1300
    assert packaged_hashes().stat().st_size < 100_000
    assert found.near(found.hashes.tolist()).all()
    assert not found.near(list(found.allowed)).any()


@pytest.mark.data
def test_no_photo_to_train_on_is_refused(data_folder: Path) -> None:
    """Every eighth of them, and every tenth of those that are evaluated on."""
    evaluation = EvalHashes.read([packaged_hashes()])
    train = sorted((data_folder / "wider/train/images").rglob("*.webp"))[::8]
    train.append(next((data_folder / "wider/train/images").rglob("26_Soldier_Drilling_Soldiers_Drilling_26_619.webp")))
    dev = sorted((data_folder / "wider/dev/images").rglob("*.jpg"))[::10]
    assert not evaluation.near([difference_hash(path) for path in train]).any()
    assert evaluation.near([difference_hash(path) for path in dev]).all()


# ---- in a training


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    synthetic.write_folder(tmp_path / "data", 6, 0)
    return tmp_path / "data"


def drawn(folder: Path) -> list[Path]:
    return sorted((folder / "wider" / "train" / "images").rglob("*.jpg"))


def hashes_of(tmp_path: Path, paths: list[Path]) -> Path:
    file = tmp_path / "mine.txt"
    file.write_text("".join(f"{difference_hash(path):016x}  {path.name}\n" for path in paths))
    return file


def test_photos_of_an_evaluation_are_left_out(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = Refused(EvalHashes.read([hashes_of(tmp_path, drawn(folder)[:2])]), PhotoHashes())
    spec = f"wider:{folder}/wider/wider_face_train_bbx_gt.txt"
    left = read_sources([spec, "synthetic:2"], quiet=True, refused=refused)
    assert [record.path for record in left[:4]] == drawn(folder)[2:] and len(left) == 6
    line = f"{spec}: 2 photos are photos of an evaluation, or nearly, such as {drawn(folder)[0]}; left out\n"
    assert capsys.readouterr().err == line


def test_a_source_of_an_evaluation_is_refused(tmp_path: Path, folder: Path) -> None:
    refused = Refused(EvalHashes.read([hashes_of(tmp_path, drawn(folder)[:4])]), PhotoHashes())
    with pytest.raises(DataError, match=r"4 photos are photos of an evaluation, .*; expected photos that no"):
        read_sources([f"wider:{folder}/wider/wider_face_train_bbx_gt.txt"], refused=refused)


def test_trainings_remember_the_hashes(tmp_path: Path, folder: Path) -> None:
    """Given once, they hold for every later command of the work folder; they change what the crops are made from."""
    file = hashes_of(tmp_path, drawn(folder)[:1])
    words = ("prepare", "--net", "12", "--work", tmp_path / "w", "--workers", 1, "--quiet")
    data = ("--data", f"wider:{folder}/wider/wider_face_train_bbx_gt.txt")
    assert "was fresh" not in run(*words, *data).stdout
    looked = run("status", "--work", tmp_path / "w", "--eval-hashes", file)
    assert "stale    changed: data" in looked.stdout and not (tmp_path / "w" / "eval-hashes.txt").exists()
    left_out = run(*words, "--eval-hashes", file)
    assert "1 photos are photos of an evaluation" in left_out.stderr and "was fresh" not in left_out.stdout
    file.unlink()
    again = run(*words)
    assert "1 photos are photos of an evaluation" in again.stderr and "was fresh" in again.stdout
    assert (tmp_path / "w" / "photo-hashes.json").is_file()
    gone = run(*words, "--eval-hashes", file)
    assert gone.exit_code == 1 and "no such file of hashes" in gone.stderr
