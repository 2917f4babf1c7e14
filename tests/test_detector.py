"""Inputs and settings of Detector; every invalid one is reported in one line."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mtcnn.cascade import Detector
from mtcnn.errors import ImageError, MtcnnError, SettingsError
from mtcnn.proposer import PNetProposer
from mtcnn.types import Faces


def assert_same(found: Faces, expected: Faces) -> None:
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.scores, expected.scores)


def test_all_readable_inputs_are_detected(
    random_models: Path, tmp_path: Path, photos: dict[str, NDArray[np.uint8]]
) -> None:
    photo = np.ascontiguousarray(photos["astronaut"][60:150, 150:250])
    detector, path = Detector(random_models, thresholds=(0.3, 0.3, 0.3)), tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    expected = detector.detect(photo)
    assert len(expected) > 0
    content = path.read_bytes()
    written = io.BytesIO()
    Image.fromarray(photo).save(written, "PNG")  # which leaves it at its end
    with path.open("rb") as file:
        sources: list[Any] = [
            path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), written, file,
            Image.fromarray(photo), torch.from_numpy(photo),
        ]  # fmt: skip
        for source in sources:
            assert_same(detector.detect(source), expected)
    every: list[Any] = [[photo, path], (path, content), iter([photo, str(path)]), map(bytes, [content, content])]
    for several in every:
        found = detector.detect(several)
        assert isinstance(found, list)
        for faces in found:
            assert_same(faces, expected)
        assert len(found) == 2
    assert detector.detect([]) == detector.detect(iter([])) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "type NoneType; expected .*cv2.imread"),
        (5, "type int; expected"),
        ({"a": 1}, "type dict; expected"),
        ({"a.png"}, "type set; expected"),
        (b"", "image of 0 bytes: is empty"),
        (io.StringIO("text"), "gives str instead of bytes; .*mode 'rb'"),
        (io.BytesIO(b"text"), "not an image"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one image; pass the images of a batch as a list"),
        (torch.zeros(4, 4, 3, dtype=torch.bfloat16), r"BFloat16.*\.to\(torch\.uint8\)"),
        (torch.zeros(3, 9, 9, dtype=torch.uint8), r"channels last: .*tensor\.permute\(1, 2, 0\)"),
        ([[1, 2]], "type list; expected"),
    ],
)
def test_invalid_inputs_are_reported(random_models: Path, source: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        Detector(random_models).detect(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"thresholds": 7}, "thresholds are 7; expected three numbers from 0 to 1"),
        ({"thresholds": "777"}, "thresholds are '777'; expected three numbers"),
        ({"thresholds": (0.6, "0.7", 0.7)}, "expected three numbers from 0 to 1"),
        ({"thresholds": (0.6, None, 0.7)}, "expected three numbers from 0 to 1"),
        ({"min_face": "20"}, "min_face is '20'; expected a number above 0"),
        ({"min_face": math.nan}, "min_face is nan; expected a number above 0"),
        ({"min_face": 0}, "min_face is 0; expected a number above 0"),
        ({"min_face": math.nan}, "min_face is nan"),
        ({"scale_factor": 1}, "scale_factor is 1; expected a number above 0 and at most 0.99"),
        ({"scale_factor": "0.7"}, r"scale_factor is '0\.7'"),
        ({"device": 0}, "device is 0; expected None, a torch.device or a name"),
        ({"device": ""}, "device is ''; expected"),
        ({"models": 5}, "models is 5; expected a folder, or None"),
        ({"stage1": 1}, "stage1 is 1; expected one of pnet"),
        ({"refine": ["rnet"]}, r"refine is \['rnet'\]; expected"),
        ({"engine": "onnx"}, "engine is .onnx.; expected none for pnet"),
    ],
)
def test_settings_of_a_wrong_kind(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Detector(**settings)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is SettingsError


@pytest.mark.parametrize("device", [None, "cpu", "CPU", "CPU:0", "cpu:0", "/device:CPU:0", torch.device("cpu")])
def test_names_of_the_cpu(random_models: Path, device: Any) -> None:
    proposer = Detector(random_models, device=device).proposer
    assert isinstance(proposer, PNetProposer)
    assert proposer.device == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "gpu:99", "toaster", "meta"])
def test_missing_devices(random_models: Path, device: str) -> None:
    with pytest.raises(MtcnnError, match=r"device '.*': .*; expected one of those here: cpu") as caught:
        Detector(random_models, device=device)
    assert "\n" not in str(caught.value)
