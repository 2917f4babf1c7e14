"""Files of torch.save read without torch: equal to torch to the last bit, and nothing but arrays."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mtcnn.checkpoint import packaged_weights, read, weights_path
from mtcnn.errors import CheckpointError
from mtcnn.files.torch_file import read_saved
from mtcnn.nets import CLASSES, NETS, module_of, weights_of
from mtcnn.weights import LAYERS, Weights, shapes

TYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
         torch.bool)  # fmt: skip


def equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, torch.Tensor):
        return bool(
            isinstance(found, np.ndarray)
            and torch.from_numpy(found).dtype == wanted.dtype
            and torch.equal(torch.from_numpy(found), wanted.detach())
        )
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(equal(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list | tuple):
        return type(found) is type(wanted) and len(found) == len(wanted) and all(map(equal, found, wanted))
    return type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize("net", ["pnet", "rnet", "onet", "retinaface"])
def test_weights_are_what_torch_reads(net: str, tmp_path: Path) -> None:
    found = read(weights_path(packaged_weights(), net))
    torch.save({"net": net, "state": found.tensors(), "recipe": found.recipe}, tmp_path / "w.pt")
    assert equal(read_saved(tmp_path / "w.pt"), torch.load(tmp_path / "w.pt", weights_only=True))


def test_all_kinds_of_content(tmp_path: Path) -> None:
    large = torch.arange(60.0).reshape(3, 4, 5)
    body = {
        "types": [torch.tensor([0, 1, 3]).to(kind) for kind in TYPES],
        "shapes": [torch.zeros(()), torch.zeros(0, 3), torch.ones(2, 0), torch.ones(1)],
        "views": (large[1], large.permute(2, 0, 1), large[:, ::2, 1:], large[:, 1, 3], large),
        "plain": [None, True, False, -1, 2**40, 1.5, float("inf"), "größe", (), {}, {"a": [1, (2, "x")]}],
        "ordered": collections.OrderedDict(a=1),
        "state": nn.BatchNorm2d(3).state_dict(),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    torch.save(body, tmp_path / "w.pt")
    found = read_saved(tmp_path / "w.pt")
    assert equal(found, torch.load(tmp_path / "w.pt", weights_only=True))
    assert all(array.flags.owndata and array.flags.writeable for array in found["views"])


def rewritten(path: Path, **members: bytes | None) -> Path:
    """A file of torch with other members in it; None leaves one out."""
    torch.save({"a": torch.arange(6.0)}, path)
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in old.items():
            new = members.get(name.partition("/")[2].replace("/", "_").replace(".", "_"), content)
            if new is not None:
                archive.writestr(name, new)
    return path


def tensor_pickle(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A pickle of one tensor with these numbers, which may lie."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (
                Storage(),
                offset,
                shape,
                strides,
                False,
                collections.OrderedDict(),
            )

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Storage) else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump(Tensor())
    return stream.getvalue()


def test_the_forged_pickle_is_otherwise_good(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "w.pt", data_pkl=tensor_pickle(6, 1, (2, 2), (2, 1)))
    np.testing.assert_array_equal(read_saved(path), [[1, 2], [3, 4]])


BAD = {
    "beyond the end": (6, 0, (7,), (1,)),
    "offset beyond the end": (6, 5, (2,), (1,)),
    "before the beginning": (6, -1, (2,), (1,)),
    "backwards": (6, 5, (2,), (-1,)),
    "strides beyond the end": (6, 0, (2, 3), (4, 1)),
    "of no memory's size": (6, 0, (2**40,), (0,)),
    "negative": (6, 0, (-2, -3), (1, 1)),
    "another number of dimensions": (6, 0, (2, 3), (1,)),
    "a storage of another size": (7, 0, (2,), (1,)),
}


@pytest.mark.parametrize("kind", BAD)
def test_missing_tensors(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError):
        read_saved(rewritten(tmp_path / "w.pt", data_pkl=tensor_pickle(*BAD[kind])))


@pytest.mark.parametrize(
    "members",
    [{"data_0": None}, {"data_0": b"123"}, {"data_pkl": None}, {"data_pkl": b"\x80\x02N"}, {"byteorder": b"big"},
     {"data_pkl": b"\x80\x02."}, {"data_pkl": b""}],
)  # fmt: skip
def test_damage(tmp_path: Path, members: dict[str, bytes | None]) -> None:
    with pytest.raises(CheckpointError):
        read_saved(rewritten(tmp_path / "w.pt", **members))


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    """A small one could fill the memory, and torch writes none."""
    torch.save({"a": torch.zeros(1000)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as old,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError):
        read_saved(tmp_path / "z.pt")


# ---- the nets as numbers


@pytest.mark.parametrize("net", list(NETS))
def test_shapes_are_those_of_the_modules(net: str) -> None:
    """Names in the same order too."""
    state = NETS[net]().state_dict()
    assert list(shapes(net).items()) == [(name, tuple(value.shape)) for name, value in state.items()]


def test_every_net_has_shapes() -> None:
    assert LAYERS.keys() == CLASSES.keys()


@pytest.mark.parametrize("net", list(CLASSES))
def test_modules_and_weights_are_equal(net: str) -> None:
    module = CLASSES[net]()
    weights = weights_of(module)
    again = module_of(weights)
    assert not again.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert next(iter(weights.state.values())).any(), "a copy"


def test_weights_of_other_modules() -> None:
    with pytest.raises(ValueError, match="Linear; expected one of pnet, rnet, onet"):
        weights_of(nn.Linear(1, 1))


def test_weights_that_do_not_fit() -> None:
    state = dict(weights_of(NETS["pnet"]()).state)
    state["face.bias"], state["more"] = np.zeros(3), np.zeros(1)
    del state["trunk.0.weight"]
    with pytest.raises(
        ValueError, match=r"Missing trunk.0.weight; Unexpected more; size mismatch: face.bias is \(3,\)"
    ):
        Weights("pnet", state)
