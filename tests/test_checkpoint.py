"""Weights files: round trips, conversion of colour orders, and rejection of any other file in one line."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from torch import Tensor

from mtcnn import Detector
from mtcnn.checkpoint import Checkpoint, packaged_weights, read, weights_path, write
from mtcnn.errors import CheckpointError, MtcnnError
from mtcnn.nets import NETS, load_net
from mtcnn.scoring import Scoring, scoring_of
from mtcnn.weights import SIZES


def weights(net: str = "pnet", seed: int = 0) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETS[net]().state_dict()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "weights-pnet.safetensors"
    write(path, Checkpoint("pnet", weights()))
    return path


@pytest.mark.parametrize("net", list(NETS))
def test_round_trip(tmp_path: Path, net: str) -> None:
    path = weights_path(tmp_path / "new folder", net)
    recipe = {"epochs": 3, "rates": [0.1, 0.2], "flip": True, "name": "größe", "none": None}
    scoring = Scoring(0.5, 1.5, 2)
    written = Checkpoint(net, weights(net), recipe=recipe, recipe_hash="abc", figures={"recall": 0.97}, scoring=scoring)
    write(path, written)
    found = read(path)
    assert found.state.keys() == written.state.keys()
    assert all(torch.equal(value, written.state[name]) for name, value in found.tensors().items())
    assert {**asdict(found), "state": 0} == {**asdict(written), "state": 0}
    module = load_net(path, net)
    assert scoring_of(module) == found.scoring == scoring
    assert not module.training
    assert all(torch.equal(value, written.state[name]) for name, value in module.state_dict().items())
    assert os.listdir(path.parent) == [path.name]


def test_state_is_written_detached_and_small(tmp_path: Path) -> None:
    """Of a view of a large tensor only its own values are written, and no gradients."""
    big = torch.zeros(1_000_000)
    state = {"slice": big[:3], "learned": torch.ones(2, requires_grad=True) * 2}
    write(tmp_path / "w.pt", Checkpoint("pnet", state))
    assert (tmp_path / "w.pt").stat().st_size < 10_000
    assert read(tmp_path / "w.pt").state["learned"].tolist() == [2, 2]


@pytest.mark.parametrize("net", list(NETS))
def test_bgr_weights_see_rgb(tmp_path: Path, net: str) -> None:
    write(tmp_path / "rgb.pt", Checkpoint(net, weights(net)))
    write(tmp_path / "bgr.pt", Checkpoint(net, weights(net), colour="bgr"))
    rgb, bgr = load_net(tmp_path / "rgb.pt", net), load_net(tmp_path / "bgr.pt", net)
    image = torch.rand(2, 3, SIZES[net], SIZES[net])
    with torch.no_grad():
        torch.testing.assert_close(bgr(image).face_logits, rgb(image.flip(1)).face_logits)
        torch.testing.assert_close(bgr(image).offsets, rgb(image.flip(1)).offsets)
        assert not torch.allclose(bgr(image).face_logits, rgb(image).face_logits)


def test_places(tmp_path: Path) -> None:
    assert weights_path(tmp_path, "rnet") == tmp_path / "models-24" / "weights-rnet.safetensors"
    assert (packaged_weights() / "models-12" / "recipe-pnet.toml").is_file()


# ---- files that are refused


class RunsCode:
    """Unpickling this without restrictions creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def saved(**changes: Any) -> Callable[[Path], None]:
    """Makes a file that differs from a good one in these entries; None drops an entry."""
    body = {"format": 1, "net": "pnet", "state": weights(), "colour": "rgb", "scaling": [127.5, 128.0], **changes}
    return lambda path: torch.save({name: value for name, value in body.items() if value is not None}, path)


def filled(name: str, value: float) -> Callable[[Path], None]:
    return saved(state={**weights(), name: torch.full_like(weights()[name], value)})


