"""Malicious archives of detections and .mat files: rejected in one line, quickly and with little memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn.errors import DataError
from mtcnn.files import archives
from mtcnn.files.archives import MAX_TEXT, text_files
from mtcnn.files.mat import MAX_DEPTH, read_mat
from mtcnn.metrics.wider_truth import GroundTruth

OK = b"a\n1\n1 2 30 40 0.9\n"


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A header of tar that claims any size, with the right checksum."""
    field = (size & (2**96 - 1)).to_bytes(12, "big") if size < 0 else b"\x80" + size.to_bytes(11, "big")
    head = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else field
    head[156:157] = kind
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


END = bytes(1024)
GOOD = header("e/a.txt", len(OK)) + padded(OK)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + END


TARS: dict[str, bytes] = {
    "plain": tar(GOOD), "gz": gzip.compress(tar(GOOD)), "bz2": bz2.compress(tar(GOOD)), "xz": lzma.compress(tar(GOOD)),
    "other members": tar(header("e/", 0, b"5"), header("x.jpg", 600) + bytes(1024), GOOD, header("e/l.txt", 0, b"2")),
}  # fmt: skip


@pytest.mark.parametrize("kind", TARS)
def test_good_tars(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").write_bytes(TARS[kind])
    assert list(text_files(tmp_path / "x")) == [("e/a.txt", OK)]


def pax(words: bytes, kind: bytes = b"x") -> bytes:
    return header("pax", len(words), kind) + padded(words)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "a text that unfolds": (lambda: gzip.compress(header("e/a.txt", 1 << 26) + bytes(1 << 26)), "has more"),
    "a picture that unfolds": (lambda: gzip.compress(tar(header("x.jpg", 1 << 26) + bytes(1 << 26), GOOD)), "far more"),
    "a name that unfolds": (lambda: gzip.compress(header("l", 1 << 26, b"L") + bytes(1 << 26)), "a header claims"),
    "words that unfold": (lambda: gzip.compress(header("l", 1 << 26, b"x") + bytes(1 << 26)), "a header claims"),
    "headers that unfold": (lambda: lzma.compress(header("e/b.jpg", 0) * 10_000), "far more"),
    "back to itself": (lambda: tar(header("e/z.txt", 0), header("e/b.txt", -1024)), "-1024 bytes"),
    "back to itself, by words": (lambda: tar(pax(b"14 size=-1024\n"), header("e/b.txt", 0)), "cannot be read|bytes"),
    "words of a size below 0": (lambda: tar(header("l", -512, b"x")), "cannot be read"),
    "a name of a size below 0": (lambda: tar(header("l", -512, b"L")), "cannot be read"),
    "of 2^80 bytes": (lambda: tar(header("e/a.txt", 2**80)), "has more"),
    "a picture of 2^80 bytes": (lambda: tar(header("e/a.jpg", 2**80)), "far more|leads"),
    "names of names of names": (lambda: header("l", 0, b"L") * 5000, "cannot be read"),
    "a hole in the middle": (lambda: tar(header("e/a.txt", 1 << 16, b"S") + END), "cannot be read"),
    "cut": (lambda: header("e/a.txt", 600) + b"x", "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tars(tmp_path: Path, kind: str) -> None:
    make, message = BAD[kind]
    (tmp_path / "x").write_bytes(make())
    with pytest.raises(DataError, match=message) as caught:
        list(text_files(tmp_path / "x"))
    assert str(caught.value).startswith(str(tmp_path / "x")) and "\n" not in str(caught.value)


def zipped(method: int = zipfile.ZIP_DEFLATED, content: bytes = OK) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("e/a.txt", content)
    return stream.getvalue()


def marked(place: tuple[int, int], value: int, data: bytes | None = None) -> bytes:
    """A zip with a byte changed, in the header of its member and in its table."""
    changed = bytearray(zipped() if data is None else data)
    changed[place[0]] = changed[changed.index(b"PK\1\2") + place[1]] = value
    return bytes(changed)


ZIPS: dict[str, tuple[bytes, str]] = {
    "encrypted": (marked((6, 8), 1), "is encrypted"),
    "packed in an unknown way": (marked((8, 10), 99), "method 99"),
    "bz2": (zipped(zipfile.ZIP_BZIP2), "method 12"),
    "a text that unfolds": (zipped(content=bytes(MAX_TEXT + 1)), "has more than"),
    "a checksum that is wrong": (marked((14, 16), 1), "cannot be read"),
    "cut": (zipped()[:-5], "cannot be read"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_bad_zips(tmp_path: Path, kind: str) -> None:
    data, message = ZIPS[kind]
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        list(text_files(tmp_path / "x.zip"))
    assert "\n" not in str(caught.value)


def test_a_zip_whose_members_are_one(tmp_path: Path) -> None:
    """The same 4 MB of zeros under 99 names: 4 kB."""
    content = zipped(content=bytes(MAX_TEXT))
    start = content.index(b"PK\1\2")
    row = content[start : content.index(b"PK\5\6")]
    table = b""
    for i in range(99):
        name = b"e/%03d.txt" % i
        table += row[:28] + struct.pack("<H", len(name)) + row[30:46] + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 99, 99, len(table), start, 0)
    (tmp_path / "x.zip").write_bytes(content[:start] + table + end)
    with pytest.raises(DataError, match=r"far more|cannot be read"):
        list(text_files(tmp_path / "x.zip"))


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e/a.txt").write_bytes(OK)
    (tmp_path / "e/b.txt").mkdir()
    assert list(text_files(tmp_path)) == [("e/a.txt", OK)]
    with (tmp_path / "e/c.txt").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(DataError, match=r"c\.txt has more than"):
        list(text_files(tmp_path))


def test_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    (tmp_path / "x").write_bytes(tar(*[GOOD] * 3))
    assert len(list(text_files(tmp_path / "x"))) == 3
    (tmp_path / "x").write_bytes(tar(*[GOOD] * 4))
    with pytest.raises(DataError, match="far more"):
        list(text_files(tmp_path / "x"))


# ---- .mat


savemat: Any = pytest.importorskip("scipy.io").savemat


def cells(values: list[Any]) -> Any:
    made = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        made[i, 0] = value
    return made


def mat(packed: bool = False, **variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=packed)
    return stream.getvalue()


def wider_mat(variable: str, leaf: Any, packed: bool = False) -> bytes:
    files = cells([cells(["a_1", "größe"]), cells(["b_1"])])
    found = {variable: cells([cells([leaf, leaf]), cells([leaf])])}
    return mat(packed, event_list=cells(["0--A", "1--B"]), file_list=files, **found)


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_mat_file_holds(tmp_path: Path, packed: bool) -> None:
    """As scipy reads it, for every type of number."""
    arrays = {
        kind: np.arange(6).reshape(2, 3).astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    }
    other = {"text": "0--Ä日", "empty": np.zeros((0, 0)), "cell": cells(["a", cells([np.eye(2)])]), "none": cells([])}
    (tmp_path / "x.mat").write_bytes(mat(packed, **arrays, **other))
    found = read_mat(tmp_path / "x.mat", [*arrays, *other, "absent"])
    for kind, array in arrays.items():
        np.testing.assert_array_equal(found[kind], array)
    assert found["text"] == "0--Ä日" and found["empty"].size == 0 and found["none"] == []
    assert found["cell"][0] == "a"
    np.testing.assert_array_equal(found["cell"][1][0], np.eye(2))
    assert "absent" not in found
    assert list(read_mat(tmp_path / "x.mat", ["text"])) == ["text"]


def refused(path: Path, data: bytes, names: tuple[str, ...] = ("x",)) -> str:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_mat(path, names)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


def test_invalid_mat_files(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    good = mat(x=np.eye(3))
    assert "header" in refused(path, b"")
    assert "header" in refused(path, b"hello" * 99)
    assert "7.3" in refused(path, b"MATLAB 7.3 MAT-file".ljust(126) + b"IM")
    assert "are left" in refused(path, good[:-8])
    assert "class 6" in refused(path, mat(x=np.eye(2) * 1j))
    assert "class 2" in refused(path, mat(x={"a": 1}))
    nested: Any = "a"
    for _ in range(MAX_DEPTH + 1):
        nested = cells([nested])
    assert "deep" in refused(path, mat(x=nested))
    assert "unfolds" in refused(path, mat(packed=True, x=np.zeros((4000, 1000))))
    packed = good[:128] + struct.pack("<II", 15, 20) + zlib.compress(good[128:])[:20]
    assert "cut off" in refused(path, packed)


WORDS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\x11\0\0\0", b"\x0e\0\0\0")


def test_damaged_mat_files(tmp_path: Path) -> None:
    """With any four bytes changed: it is read, or rejected in one line."""
    rng = random.Random(0)
    box, keep = np.array([[1.0, 2, 30, 40], [5, 5, 20, 20]]), np.array([[1], [2]], np.uint8)
    good = {name: wider_mat("gt_list", keep) for name in ("easy", "medium", "hard")}
    good["face"] = wider_mat("face_bbx_list", box)
    kinds = {name: [data] for name, data in good.items()}
    kinds["face"].append(wider_mat("face_bbx_list", box, packed=True))
    seen = {"read": 0, "refused": 0}
    told: list[str] = []
    for _ in range(300):
        name = rng.choice(["face", "hard"])
        data = bytearray(rng.choice(kinds[name]))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(124, len(data) - 4)
            if rng.random() < 0.5:
                data[at] ^= 1 << rng.randrange(8)
            else:
                data[at : at + 4] = rng.choice(
                    [b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(4), b"\x11\0\0\0", b"\x0e\0\0\0"]
                )
        for other, content in {**good, name: bytes(data)}.items():
            (tmp_path / f"wider_{other}_val.mat").write_bytes(content)
        try:
            GroundTruth.load_mat(tmp_path)
            seen["read"] += 1
        except DataError as error:
            told.append(str(error))
            seen["refused"] += 1
    assert min(seen.values()) > 5, seen
    assert not any("\n" in text for text in told)


@pytest.mark.parametrize(
    ("variable", "leaf", "name"),
    [("face_bbx_list", np.eye(3), "face"), ("face_bbx_list", np.full((1, 4), np.nan), "face"),
     ("face_bbx_list", "text", "face"), ("gt_list", np.array([[3]]), "hard"), ("gt_list", np.array([[0]]), "hard"),
     ("gt_list", np.array([[np.nan]]), "hard"), ("gt_list", cells(["x"]), "hard")],
)  # fmt: skip
def test_ground_truth_that_does_not_agree(tmp_path: Path, variable: str, leaf: Any, name: str) -> None:
    box, keep = np.array([[1.0, 2, 30, 40], [5, 5, 20, 20]]), np.array([[1], [2]], np.uint8)
    for other in ("face", "easy", "medium", "hard"):
        data = wider_mat("face_bbx_list", box) if other == "face" else wider_mat("gt_list", keep)
        (tmp_path / f"wider_{other}_val.mat").write_bytes(wider_mat(variable, leaf) if other == name else data)
    with pytest.raises(DataError, match=f"wider_{name}_val.mat"):
        GroundTruth.load_mat(tmp_path)


@pytest.mark.data
def test_the_official_files_are_what_scipy_reads(data_folder: Path) -> None:
    from scipy.io import loadmat

    for name, variable in (("face", "face_bbx_list"), ("hard", "gt_list")):
        path = data_folder / "wider" / "ground_truth" / f"wider_{name}_val.mat"
        wanted, found = loadmat(str(path)), read_mat(path, ["event_list", "file_list", variable])
        assert [event.item() for event in wanted["event_list"][:, 0]] == found["event_list"]
        for i, files in enumerate(wanted["file_list"][:, 0]):
            assert [file.item() for file in files[:, 0]] == found["file_list"][i]
            for old, new in zip(wanted[variable][i, 0][:, 0], found[variable][i], strict=True):
                np.testing.assert_array_equal(old, new)
