"""Weights of other projects: every format gives the original net, and any other file is rejected in one line."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import published_weights as peers
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from test_second_pass import models_with_own
from torch.nn import functional

from cli import main
from mtcnn.checkpoint import read, weights_path
from mtcnn.errors import CheckpointError
from mtcnn.importers import import_weights, read_weights
from mtcnn.importers.caffe import read_caffe
from mtcnn.importers.layers import Found
from mtcnn.nets import NETS, load_net
from mtcnn.weights import SIZES

ONE_NET: dict[str, Callable[[str], bytes]] = {
    "facenet": peers.facenet,
    "facenet-zip": lambda net: peers.facenet(net, zipped=True),
    "ipazc": peers.ipazc,
    "joblib": lambda net: peers.joblib(peers.keras_weights(net, swapped=False)),
    "caffe": peers.caffe,
}
ARITHMETIC = {
    "facenet": "facenet-pytorch",
    "facenet-zip": "facenet-pytorch",
    "ipazc": "ipazc-1",
    "joblib": "ipazc-1",
    "caffe": "matlab",
}


def same(found: Mapping[str, Any], net: str) -> bool:
    wanted = peers.random_state(net)
    return found.keys() == wanted.keys() and all(
        torch.equal(torch.as_tensor(found[name]), wanted[name]) for name in wanted
    )


@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("form", list(ONE_NET))
def test_every_format_gives_the_same_net(tmp_path: Path, form: str, net: str) -> None:
    """To the last bit. The file name does not matter."""
    file = peers.write(tmp_path / "weights.bin", ONE_NET[form](net))
    (found,) = read_weights(file)
    assert (found.net, found.colour) == (net, "rgb")
    assert same(found.state, net)
    source = found.recipe["imported"]
    assert source["file"] == "weights.bin" and len(source["sha256"]) == 64 and source["arithmetic"] == ARITHMETIC[form]


@pytest.mark.parametrize("protocol", [2, 4])
def test_npy_holds_three_nets(tmp_path: Path, protocol: int) -> None:
    found = read_weights(peers.write(tmp_path / "w", peers.npy(protocol)))
    assert [part.net for part in found] == list(NETS)
    assert all(same(part.state, part.net) for part in found)


@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("raw", [False, True])
def test_onnx(tmp_path: Path, net: str, raw: bool) -> None:
    pytest.importorskip("onnx")
    (found,) = read_weights(peers.write(tmp_path / "w", peers.onnx(net, raw)))
    assert found.net == net and same(found.state, net)


def test_onnx_of_another_converter(tmp_path: Path) -> None:
    """It may expect upright images, like this project's own."""
    pytest.importorskip("onnx")
    data = peers.onnx("pnet", raw=True).replace(b"keras2onnx", b"pytorch123")
    assert "written by pytorch123; expected keras2onnx" in refused(peers.write(tmp_path / "w", data))


def test_state_dict_of_a_whole_mtcnn(tmp_path: Path) -> None:
    state = {f"{net}.{name}": value for net in NETS for name, value in peers.facenet_state(net).items()}
    torch.save(state, tmp_path / "mtcnn.pt")
    found = read_weights(tmp_path / "mtcnn.pt")
    assert [part.net for part in found] == list(NETS)
    assert all(same(part.state, part.net) for part in found)


