"""Recipes written by a program read as they were."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from mtcnn.checkpoint import packaged_weights
from mtcnn.detectors import DETECTORS
from stages.photos.recipe import DetectorRecipe
from stages.recipe_text import recipe_text, toml_value
from stages.recipes import read_recipe, recipe_path

PACKAGED = [name for name in DETECTORS if recipe_path(packaged_weights(), name).is_file()]


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_read_as_written(name: str, tmp_path: Path) -> None:
    found = read_recipe(DetectorRecipe, recipe_path(packaged_weights(), name))
    for recipe in (found, replace(found, train=replace(found.train, threshold=0.25, lr=1e-7, mixed=True))):
        (tmp_path / "recipe.toml").write_text(recipe_text(recipe))
        assert read_recipe(DetectorRecipe, tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize("text", ["Gesicht \U0001f600", 'a "b" \\U\\ud83d', "\x7f\x1f\n\t", "\u2028é"])
def test_any_letters(text: str) -> None:
    for value in (text, [text, text]):
        assert tomllib.loads(f"a = {toml_value(value)}") == {"a": value}


def test_bytes_that_are_no_text_can_be_written_to_a_file() -> None:
    """TOML refuses them when it reads them, which `with_changes` reports."""
    assert toml_value("\udcff").encode() == b'"\\udcff"'


def test_names_of_folders(tmp_path: Path) -> None:
    """Shares are of any folders, those of a search's winner too."""
    found = read_recipe(DetectorRecipe, recipe_path(packaged_weights(), "slim"))
    shares = {"street": 0.25, "2024/straße": 0.5, 'a "b"\\c \U0001f600': 0.125}
    recipe = replace(found, pictures=replace(found.pictures, shares=shares))
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe), "utf-8")
    assert read_recipe(DetectorRecipe, tmp_path / "recipe.toml") == recipe
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe), "utf-8-sig")  # as editors of Windows save it
    assert read_recipe(DetectorRecipe, tmp_path / "recipe.toml") == recipe
