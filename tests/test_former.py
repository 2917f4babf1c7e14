"""Modules of version 0.1 that its documentation named still load, with a warning that names the new place."""

from __future__ import annotations

import importlib
import sys

import pytest

from mtcnn.detectors.load import load_detector
from mtcnn.pictures.align import align
from mtcnn.pictures.anonymise import anonymise
from mtcnn.stream.tracking import Tracker
from mtcnn.stream.video import Video


@pytest.mark.parametrize(
    ("old", "name", "new", "same"),
    [
        ("video", "Video", "stream.video", Video),
        ("track", "Tracker", "stream.tracking", Tracker),
        ("align", "align", "pictures.align", align),
        ("anonymise", "anonymise", "pictures.anonymise", anonymise),
        ("proposers", "proposer_named", "detectors.load.load_detector", load_detector),
    ],
)
def test_old_modules(old: str, name: str, new: str, same: object) -> None:
    sys.modules.pop(f"mtcnn.{old}", None)
    with pytest.warns(
        FutureWarning, match=rf"mtcnn\.{old}.* is mtcnn\.{new} now; the old name works until version 0.3"
    ):
        module = importlib.import_module(f"mtcnn.{old}")
    assert getattr(module, name) is same
    assert set(module.__all__) <= set(vars(module))


def test_unknown_modules_are_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mtcnn\.listing"):
        importlib.import_module("mtcnn.listing")
