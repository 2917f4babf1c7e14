"""A folder with unusual and bad files: every good one is processed, every bad one reported."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from odd_files import BAD, GOOD, make_odd_files
from run_command import problems as problems_of
from run_command import run, visible

from mtcnn.metrics.wider_detections import load_detections
from mtcnn.pictures.draw import save_image
from prepare.synthetic import draw_scene

PHOTOS = [f"photo-{number:02}.jpg" for number in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(PHOTOS):
        save_image(made / name, draw_scene(0, number, 64 + number, 104 - number)[0])
    make_odd_files(made)
    return made


@pytest.fixture
def problems(folder: Path) -> dict[str, str]:
    """The expected problems, by name."""
    readable = os.access(folder / "locked.jpg", os.R_OK)
    return BAD if readable else {**BAD, "locked.jpg": "may not be read"}


OPTIONS = ("--min-face", 40, "--scale-factor", 0.5)


def assert_told(stderr: str, problems: dict[str, str], folder: Path) -> None:
    """A line for each, with its path and the reason."""
    lines = problems_of(stderr).splitlines()
    assert len(lines) == len(problems)
    for line, name in zip(lines, sorted(problems), strict=True):
        assert line.startswith(f"mtcnn: skipped {folder / name}: ")
        assert problems[name] in line
        assert "expected" in line


def test_every_file_is_processed_or_reported(random_models: Path, folder: Path, problems: dict[str, str]) -> None:
    done = run("detect", folder, "--json", "--models", random_models, *OPTIONS)
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    sizes = {Path(row["image"]).name: (row["width"], row["height"]) for row in rows}
    assert len(sizes) == len(rows)
    assert list(sizes) == sorted(sizes)  # in order
    every = {path.name for path in folder.iterdir()}
    assert sizes.keys() | problems.keys() == every
    assert not sizes.keys() & problems.keys()
    assert {name: sizes[name] for name in GOOD} == GOOD
    assert sizes.keys() >= set(PHOTOS)
    assert_told(done.stderr, problems, folder)


def test_other_output_formats(random_models: Path, folder: Path, problems: dict[str, str], tmp_path: Path) -> None:
    options = ("--models", random_models, *OPTIONS, "--wider", tmp_path / "found", "--draw", tmp_path / "drawn")
    for resume in ((), ("--resume",)):
        done = run("detect", folder, *options, *resume)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert_told(done.stderr, problems, folder)
        good = len(list(folder.iterdir())) - len(problems)
        assert len(load_detections(tmp_path / "found")) == good
        assert len(visible(tmp_path / "drawn")) == good
