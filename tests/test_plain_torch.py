"""What a program sets for all of torch, for nets of its own, does not reach the nets of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mtcnn import train
from mtcnn.checkpoint import packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_module
from mtcnn.devices import plain_torch
from mtcnn.errors import SettingsError
from mtcnn.nets import load_net, scaled
from mtcnn.onnx_export import export_onnx
from mtcnn.runtimes.torch import TorchPNet, TorchRefiner, TorchRuntime


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SET: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "a device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def computed() -> list[NDArray[Any]]:
    """Outputs of a net of each kind that torch runs, made and computed here."""
    folder = packaged_weights()
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    cells = TorchPNet(load_net(weights_path(folder, "pnet"), "pnet"), "cpu")
    refiner = TorchRefiner(load_net(weights_path(folder, "rnet"), "rnet"), "cpu")
    detector = TorchRuntime(load_module(weights_path(folder, "yunet-n"), "yunet-n"), DETECTORS["yunet-n"].scaling)
    return [
        *cells.cells(image, -99.0, 0, 19),
        *cells.pyramid([image], -99.0)[0],
        *refiner(np.ascontiguousarray(image[None, :24, :24]))[:2],
        *detector(image).values(),
    ]


@pytest.mark.parametrize("what", SET)
def test_nets_are_made_and_computed_as_ever(what: str) -> None:
    expected = computed()
    with SET[what]():
        found = computed()
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_exports_are_the_same_files(tmp_path: Path) -> None:
    export_onnx("yunet-n", tmp_path / "usual.onnx")
    with SET["float64"](), SET["a device"](), SET["autocast"]():
        export_onnx("yunet-n", tmp_path / "set.onnx")
    assert (tmp_path / "set.onnx").read_bytes() == (tmp_path / "usual.onnx").read_bytes()


def test_training_wants_the_usual_dtype(tmp_path: Path) -> None:
    with (
        SET["float64"](),
        pytest.raises(SettingsError, match=r"is torch\.float64; expected torch\.float32"),
    ):
        train("slim", "synthetic:6", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_means_of_colours_are_float32() -> None:
    pixels = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    with SET["bfloat16"]():
        found = scaled(pixels, ((103.53, 116.28, 123.675), 1.0)).flatten()
    assert found.dtype == torch.float32 and found.tolist() == (-torch.tensor([103.53, 116.28, 123.675])).tolist()


def test_the_program_gets_its_settings_back() -> None:
    with SET["a device"](), SET["autocast"]():
        with plain_torch():
            assert torch.ones(1).device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        assert torch.ones(1).device.type == "meta" and torch.is_autocast_enabled("cpu")