def cut_to(share: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        saved()(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])

    return make


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.txt", "hello")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "no such file; train them"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), "truncated"),
    "cut early": (cut_to(0.01), "truncated"),
    "cut in the middle": (cut_to(0.5), "truncated"),
    "last byte lost": (cut_to(1), "truncated"),
    "text": (lambda path: path.write_text("hello\n"), "no checkpoint at all"),
    "photo": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "no checkpoint at all"),
    "zip": (zipped, "no checkpoint at all"),
    "code": (lambda path: saved(recipe=RunsCode(path.with_name("ran")))(path), "no checkpoint at all"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(RunsCode(path.with_name("ran")))), "no checkpoint at all"),
    "whole module": (lambda path: torch.save(NETS["pnet"](), path), "no checkpoint at all"),
    "list": (lambda path: torch.save([1, 2], path), "no checkpoint of this project"),
    "tensor": (lambda path: torch.save(torch.zeros(3), path), "no checkpoint of this project"),
    "bare weights": (lambda path: torch.save(weights(), path), "no checkpoint of this project"),
    "other format": (saved(format=99), "has format 99; expected 1"),
    "no weights": (saved(state=None), "lacks state"),
    "weights that are no table": (saved(state=[1]), "has a state of a list; expected a dict"),
    "no scaling": (saved(scaling=None, colour=None), "lacks colour, scaling"),
    "other net": (saved(net="rnet"), "holds weights of rnet; expected pnet"),
    "other layers": (saved(state=weights("onet")), "does not fit pnet: .*size mismatch|Unexpected"),
    "missing layers": (saved(state={"face.bias": torch.zeros(2)}), "does not fit pnet: .*Missing"),
    "missing layers, bgr": (saved(state={}, colour="bgr"), "does not fit pnet: .*Missing"),
    "no tensors": (saved(state=dict.fromkeys(weights(), "x")), "holds trunk.0.weight, a str; expected arrays"),
    "NaN": (filled("trunk.0.weight", math.nan), "holds NaN, infinity .* in trunk.0.weight"),
    "infinity": (filled("face.bias", -math.inf), "holds NaN, infinity .* in face.bias"),
    "beyond all weights": (filled("offsets.bias", 1e38), "holds .* a number beyond 1e.12 in offsets.bias"),
    "a variance below 0": (saved(state={"trunk.norm.running_var": -torch.ones(2)}), "holds a variance of -1"),
    "a net of no name": (saved(net=5), "has a net of 5; expected a str"),
    "a recipe that is no table": (saved(recipe="x"), "has a recipe of 'x'; expected a dict"),
    "names that are numbers": (saved(state={3: torch.zeros(2)}), "holds 3, a ndarray; expected .* by name"),
    "one number for a scaling": (saved(scaling=5), "has a scaling of 5; expected a mean and a divisor"),
    "a scaling of words": (saved(scaling=["a", "b"]), "has a scaling of a list"),
    "a scaling of NaN": (saved(scaling=[math.nan, 1.0]), "has a scaling of a list"),
    "a scaling of two means": (saved(scaling=[[1.0, 2.0], 1.0]), "has a scaling of a list"),
    "a format of many words": (saved(format=[["x" * 999] * 99]), "has format a list; expected 1"),
    "other scaling": (saved(scaling=[0.0, 255.0]), r"scaled by \(0.0, 255.0\); expected .*\(127.5, 128.0\)"),
    "unknown scoring": (saved(scoring={"after": 1.0}), "has no scoring that is known here: .*'after'; update mtcnn"),
    "senseless scoring": (saved(scoring={"temperature": 0.0}), "temperature is 0.0; expected a finite number above 0"),
    "scoring that is no table": (saved(scoring=[1]), "has a scoring of a list; expected a dict"),
    "other colours": (saved(colour="hsv"), "wants hsv .*; expected rgb or bgr"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore")  # torch's, about files that it should not be asked to load
def test_rejected_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights-pnet.safetensors"
    make, message = REFUSED[kind]
    make(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_net(path, "pnet")
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) - len(str(path)) < 250
    assert "weights_only" not in text  # torch's advice to load the file all the same
    assert not (tmp_path / "ran").exists()


def test_the_malicious_code_would_run(tmp_path: Path) -> None:
    """Otherwise the cases above would prove nothing."""
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


def test_saved_is_otherwise_good(tmp_path: Path) -> None:
    saved()(tmp_path / "w.pt")
    assert load_net(tmp_path / "w.pt", "pnet")(torch.zeros(1, 3, 12, 12)).face_logits.shape == (1, 1, 1)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_missing_device(good: Path, device: str) -> None:
    with pytest.raises(MtcnnError, match=f"device '{device}': .*expected one of those here: cpu") as caught:
        load_net(good, "pnet", device)
    assert "\n" not in str(caught.value)


# ---- writing


def test_a_failing_write_leaves_the_old_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = good.read_bytes()

    def disk_full(path: Path, data: bytes) -> int:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        write(good, Checkpoint("pnet", weights(seed=1)))
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes")
def test_others_may_read_weights_as_far_as_the_umask_lets_them(good: Path) -> None:
    before = os.umask(0o027)
    try:
        write(good, Checkpoint("pnet", weights()))
    finally:
        os.umask(before)
    assert good.stat().st_mode & 0o777 == 0o640


def test_the_new_file_appears_whole(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the atomic replacement, readers see the old weights; what replaces them has been verified."""
    replaced = []

    def replace(draft: Path, target: Path) -> None:
        assert torch.equal(read(target).tensors()["face.bias"], weights()["face.bias"])
        assert read(draft).recipe_hash == "new"
        assert draft.parent == target.parent  # a move within a file system is one step
        replaced.append(target)
        os.rename(draft, target)

    monkeypatch.setattr(os, "replace", replace)
    write(good, Checkpoint("pnet", weights(seed=1), recipe_hash="new"))
    assert replaced == [good]
    assert read(good).recipe_hash == "new"


def test_an_unreadable_checkpoint_is_not_written(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = good.read_bytes()
    with pytest.raises(CheckpointError, match=r"Object of type float32 is not JSON .*; expected plain values"):
        write(good, Checkpoint("pnet", weights(), figures={"recall": np.float32(0.97)}))

    def damaged(arrays: dict[str, Any], record: Any) -> bytes:
        return save({**arrays, "face.bias": arrays["face.bias"] + 1}, record)

    monkeypatch.setattr("mtcnn.files.tensors.save", damaged)
    with pytest.raises(CheckpointError, match=r"weights-pnet.safetensors cannot be written"):
        write(good, Checkpoint("pnet", weights()))
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == [good.name]


def test_a_detector_is_read_from_its_old_location(tmp_path: Path) -> None:
    """Beside PNet: it is read there, with a warning, unless its own folder has one."""
    path, former = weights_path(tmp_path, "ssh"), tmp_path / "models-12" / "weights-ssh.pt"
    write(former, Checkpoint("ssh", {}, figures={"epochs": 1}))
    with pytest.warns(FutureWarning, match=r"weights-ssh.pt is read instead of .*models-full/ssh/weights.safetensors"):
        assert read(path).figures == {"epochs": 1}
    write(path, Checkpoint("ssh", {}, figures={"epochs": 2}))
    assert read(path).figures == {"epochs": 2}


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_files_of_version_0_1_are_read(tmp_path: Path, colour: str) -> None:
    """Written by torch.save, at the new location or the old one."""
    body = {"format": 1, "net": "pnet", "state": weights(), "colour": colour, "scaling": [127.5, 128.0],
            "recipe": {"epochs": 3}, "recipe_hash": "key", "figures": {"recall": 0.5}}  # fmt: skip
    path = weights_path(tmp_path, "pnet")
    path.parent.mkdir()
    torch.save(body, path.with_suffix(".pt"))
    with pytest.warns(FutureWarning, match=r"weights-pnet.pt is read instead of .*weights-pnet.safetensors"):
        old = read(path)
    assert (old.net, old.colour, old.recipe, old.recipe_hash, old.model) == ("pnet", colour, {"epochs": 3}, "key", None)
    write(path, old)
    new = read(path)
    assert list(new.state) == list(old.state), "its first is the kernel whose colours are turned"
    assert all(new.state[name].tobytes() == value.tobytes() for name, value in old.state.items())
    assert replace(new, state={}) == replace(old, state={})
    shutil.copyfile(path.with_suffix(".pt"), path)  # what a file begins with decides, not its name
    assert read(path).recipe_hash == "key"


def test_the_same_content_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, Checkpoint("pnet", weights(), recipe={"b": 1, "a": 2}, figures={"x": 1.5}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _rewritten(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "truncated, or no checkpoint"),
        ("3", "truncated, or no checkpoint"),
        ('{"order": []}', "truncated, or no checkpoint"),
        ('{"order": ["a"]}', "truncated, or no checkpoint"),
        ({"order": ["face.bias"] * len(weights())}, "truncated, or no checkpoint"),
        (None, "truncated, or no checkpoint"),
        ({"format": 9}, "has format 9; expected 1"),
        ({"net": 3}, "has a net of 3; expected a str"),
        ({"model": [1]}, "has a model of a list; expected a dict"),
        ({"scaling": [1]}, "has a scaling of a list"),
    ],
)
def test_invalid_records(good: Path, record: Any, message: str) -> None:
    header, data = _header(good)
    whole = json.loads(header["__metadata__"]["mtcnn"])
    text = json.dumps({**whole, **record}) if isinstance(record, dict) else record
    header["__metadata__"] = {"format": "np"} if text is None else {"mtcnn": text}
    _rewritten(good, header, data)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(good)
    assert "\n" not in str(caught.value)


def test_truncated_or_changed_lengths_are_rejected(good: Path) -> None:
    content = good.read_bytes()
    cuts = [content[:size] for size in (1, 7, 8, 9, 200, len(content) - 1)]
    wrong = [(2**40).to_bytes(8, "little") + content[8:], (2).to_bytes(8, "little") + content[8:], content + b"x"]
    for damaged in (*cuts, *wrong):
        good.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="truncated, or no checkpoint"):
            read(good)


def test_a_folder_with_the_weights_of_another_detector(tmp_path: Path) -> None:
    """Whoever trained it, and forgot to name it, is told."""
    other = tmp_path / "models-full" / "slim" / "weights.safetensors"
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(CheckpointError, match=r"no such file; the folder has those of slim: name one as `detector`"):
        Detector(tmp_path)


def test_packaged_weights_of_other_detectors_are_not_offered_instead() -> None:
    with pytest.raises(CheckpointError, match=r"no such file; train them or import them"):
        read(weights_path(packaged_weights(), "s3fd"))
