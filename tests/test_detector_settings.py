"""The stages that run, their thresholds, and rejection of unused settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.detector_settings import DetectorSettings
from mtcnn.errors import SettingsError


@pytest.mark.parametrize(
    ("given", "stages", "thresholds"),
    [
        ({}, ("pnet", "rnet", "onet"), (0.6, 0.7, 0.7)),
        ({"thresholds": 0.5}, ("pnet", "rnet", "onet"), (0.5, 0.5, 0.5)),
        ({"score": 0.9}, ("pnet", "rnet", "onet"), (0.6, 0.7, 0.9)),
        ({"refine": "rnet"}, ("pnet", "rnet"), (0.6, 0.7)),
        ({"refine": "none", "score": 0.1}, ("pnet",), (0.1,)),
        ({"detector": "mtcnn"}, ("pnet", "rnet", "onet"), (0.6, 0.7, 0.7)),
        ({"detector": "retinaface"}, ("retinaface",), (0.6,)),
        ({"detector": "yunet-n", "refine": "rnet,onet"}, ("yunet-n", "rnet", "onet"), (0.6, 0.7, 0.7)),
        ({"detector": "fast"}, ("retinaface",), (0.6,)),
        ({"detector": "best"}, ("retinaface", "rnet", "onet"), (0.2, 0.2, 0.6)),
        ({"detector": "best", "score": 0.8}, ("retinaface", "rnet", "onet"), (0.2, 0.2, 0.8)),
        ({"detector": "best", "thresholds": 0.02}, ("retinaface", "rnet", "onet"), (0.02, 0.02, 0.02)),
        ({"detector": "retinaface", "thresholds": 0.4, "score": 0.4}, ("retinaface",), (0.4,)),
        ({"detector": "retinaface", "thresholds": 0.02}, ("retinaface",), (0.02,)),
        ({"stage1": "ssh", "thresholds": [0.02]}, ("ssh",), (0.02,)),
        ({"stage1": "ssh", "refine": "rnet", "thresholds": (0.1, 0.2)}, ("ssh", "rnet"), (0.1, 0.2)),
        ({"stage1": "ssh", "refine": "rnet,onet", "score": 0.8}, ("ssh", "rnet", "onet"), (0.6, 0.7, 0.8)),
    ],
)
def test_a_threshold_for_each_stage(
    given: dict[str, Any], stages: tuple[str, ...], thresholds: tuple[float, ...]
) -> None:
    found = DetectorSettings(**given)
    assert (found.stages, found.thresholds) == (stages, thresholds)


def test_three_thresholds_for_one_stage() -> None:
    """As earlier versions required for any detector."""
    with pytest.warns(FutureWarning, match="thresholds have three numbers, but only ssh runs: the first counts"):
        found = DetectorSettings(stage1="ssh", thresholds=(0.02, 0.3, 0.4))
    assert (found.stages, found.thresholds) == (("ssh",), (0.02,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"detector": "retinaface", "scale_factor": 0.5}, "scale_factor is 0.5; expected none for retinaface"),
        ({"engine": "onnx"}, "engine is 'onnx'; expected none for pnet"),
        ({"detector": "retinaface", "thresholds": (0.1, 0.2)}, "expected one number from 0 to 1, for retinaface"),
        (
            {"detector": "retinaface", "stage1": "retinaface"},
            "detector is 'retinaface'; expected no `stage1` beside it",
        ),
        (
            {"detector": "best", "refine": "rnet"},
            "detector is 'best'; expected no `refine` beside it: its stages are fixed; name one of them with `stage1`",
        ),
        ({"detector": "pnet"}, "detector is 'pnet'; expected one of mtcnn, fast, best, retinaface"),
        (
            {"detector": "retinaface", "score": 0.3, "thresholds": 0.4},
            "score is 0.3 beside `thresholds` 0.4; expected one of them",
        ),
        ({"models": ""}, "models is ''; expected a folder, or None"),  # of an unset variable: the current folder
        ({"min_face": np.array([20.0])}, "min_face is .20.*; expected a number above 0"),
        ({"score": 1.5}, "score is 1.5; expected a number from 0 to 1"),
        ({"min_face": 0}, "min_face is 0; expected a number above 0"),
        ({"scale_factor": 0.9999999999999999}, "expected a number above 0 and at most 0.99"),
    ],
)
def test_unused_and_contradictory_settings_are_rejected(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("(", r"\(")):
        DetectorSettings(**given)


def test_faces_below_min_face_are_dropped(random_models: Path, photos: dict[str, NDArray[np.uint8]]) -> None:
    """For single-stage detectors, which find faces of every size: those whose longer side is below min_face, beyond the
    edge of the image too."""
    image = photos["astronaut"]
    every = Detector(detector="retinaface", thresholds=0.002).detect(image)
    sides = every.sizes.max(axis=1)
    limit = float(np.median(sides))
    assert len(np.unique(sides)) > 2
    found = Detector(detector="retinaface", thresholds=0.002, min_face=limit).detect(image)
    cut = [(each.boxes == 0).any(axis=1) | (each.boxes == len(image)).any(axis=1) for each in (found, every)]
    assert np.array_equal(found[~cut[0]].boxes, every[~cut[1] & (sides >= limit)].boxes)
    assert 0 < len(found) < len(every)


def test_the_command_rejects_unused_settings(random_models: Path, photo_folder: Path) -> None:
    words = ("detect", photo_folder / "astronaut.png", "--detector", "retinaface")
    done = run(*words, "--scale-factor", 0.5)
    assert done.exit_code == 2
    assert "--scale-factor is 0.5; expected none for retinaface" in done.stderr
    both = run(*words, "--threshold", 0.5, "--thresholds", 0.1, 0.2, 0.3)
    assert both.exit_code == 2 and "--threshold and --thresholds" in both.stderr
    for option in (("--threshold", 2), ("--detector", "mtcnn", "--threshold", 2)):
        high = run(*words, *option)
        assert high.exit_code == 2 and "--threshold is 2; expected a number from 0 to 1" in high.stderr
    old = run(*words, "--thresholds", 0.999, 0.2, 0.3)
    assert old.exit_code == 0 and "write --threshold instead" in old.stderr
    assert old.stdout == run(*words, "--threshold", 0.999).stdout == run(*words, "--score", 0.999).stdout


def test_a_level_larger_than_memory_fails_only_that_image(photo_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    done = run("detect", photo_folder / "astronaut.png", tmp_path / "tiny.png", "--min-face", 0.01)
    assert done.exit_code == 1
    assert "tiny.png: 0 faces" in done.stdout
    assert f"skipped {photo_folder / 'astronaut.png'}: 512 x 512 pixels would be enlarged 1.2e+03 times" in done.stderr
    assert "raise --min-face" in done.stderr
