"""Tests of every entry of DETECTORS: a new entry is tested from the day it is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_detectors import small_model, small_nets, write_nets
from torch import nn

from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detectors import DETECTORS, Spec
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.load import build, load_detector, load_module, model_of
from mtcnn.detectors.single_stage import _room, pad
from mtcnn.errors import CheckpointError
from mtcnn.nets import to_input
from mtcnn.runtimes.torch import TorchRuntime
from mtcnn.types import ImageSize

Array = NDArray[Any]

ENCODED = ("boxes", "distances", "sizes", "offsets", "landmarks")  # outputs that `encode` makes, in its order

every = pytest.mark.parametrize("name", list(DETECTORS))


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return small_nets()


@pytest.fixture(scope="module")
def models(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nets(nets, tmp_path_factory.mktemp("models"))


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def outputs_of(net: nn.Module, spec: Spec, image: NDArray[np.uint8]) -> tuple[dict[str, Array], ImageSize]:
    padded = pad(image, spec.multiple, spec.padding)
    return TorchRuntime(net, spec.scaling)(padded), ImageSize(*padded.shape[:2])


def names_of(name: str, net: nn.Module) -> tuple[str, ...]:
    """The decoder's, without landmarks of a net that has none."""
    names = DETECTORS[name].decoder.names
    return names if getattr(net, "has_landmarks", True) else tuple(each for each in names if each != "landmarks")


@every
def test_the_published_net_builds(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
    assert all(value.numel() for value in net.parameters())


@every
@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97), (33, 31), (127, 40)])
def test_outputs_match_the_decoder(nets: dict[str, nn.Module], name: str, height: int, width: int) -> None:
    """Named and ordered alike, batch first, and as many predictions as the decoder finds places for."""
    spec, (outputs, size) = DETECTORS[name], outputs_of(nets[name], DETECTORS[name], noise(height, width))
    names = names_of(name, nets[name])
    assert tuple(outputs) == names
    boxes, logits, landmarks = spec.decoder.decode(outputs, size)
    assert boxes.shape == (len(logits), 4) and boxes.dtype == np.float32
    assert (landmarks is not None) is ("landmarks" in names)
    assert landmarks is None or (landmarks.shape == (len(logits), 5, 2) and landmarks.dtype == np.float32)
    with torch.inference_mode():
        pair = nets[name](to_input(noise(2 * size.height, size.width).reshape(2, *size, 3), scaling=spec.scaling))
    assert all(part.shape == (2, *outputs[key].shape) for key, part in pair.items())
    rows = np.arange(len(logits))[::7]
    np.testing.assert_array_equal(spec.decoder.boxes(outputs, size, rows), boxes[rows])
    if landmarks is not None:
        some = spec.decoder.landmarks(outputs, size, rows)
        assert some is not None
        np.testing.assert_array_equal(some, landmarks[rows])