def caffe_forward(net: str, data: bytes, images: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of the heads as Caffe computes them from a file, for images (N, 3, H, W) shown with x before y."""
    (found,) = read_caffe(data)
    assert isinstance(found, Found)
    pools = {"pnet": [2], "rnet": [3, 3], "onet": [3, 3, 2]}[net]
    x = images.transpose(2, 3)
    heads = []
    for layer in found.layers:
        weight, bias = (torch.from_numpy(np.array(values)) for values in layer[:2])
        if layer.slope is None:
            heads.append(functional.conv2d(x, weight, bias) if weight.ndim == 4 else functional.linear(x, weight, bias))
            continue
        x = functional.conv2d(x, weight, bias) if weight.ndim == 4 else functional.linear(x.flatten(1), weight, bias)
        x = functional.prelu(x, torch.from_numpy(np.array(layer.slope)))
        if pools:
            x = functional.max_pool2d(x, pools.pop(0), 2, ceil_mode=True)
    return heads


def assert_computes_as_caffe(net: str, file: Path, folder: Path, rtol: float = 0.0) -> None:
    """The imported net on upright images, and the file's own layers on the same images lying on their side."""
    side = SIZES[net]
    shape = (2, 3, side + 9, side + 14) if net == "pnet" else (5, 3, side, side)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    import_weights([file], folder)
    with torch.inference_mode():
        ours = load_net(weights_path(folder, net), net)(images)
        face, offsets, *rest = caffe_forward(net, file.read_bytes(), images)
    if net == "pnet":
        face, offsets = face.transpose(2, 3), offsets.transpose(2, 3)
    torch.testing.assert_close(torch.sigmoid(ours.face_logits), torch.softmax(face, 1)[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.offsets, offsets, atol=1e-5, rtol=rtol)
    if net == "onet":
        points = torch.stack([rest[0][:, :5], rest[0][:, 5:]], 2)
        torch.testing.assert_close(ours.landmarks, points, atol=1e-5, rtol=rtol)


@pytest.mark.parametrize("net", list(NETS))
def test_outputs_equal_caffe(tmp_path: Path, net: str) -> None:
    # Random weights give outputs of some hundreds, which float32 holds to five digits.
    assert_computes_as_caffe(net, peers.write(tmp_path / "w", peers.caffe(net)), tmp_path / "models", rtol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(("net", "number"), [("pnet", 1), ("rnet", 2), ("onet", 3)])
def test_outputs_of_the_published_weights(tmp_path: Path, data_folder: Path, net: str, number: int) -> None:
    file = data_folder / "weights" / "mtcnn_caffe" / f"det{number}.caffemodel"
    if not file.is_file():
        pytest.skip(f"no {file.name} there")
    assert_computes_as_caffe(net, file, tmp_path)


# ---- writing


def test_import_writes_checkpoints(tmp_path: Path) -> None:
    files = [peers.write(tmp_path / f"{net}.x", peers.caffe(net)) for net in NETS]
    found = import_weights(files, tmp_path / "models")
    assert [(part.net, part.source, part.path) for part in found] == [
        (net, file, tmp_path / "models" / f"models-{SIZES[net]}" / f"weights-{net}.safetensors")
        for net, file in zip(NETS, files, strict=True)
    ]
    for part in found:
        load_net(part.path, part.net)
        assert same(read(part.path).state, part.net)


def test_nothing_is_written_unless_all_can_be_read(tmp_path: Path) -> None:
    good = peers.write(tmp_path / "good", peers.caffe("pnet"))
    bad = peers.write(tmp_path / "bad", peers.caffe("rnet")[:-1])
    with pytest.raises(CheckpointError, match="bad"):
        import_weights([good, bad], tmp_path / "models")
    with pytest.raises(CheckpointError, match="pnet, and so does"):
        import_weights([good, good], tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_an_onet_does_not_come_before_the_second_pass_of_another(random_models: Path, tmp_path: Path) -> None:
    models = models_with_own(random_models, tmp_path / "models")
    files = [peers.write(tmp_path / net, peers.caffe(net)) for net in ("rnet", "onet")]
    with pytest.raises(CheckpointError, match=r"weights-cnet.safetensors is for the ONet that would be replaced"):
        import_weights(files, models)
    assert read(weights_path(models, "rnet")).recipe == read(weights_path(random_models, "rnet")).recipe
    import_weights(files[:1], models)
    assert "imported" in read(weights_path(models, "rnet")).recipe


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    good = peers.write(tmp_path / "good", peers.caffe("pnet"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        import_weights([good], good)


def test_colour_is_converted_on_loading(tmp_path: Path) -> None:
    file = peers.write(tmp_path / "w", peers.caffe("pnet"))
    import_weights([file], tmp_path / "rgb")
    import_weights([file], tmp_path / "bgr", colour="bgr")
    images = torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        rgb, bgr = (load_net(weights_path(tmp_path / colour, "pnet"), "pnet") for colour in ("rgb", "bgr"))
        assert not torch.equal(rgb(images).face_logits, bgr(images).face_logits)
        torch.testing.assert_close(rgb(images).face_logits, bgr(images.flip(1)).face_logits)


def test_command(tmp_path: Path) -> None:
    files = [str(peers.write(tmp_path / f"{net}.lz4", peers.ipazc(net))) for net in NETS]
    done = CliRunner().invoke(main, ["weights", "import", *files, "--to", str(tmp_path / "models")])
    assert done.exit_code == 0, done.output
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        str(weights_path(tmp_path / "models", net)) for net in NETS
    ]
    done = CliRunner().invoke(main, ["weights", "import", __file__, "--to", str(tmp_path / "other")])
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "caffemodel" in done.stderr
    assert not (tmp_path / "other").exists()


# ---- what is no weights file


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 600
    return text


@pytest.mark.parametrize("form", [*ONE_NET, "npy"])
@pytest.mark.parametrize("part", [0.001, 0.02, 0.3, 0.7, 0.999])
def test_truncated(tmp_path: Path, form: str, part: float) -> None:
    whole = peers.npy() if form == "npy" else ONE_NET[form]("rnet")
    refused(peers.write(tmp_path / "w", whole[: max(int(len(whole) * part), 1)]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch on the version of a pickle
@pytest.mark.parametrize("form", [*ONE_NET, "npy"])
def test_damaged(tmp_path: Path, form: str) -> None:
    """A changed byte gives another weight or an error of one line, never another exception."""
    whole = peers.npy() if form == "npy" else ONE_NET[form]("pnet")
    rng, told = np.random.default_rng(0), []
    for place in [*range(60), *rng.integers(0, len(whole), 60)]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        try:
            read_weights(peers.write(tmp_path / "w", bytes(data)))
        except CheckpointError as error:
            told.append(str(error))
    assert told and not any("\n" in text for text in told)


def test_other_files(tmp_path: Path) -> None:
    assert "empty" in refused(peers.write(tmp_path / "empty", b""))
    assert "No such file" in refused(tmp_path / "missing")
    assert "cannot be read" in refused(tmp_path)
    assert "expected a .pt or .pth of torch" in refused(peers.write(tmp_path / "text", b"hello\n"))
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    assert "expected objects" in refused(peers.write(tmp_path / "floats.npy", stream.getvalue()))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30 + 1)
    assert "at most" in refused(tmp_path / "large")


def test_checkpoint_of_this_project(tmp_path: Path) -> None:
    (made,) = import_weights([peers.write(tmp_path / "w", peers.caffe("pnet"))], tmp_path)
    assert "use it as it is" in refused(made.path)


def test_wrong_net(tmp_path: Path) -> None:
    """Recognised by its layers, with what was expected."""
    state = peers.facenet_state("onet")
    del state["conv4.weight"], state["conv4.bias"], state["prelu4.weight"]
    torch.save(state, tmp_path / "short.pt")
    text = refused(tmp_path / "short.pt")
    assert "256x1152" in text and "expected one of pnet 10x3x3x3" in text
    torch.save({"features.conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    assert "conv1.weight and prelu1.weight" in refused(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state_dict" in refused(tmp_path / "list.pt")
    no_heads = b"".join(peers.caffe_layer(b"", p.weight, p.bias) + peers.caffe_layer(b"", p.slope)
                        for p in peers.parts("rnet", True, "cxy") if p.slope is not None)  # fmt: skip
    assert "expected face (2), offsets (4)" in refused(peers.write(tmp_path / "no heads", no_heads))
    twice = peers.caffe("pnet") + peers.caffe_layer(b"", np.zeros((2, 32, 1, 1)), np.zeros(2))
    assert "head 2x32x1x1" in refused(peers.write(tmp_path / "twice", twice))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_with_nan(tmp_path: Path, value: float) -> None:
    state = peers.facenet_state("pnet")
    state["conv2.bias"][3] = value
    torch.save(state, tmp_path / "w.pt")
    assert "NaN" in refused(tmp_path / "w.pt")


# ---- nothing in a file is run


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def array_of(value: object) -> NDArray[Any]:
    array = np.empty((), object)
    array[()] = value
    return array


def npy_of(value: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array_of(value), allow_pickle=True)
    return stream.getvalue()


def torch_of(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("write", [pickle.dumps, npy_of, torch_of, lambda value: peers.lz4(pickle.dumps([value]))])
def test_code_in_a_file_is_not_run(tmp_path: Path, write: Callable[[object], bytes]) -> None:
    marker = tmp_path / "marker"
    data = write(Evil(marker))
    pickle.loads(pickle.dumps(Evil(marker)))  # it does work
    marker.rmdir()
    refused(peers.write(tmp_path / "w", data))
    assert not marker.exists()


@pytest.mark.parametrize(
    "named", [b"os\nsystem\n", b"builtins\neval\n", b"numpy\nload\n", b"joblib.numpy_pickle\nNDArrayWrapper\n"]
)
def test_names_in_a_pickle(tmp_path: Path, named: bytes) -> None:
    text = refused(peers.write(tmp_path / "w", peers.joblib([np.zeros((2, 2))], named)))
    assert named.decode().strip().replace("\n", ".") in text and "do not trust it" in text
