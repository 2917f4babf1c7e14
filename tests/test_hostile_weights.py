"""Malicious weights files: none crashes the process, exhausts memory, or is accepted silently."""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published_weights as foreign
import pytest
import torch
from factories import environment
from numpy.typing import NDArray
from processes import PATIENCE

from mtcnn import importers
from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, packaged_weights, read, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_module, model_of
from mtcnn.errors import CheckpointError, SettingsError
from mtcnn.files.safe_pickle import MAX_DEPTH, PickleReader, check_shape
from mtcnn.files.tensors import read_tensors, write_tensors
from mtcnn.files.torch_file import check_saved, read_saved
from mtcnn.importers import read_weights
from mtcnn.importers.lz4 import decompress
from mtcnn.importers.old_torch import read_old_saved
from mtcnn.importers.pickled import read_pickled
from mtcnn.types import Faces
from mtcnn.weights import SIZES

PROTO, END = b"\x80\x02", b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def put(slot: int) -> bytes:
    return b"r" + struct.pack("<I", slot)


def get(slot: int) -> bytes:
    return b"j" + struct.pack("<I", slot)


def tuples(depth: int) -> bytes:
    return b")" + b"\x85" * depth


ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
DEEP = tuples(1_000_000)


def storage(name: bytes, count: int, kind: str = "Float") -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + name + text("cpu") + number(count) + b"tQ"