@every
def test_encode_is_the_inverse_of_decode(nets: dict[str, nn.Module], name: str) -> None:
    spec = DETECTORS[name]
    outputs, size = outputs_of(nets[name], spec, noise(128, 192))
    decoder: Any = spec.decoder
    rng, rows = np.random.default_rng(0), np.arange(3, 50, 9)
    corners, sides = rng.uniform(0, 100, (len(rows), 2)), rng.uniform(5, 60, (len(rows), 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    points = (corners[:, None] + rng.uniform(0, 1, (len(rows), 5, 2)) * sides[:, None]).astype(np.float32)
    outputs = {key: values.copy() for key, values in outputs.items()}
    codes = decoder.encode(size, rows, boxes, points)
    for key, values in zip([key for key in ENCODED if key in outputs], codes, strict=False):
        outputs[key][rows] = values
    np.testing.assert_allclose(decoder.boxes(outputs, size, rows), boxes, atol=0.01)
    found = decoder.landmarks(outputs, size, rows)
    assert (found is not None) is ("landmarks" in outputs)
    if found is not None:
        np.testing.assert_allclose(found, points, atol=0.01)


@every
def test_every_parameter_gets_a_gradient(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(name, small_model(name)).train()
        outputs = net(torch.randn(2, 3, 128, 128))
    torch.cat([part.flatten() for part in outputs.values()]).square().sum().backward()  # type: ignore[no-untyped-call]
    for parameter, value in net.named_parameters():
        assert value.grad is not None and bool(value.grad.abs().sum() > 0), parameter


@every
def test_an_untrained_net_is_not_confident(name: str) -> None:
    """On random pixels with a standard deviation of about 64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, spec = build(name, small_model(name)).train(), DETECTORS[name]
        with torch.inference_mode():
            outputs = net(torch.randn(2, 3, 128, 128) * 64 / spec.scaling[1])
    for image in range(2):
        logits = spec.decoder.logits({key: part[image].numpy() for key, part in outputs.items()})
        assert 1e-3 < logits.std() < 2 and logits.max() < 3


@every
def test_rebuilt_from_its_checkpoint(nets: dict[str, nn.Module], models: Path, name: str) -> None:
    path = weights_path(models, name)
    assert read(path).model == model_of(name, small_model(name))
    again, x = load_module(path, name), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for ours, theirs in zip(again(x).values(), nets[name](x).values(), strict=True):
            torch.testing.assert_close(ours, theirs)


@every
@pytest.mark.parametrize(("height", "width"), [(75, 50), (1, 1), (640, 3)])
def test_detects_on_odd_sizes(nets: dict[str, nn.Module], models: Path, name: str, height: int, width: int) -> None:
    """The decoded outputs of the net above the threshold, by falling score."""
    detect, image = load_detector(name, models, threshold=0.3), noise(height, width)
    found = detect(image)
    spec = DETECTORS[name]
    boxes, logits, landmarks = spec.decoder.decode(*outputs_of(nets[name], spec, image))
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert (len(found) > 0) is bool((scores >= 0.3).any())
    assert (found.landmarks is not None) is (landmarks is not None)
    assert (np.diff(found.scores) <= 0).all()
    if len(found):
        assert found.scores[0] == pytest.approx(scores.max(), rel=1e-4)
        best = boxes[scores >= scores.max() - 1e-5]  # which of those that tie is first depends on the engine's rounding
        assert np.abs(best - found.boxes[0]).max(axis=1).min() < 0.01


@every
@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 40, 3), (40, 0, 3)])
def test_an_empty_image_has_no_faces(
    nets: dict[str, nn.Module], models: Path, name: str, shape: tuple[int, ...]
) -> None:
    found = load_detector(name, models, threshold=0.0)(np.zeros(shape, np.uint8))
    assert len(found) == 0
    assert (found.landmarks is not None) is ("landmarks" in names_of(name, nets[name]))


@every
def test_exports_to_onnx(models: Path, name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from mtcnn.onnx_export import export_onnx
    from mtcnn.runtimes.onnx import OnnxRuntime

    made = export_onnx(name, tmp_path / "net.onnx", models)
    spec = DETECTORS[name]
    net: Any = load_module(weights_path(models, name), name)
    deployed = getattr(net, "deployed", None)
    assert made.outputs == (names_of(name, net) if deployed is None else tuple(deployed(torch.zeros(1, 3, 32, 32))))
    image = pad(noise(64, 96), spec.multiple, spec.padding)
    found, (wanted, _) = OnnxRuntime(made.path)(image), outputs_of(net, spec, image)
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=1e-4 * np.abs(value).max())


# ---- [model]


def test_settings_of_a_model_are_checked() -> None:
    assert model_of("retinaface-r50", {"width": 1}) == {"trunk": "resnet50", "width": 1.0, "leak": 0.1}
    with pytest.raises(ValueError, match=r"model.depth is not a setting of ssh; expected one of width"):
        build("ssh", {"depth": 3})
    with pytest.raises(ValueError, match=r"model.width is 'wide'; expected a value like 1.0"):
        build("ssh", {"width": "wide"})
    with pytest.raises(ValueError, match=r"trunk is 'vgg'; expected one of mobilenet, resnet50"):
        build("retinaface", {"trunk": "vgg"})
    for width in (0.0, 1e-3, -1.0):
        with pytest.raises(ValueError, match=r"model is .*(without channels|makes no s3fd)"):
            build("s3fd", {"width": width})
    with pytest.raises(ValueError, match="detector is 'yolo'; expected one of retinaface"):
        build("yolo")


@pytest.mark.parametrize("name", ["retinaface", "retinaface-r50", "ssh", "s3fd"])
@pytest.mark.parametrize("width", [0.125, 0.25])
def test_files_without_model_get_the_width_of_their_first_kernel(name: str, width: float, tmp_path: Path) -> None:
    net = build(name, {"width": width})
    write(tmp_path / "w.pt", Checkpoint(name, net.state_dict(), scaling=DETECTORS[name].scaling))
    assert read(tmp_path / "w.pt").model is None
    again = load_module(tmp_path / "w.pt", name)
    assert [value.shape for value in again.parameters()] == [value.shape for value in net.parameters()]


def test_weights_that_do_not_fit_their_model(tmp_path: Path) -> None:
    state, scaling = build("ssh", {"width": 0.125}).state_dict(), DETECTORS["ssh"].scaling
    for model, why in (({"width": 0.25}, "size mismatch"), ({"depth": 1}, r"model.depth is not a setting of ssh")):
        write(tmp_path / "w.pt", Checkpoint("ssh", state, scaling=scaling, model=model))
        with pytest.raises(CheckpointError, match=rf"w.pt does not fit ssh: .*{why}"):
            load_module(tmp_path / "w.pt", "ssh")


def test_padding_is_the_mean_colour() -> None:
    assert DETECTORS["retinaface"].padding == (123, 117, 104)
    raw, centred = (Spec("x:X", SsdCodes(()), scaling=scaling) for scaling in ((0.0, 1.0), (127.0, 128.0)))
    assert (raw.padding, centred.padding) == ((0, 0, 0), (127, 127, 127))
    padded = pad(noise(3, 5), 4, (1, 2, 3))
    assert padded.shape == (4, 8, 3)
    np.testing.assert_array_equal(padded[:3, :5], noise(3, 5))
    assert (padded[3] == (1, 2, 3)).all() and (padded[:, 5:] == (1, 2, 3)).all()


def test_padding_in_memory_used_before() -> None:
    for seed, size in enumerate(((90, 117), (33, 40), (64, 64), (90, 117), (200, 31))):
        image = noise(*size, seed=seed)
        found = pad(image, 64, (1, 2, 3), _room)
        np.testing.assert_array_equal(found, pad(image, 64, (1, 2, 3)))
    again = pad(noise(90, 117), 64, (1, 2, 3), _room)
    assert np.shares_memory(again, found)
    assert not np.shares_memory(pad(noise(90, 117), 64, (1, 2, 3)), found)