def zipped(path: Path, steps: bytes, **data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", PROTO + steps + END)
        for name, content in data.items():
            archive.writestr(f"a/data/{name.removeprefix('_')}", content)
    return path


def laughs(levels: int) -> bytes:
    """A list of ten of a list of ten of a list of ten ..."""
    steps = b"]" + put(0)
    for level in range(levels):
        steps += b"](" + get(level) * 10 + b"e" + put(level + 1)
    return steps


PICKLES: dict[str, tuple[bytes, str]] = {
    "a nested key": (b"}" + DEEP + b"Ns", "nested deeper"),
    "a nested key, not deep": (b"}" + tuples(2) + b"Ns", "tuple for a key"),
    "a nested key of an OrderedDict": (ORDERED + b"((" + tuples(2) + b"Nt" + b"lt" + b"R", "step LIST"),
    "pairs with a key of tuples": (ORDERED + b"(](" + tuples(3) + b"N" + b"\x86etR", "damaged|key"),
    "a nested name of a storage": (storage(tuples(5), 1), "damaged"),
    "a nested value": (tuples(MAX_DEPTH + 1), "nested deeper"),
    "nested lists": (b"]" * 100 + b"a" * 99, "nested deeper"),
    "a list in itself": (b"]" + put(0) + get(0) + b"a", "nested deeper"),
    "a dict in itself": (b"}" + put(0) + text("x") + get(0) + b"s", "nested deeper"),
    "lists of lists of lists": (laughs(30), "values"),
    "a list that takes as a dict": (b"}" + number(1) + b"a", "damaged"),
    "a number with the attributes of a list": (number(1) + number(1) + b"a", "damaged"),
    "marks without end": (b"(" * 3 + b"t" * 4, "damaged"),
    "a mark in the way": (number(1) + b"(" + b"\x85", "damaged"),
    "an array for a key": (
        b"}" + TENSOR + b"(" + storage(text("0"), 1) + number(0) + b"))\x89)tR" + b"Ns", "ndarray for a key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PICKLES)
def test_pickles_in_a_checkpoint(tmp_path: Path, kind: str) -> None:
    steps, message = PICKLES[kind]
    with pytest.raises(CheckpointError, match=message):
        read_saved(zipped(tmp_path / "w.pt", steps, _0=bytes(4)))


@pytest.mark.parametrize("write", [lambda p: b"\x80\x04" + p + END, lambda p: foreign.lz4(PROTO + p + END)])
@pytest.mark.parametrize("steps", [b"}" + DEEP + b"Ns", b"cnumpy\ndtype\n(" + DEEP + b"tR"])
def test_pickles_of_other_projects(tmp_path: Path, write: Callable[[bytes], bytes], steps: bytes) -> None:
    with pytest.raises(CheckpointError, match="nested deeper"):
        read_weights(foreign.write(tmp_path / "w", write(steps)))


def test_tuples_up_to_the_limit(tmp_path: Path) -> None:
    found = read_saved(zipped(tmp_path / "w.pt", tuples(MAX_DEPTH - 1)))
    for _ in range(MAX_DEPTH - 1):
        (found,) = found
    assert found == ()


def test_plain_keys(tmp_path: Path) -> None:
    table = {"a": 1, 2: 3, None: 4, 1.5: 5, True: 6, b"x": 7}
    assert PickleReader(io.BytesIO(pickle.dumps(table, 3)), 100).table(table) == table
    torch.save({"a": 1, 2: 3, None: 4, 1.5: 5, False: 6}, tmp_path / "w.pt")
    assert read_saved(tmp_path / "w.pt") == {"a": 1, 2: 3, None: 4, 1.5: 5, False: 6}


def test_many_marks_are_found_in_time(tmp_path: Path) -> None:
    """Looking for the last mark among all values took a minute for each 200 kB."""
    steps = number(1) * 100_000 + b"(t" * 100_000
    assert read_saved(zipped(tmp_path / "w.pt", steps)) == ()


# ---- memory


def shown(count: int, times: int) -> bytes:
    """A table with `count` views of the same storage."""
    numbers = b"(" + get(1) + number(0) + number(count) + b"\x85" + number(1) + b"\x85\x89" + ORDERED + b")Rt"
    first = TENSOR + put(0) + storage(text("0"), count) + put(1) + b"\x86"
    return first + b"}(" + b"".join(text(str(i)) + get(0) + numbers + b"R" for i in range(times)) + b"u"


def test_a_storage_shown_many_times(tmp_path: Path) -> None:
    content = np.arange(50_000, dtype="<f4").tobytes()
    found = read_saved(zipped(tmp_path / "few.pt", shown(50_000, 4), _0=content))
    assert len(found) == 4 and all(np.array_equal(value, np.arange(50_000)) for value in found.values())
    with pytest.raises(CheckpointError, match="far more bytes"):
        read_saved(zipped(tmp_path / "many.pt", shown(50_000, 100), _0=content))


def test_a_table_copied_many_times(tmp_path: Path) -> None:
    table = b"}" + put(0) + b"(" + b"".join(number(i) + b"N" for i in range(10_000)) + b"u"
    copy = ORDERED + get(0) + b"\x85R"
    attributes = get(0) + b"}" + text("_metadata") + b"}sb"
    with pytest.raises(CheckpointError, match="far more bytes"):
        read_saved(zipped(tmp_path / "w.pt", table + attributes * 1000))
    with pytest.raises(CheckpointError, match="far more bytes"):
        read_saved(zipped(tmp_path / "w.pt", table + copy * 1000))


def test_a_text_encoded_many_times() -> None:
    steps = text("x" * 10_000) + put(0) + b"c_codecs\nencode\n" + put(1) + text("latin1") + put(2)
    with pytest.raises(CheckpointError, match="far more bytes"):
        read_pickled(PROTO + steps + (get(1) + get(0) + get(2) + b"\x86R") * 1000 + END)


def test_overlapping_members(tmp_path: Path) -> None:
    """The table of a zip may name the same bytes again and again."""
    path = tmp_path / "w.pt"
    rows = b"".join(text(str(i)) + storage(text(str(i)), 25_000) for i in range(20))
    zipped(path, b"}(" + rows + b"u", _0=bytes(100_000))
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (_, one), start = archive.infolist(), archive.start_dir
    entries = data[start : data.rindex(b"PK\5\6")]
    row = entries[entries.rindex(b"PK\1\2") :]
    name = one.filename.encode()
    rows = b""
    for i in range(20):
        other = f"a/data/{i}".encode()
        rows += row[:28] + struct.pack("<H", len(other)) + row[30:46] + other + row[46 + len(name) :]
    table = entries[: entries.rindex(b"PK\1\2")] + rows
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 21, 21, len(table), start, 0)
    path.write_bytes(data[:start] + table + end)
    with pytest.raises(CheckpointError):
        read_saved(path)


def test_a_file_of_nothing(tmp_path: Path) -> None:
    """A sparse file takes no space on disk, but would take it in memory."""
    with (tmp_path / "w.pt").open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(CheckpointError, match="at most"):
        read_saved(tmp_path / "w.pt")


def test_an_endless_device(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    monkeypatch.setattr(importers, "LARGEST", 1 << 20)
    with pytest.raises(CheckpointError, match="/dev/zero is too large"):
        read_weights("/dev/zero")


@pytest.mark.parametrize("shape", [(-1,), (2**40,), (1.0,), (True,), ("3",), (1,) * 9, (2**2040,) * 8])
def test_invalid_shapes(shape: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        check_shape(*shape)


def test_shapes() -> None:
    assert [check_shape(), check_shape(0, 5), check_shape(2, 3, 4)] == [1, 0, 24]


# ---- files of torch, old and new


def both(value: object) -> list[bytes]:
    found = []
    for new in (True, False):
        stream = io.BytesIO()
        torch.save(value, stream, _use_new_zipfile_serialization=new)
        found.append(stream.getvalue())
    return found


def test_rows_of_pickles_are_read_as_zips_are() -> None:
    large = torch.arange(60.0).reshape(3, 4, 5)
    value = {
        "large": large, "part": large[:, 1, ::2], "half": torch.ones(3).half(), "truth": torch.tensor([True, False]),
        "wide": torch.arange(3), "rough": torch.tensor([1.5, -2.0, 3e38]).bfloat16(), "none": torch.zeros(0, 2),
        "plain": [1, "x", None, (2.5,)], "size": torch.Size([2, 3]), "kind": torch.float32,
    }  # fmt: skip
    new, old = (read(data) for read, data in zip((read_saved, read_old_saved), both(value), strict=True))
    wanted = torch.load(io.BytesIO(both(value)[1]), weights_only=True)
    for found in (new, old):
        assert list(found) == list(value) and found["plain"] == value["plain"] and found["size"] == (2, 3)
        for name, tensor in wanted.items():
            if isinstance(tensor, torch.Tensor):
                array = torch.from_numpy(found[name])
                assert torch.equal(array, tensor.float() if name == "rough" else tensor)
                assert array.dtype == (torch.float32 if name == "rough" else tensor.dtype)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_rows_of_pickles_cut_short(part: float) -> None:
    whole = both({"a": torch.ones(1000), "b": torch.ones(3)})[1]
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_old_saved(whole[: int(len(whole) * part)])


def test_a_training_checkpoint_is_read(tmp_path: Path) -> None:
    """A state_dict beside an optimiser's."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for data in both({"state_dict": foreign.facenet_state("pnet"), "optimizer": optimizer.state_dict(), "epoch": 3}):
        (found,) = read_weights(foreign.write(tmp_path / "w", data))
        assert found.net == "pnet"


def test_input_of_torch_is_checked_before(tmp_path: Path) -> None:
    """Nested tuples crash torch itself; numbers may have any size."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3, 9, 9)).sum().backward()
    optimizer.step()
    state = {
        "key": "x",
        "best": -math.inf,
        "epoch": 3,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, tmp_path / "train.pt")
    check_saved(tmp_path / "train.pt")
    for steps in (b"}" + DEEP + b"Ns", b"cos\nsystem\n" + text("x") + b"\x85R", b"", storage(text("0"), 5, "Quint")):
        with pytest.raises(CheckpointError):
            check_saved(zipped(tmp_path / "bad.pt", steps))
    with pytest.raises(OSError, match="No such file"):
        check_saved(tmp_path / "absent.pt")


# ---- what is no net


def blob(shape: tuple[int, ...], data: bytes) -> bytes:
    dims = b"".join(b"\x08" + foreign_varint(side) for side in shape)
    return foreign_field(7, dims) + foreign_field(5, data)


def foreign_varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def foreign_field(place: int, data: bytes) -> bytes:
    return foreign_varint(place << 3 | 2) + foreign_varint(len(data)) + data


def caffe(*shapes: tuple[tuple[int, ...], int]) -> bytes:
    blobs = b"".join(foreign_field(7, blob(shape, bytes(4 * count))) for shape, count in shapes)
    return b"\x0a\x01a" + foreign_field(100, blobs)


def zeros(**tensors: torch.Tensor) -> bytes:
    return both({name.replace("_", "."): value for name, value in tensors.items()})[0]


NO_NETS: dict[str, tuple[bytes, str]] = {
    "empty": (both({})[0], "holds no net"),
    "sparse": (zeros(conv1_weight=torch.zeros(10, 3).to_sparse()), "sparse"),
    "meta": (zeros(conv1_weight=torch.zeros(10, 3, 3, 3, device="meta")), "meta|step"),
    "one number": (zeros(conv1_weight=torch.tensor(1.0), conv1_bias=torch.zeros(1)), "one number"),
    "other biases": (zeros(conv1_weight=torch.zeros(10, 256), conv1_bias=torch.zeros(3)), "10x256 3; expected as many"),
    "no rows": (zeros(conv1_weight=torch.zeros(0, 3), conv1_bias=torch.zeros(0)), "head 0x3|holds layers"),
    "caffe, no rows of many": (caffe(((0, 2**62), 0), ((0,), 0)), "damaged"),
    "caffe, of many dimensions": (caffe(((1,) * 100, 1), ((1,), 1)), "shape .1, 1, 1, 1, 1, 1, 1, 1.;"),
    "caffe, of many large dimensions": (caffe(((2**62,) * 1000, 0), ((1,), 1)), "0 values in a blob"),
    "caffe, one number": (caffe(((), 1), ((1,), 1)), "one number"),
    "caffe, many fields": (b"\x0a\x01a" + b"\x08\x01" * (1 << 20), "fields"),
    "a header of NumPy without end": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 99_999) + b"(" * 99_999, "no header"),
    "a header of NumPy that nests": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9_900) + b"-" * 9_900, "no header"),
}


@pytest.mark.parametrize("kind", NO_NETS)
def test_files_without_a_net(tmp_path: Path, kind: str) -> None:
    data, message = NO_NETS[kind]
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(foreign.write(tmp_path / "w", data))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_names_of_any_length_are_cut(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_weights(foreign.write(tmp_path / "w", both({"x" * 100_000: torch.zeros(1)})[0]))
    assert len(str(caught.value)) < 700


def test_lz4_that_stores_more_than_the_limit() -> None:
    frame = b"\x04\x22\x4d\x18\x60\x70\x73"
    block = struct.pack("<I", 1 << 31 | (4 << 20)) + bytes(4 << 20)
    with pytest.raises(CheckpointError, match="unfolds to more"):
        decompress(frame + block * 17 + bytes(4))


# ---- what weights give


def test_nan_is_invalid_json() -> None:
    points = np.array([[[1, 2], [np.inf, 3], [-np.inf, np.nan], [4, 5], [6, 7]]], np.float32)
    (row,) = Faces(np.ones((1, 4), np.float32), np.ones(1, np.float32), points).to_dicts()
    assert row["landmarks"] == [[1, 2], [None, 3], [None, None], [4, 5], [6, 7]]


def test_a_checkpoint_that_nests(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at all"):
        read(zipped(tmp_path / "weights-pnet.pt", b"}" + text("format") + tuples(5000) + b"s"))


# ---- what a file says of its net


@pytest.mark.parametrize("value", [1e300, -1e300, math.nan, math.inf, 10**30, 10_001, "x", None, (1,), {}])
def test_settings_of_an_impossible_net(tmp_path: Path, value: object) -> None:
    path = tmp_path / "weights.pt"
    spec = DETECTORS["ssh"]
    write(path, Checkpoint("ssh", {"a.weight": torch.ones(2, 3, 3, 3)}, "rgb", spec.scaling, model={"width": value}))
    with pytest.raises(CheckpointError, match=r"does not fit ssh: model\.width is ") as caught:
        load_module(path, "ssh")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("value", [(1,) * 1001, (10**9,), (1e300,), (math.nan,)])
def test_lists_of_settings_of_an_impossible_net(value: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match=r"model\.anchors is .* expected 1000 numbers or fewer, up to 10000"):
        model_of("slim", {"anchors": value})


def test_a_large_net_without_its_weights_is_not_built(tmp_path: Path) -> None:
    """Shapes are compared before any memory is taken: a net of this width would have 100 GB."""
    path = tmp_path / "weights.pt"
    state = {"a.weight": torch.ones(2, 3, 3, 3)}
    write(path, Checkpoint("ssh", state, "rgb", DETECTORS["ssh"].scaling, model={"width": 40.0}))
    with pytest.raises(CheckpointError, match=r"does not fit ssh: (lacks|unexpected)"):
        load_module(path, "ssh")


# ---- records of a good file, changed

HUGE = 10**400  # which JSON may hold, and no float


@pytest.fixture(params=["retinaface", "onet"])
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., CheckpointError]:
    """The error of a detector whose weights file has other values in its record."""
    net: str = request.param
    for name in (*SIZES, "retinaface"):
        target = weights_path(tmp_path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(weights_path(packaged_weights(), name).read_bytes())
    arrays, record = read_tensors(weights_path(tmp_path, net))

    def change(**values: Any) -> CheckpointError:
        write_tensors(weights_path(tmp_path, net), arrays, {**record, **values})
        with pytest.raises(CheckpointError) as caught:
            Detector(tmp_path, detector="retinaface" if net == "retinaface" else "mtcnn")
        return caught.value

    return change


@pytest.mark.parametrize("values", [
    {"net": "\x1b[31m\n"}, {"net": "x" * 100_000}, {"colour": "\x1b[31m\n"}, {"colour": "x" * 100_000},
    {"scaling": [HUGE, 1]}, {"scaling": [[HUGE] * 3, 1]}, {"scaling": [1, HUGE]}, {"threshold": HUGE},
    {"scoring": {"before": HUGE}}, {"scoring": {"temperature": HUGE}}, {"threshold": float("nan")},
], ids=str)  # fmt: skip
def test_records_that_cannot_be(changed: Callable[..., CheckpointError], values: dict[str, Any]) -> None:
    line = str(changed(**values))
    assert len(line) < 600 and line.isprintable()


@pytest.mark.parametrize("leak", [float("nan"), HUGE, 1e308, "x", None, {}, [1], True])
def test_a_setting_that_compiled_code_takes(tmp_path: Path, leak: Any) -> None:
    """The path without torch, which rebuilds no net: NaN made a detector that finds nothing."""
    arrays, record = read_tensors(weights_path(packaged_weights(), "retinaface"))
    path = weights_path(tmp_path, "retinaface")
    path.parent.mkdir(parents=True)
    write_tensors(path, arrays, {**record, "model": {**record["model"], "leak": leak}})
    with pytest.raises(CheckpointError, match=r"does not fit retinaface: model.leak is .*; expected"):
        Detector(tmp_path, detector="retinaface")


def test_numbers_of_any_size_are_no_warning(tmp_path: Path, photos: dict[str, NDArray[np.uint8]]) -> None:
    arrays, record = read_tensors(weights_path(packaged_weights(), "retinaface"))
    path = weights_path(tmp_path, "retinaface")
    path.parent.mkdir(parents=True)
    write_tensors(path, {name: (value > 0).astype(np.float32) for name, value in arrays.items()}, record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Detector(tmp_path, detector="retinaface").detect(photos["astronaut"])
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: (value * 100).astype(np.int8), "holds int8 in trunk.0.weight; expected floating-point weights"),
        (np.zeros_like, "holds zeros alone in trunk.0.weight; expected weights; copy it again"),  # a stopped download
    ],
)
def test_weights_that_find_nothing(tmp_path: Path, change: Callable[..., Any], message: str) -> None:
    """They were taken, and no face was found in any image."""
    arrays, record = read_tensors(weights_path(packaged_weights(), "onet"))
    first = next(iter(arrays))
    path = weights_path(tmp_path, "onet")
    path.parent.mkdir(parents=True)
    write_tensors(path, {**arrays, first: change(arrays[first])}, record)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} {message}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_in_place_of_weights(tmp_path: Path) -> None:
    """Nobody writes to it: reading would wait forever. In a process, which can be ended."""
    path = weights_path(tmp_path, "pnet")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    program = "import sys, mtcnn; mtcnn.Detector(sys.argv[1])"
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "CheckpointError: no weights at" in done.stderr
