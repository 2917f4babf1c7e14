"""Changes of a recipe by `--set`: one value each, and nothing else of the file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import ROOT, write_recipes
from run_command import run

from mtcnn import train
from mtcnn.errors import RecipeError, SettingsError
from stages.recipe_edit import parsed_changes, with_changes
from stages.recipes import recipe_path

RECIPES = sorted(path for folder in ROOT.glob("models-*") for path in folder.rglob("recipe*.toml"))
TEXT = """# A recipe.
net = "slim"  # the "net" of it

[pictures]
sizes = [
  320,  # small
  640,
]

[ train ]
epochs = 60  # many
lr = 1e-3
[train.score]
"""


def leaves(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def set_in(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, name = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    values[name] = value


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_any_value_of_the_packaged_recipes(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(RECIPES) > 20
    for key, value in leaves(tomllib.loads(text)):
        for new in (7, 0.25, True, "text", [1, 2.5]):
            found, wanted = with_changes(text, {key: new}, "recipe"), tomllib.loads(text)
            set_in(wanted, key, new)
            assert tomllib.loads(found) == wanted, key
            assert found.count("#") == text.count("#") or isinstance(value, list), "comments stay"
        assert with_changes(text, {key: value}, "recipe") == text


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"train.epochs": 8}, "epochs = 60  # many", "epochs = 8  # many"),
        ({"net": "rfb"}, 'net = "slim"  # the "net" of it', 'net = "rfb"  # the "net" of it'),
        ({"pictures.sizes": (480,)}, "sizes = [\n  320,  # small\n  640,\n]", "sizes = [480]"),
        ({"train.batch": 4}, "[ train ]\n", "[ train ]\nbatch = 4\n"),
        ({"train.score.before": 0.5}, "[train.score]\n", "[train.score]\nbefore = 0.5\n"),
        ({"seed": 3}, "# A recipe.\n", "seed = 3\n# A recipe.\n"),
        ({"objective.match.positive": 0.4}, "[train.score]\n", "[train.score]\n\n[objective.match]\npositive = 0.4\n"),
    ],
)
def test_where_a_change_goes(change: dict[str, Any], before: str, after: str) -> None:
    assert before in TEXT
    assert with_changes(TEXT, change, "recipe") == TEXT.replace(before, after)


def test_values_as_a_command_gives_them() -> None:
    texts = [
        "train.epochs=8",
        "train.lr = 1e-3",
        "train.mixed=true",
        "objective.name=ssd",
        "a.b=[1, 2]",
        'c="x=y"',
    ]
    assert parsed_changes(texts) == {
        "train.epochs": 8, "train.lr": 1e-3, "train.mixed": True, "objective.name": "ssd", "a.b": [1, 2], "c": "x=y"
    }  # fmt: skip
    for text in ("train.epochs", "=8", "train.epochs=", "train epochs=8", "", "train.epochs=8\ntrain.lr=1"):
        with pytest.raises(SettingsError, match=r"`changes` has .*; expected KEY=VALUE, as train\.epochs=8"):
            parsed_changes([text])
    for text in ("train.epochs=" + "1" * 5000, "train.epochs=" + "[" * 5000):
        with pytest.raises(SettingsError, match=r"`changes` has .{160}; expected a number of fewer than 64 bits"):
            parsed_changes([text])


@pytest.mark.parametrize("value", [True, 1.0, float("nan"), float("inf"), "\U0001f600 \u00e9\x7f\n", [1, True, 1e30]])
def test_types_and_odd_values_are_kept(value: Any) -> None:
    """True is not 1: a recipe with a wrong type is refused when it is read, not left as it was."""
    found = tomllib.loads(with_changes(TEXT, {"train.epochs": 1, "train.lr": 1}, "recipe"))["train"]
    changed = tomllib.loads(with_changes(TEXT.replace("60", "1"), {"train.epochs": value}, "recipe"))["train"]
    assert type(found["lr"]) is int and repr(changed["epochs"]) == repr(value)


def test_line_ends_stay() -> None:
    """Those of Windows; and characters in comments that are line ends elsewhere."""
    text = TEXT.replace("# A recipe.", "# A\u2028B\x85C.")
    wanted = text.replace("60", "8")
    assert with_changes(text, {"train.epochs": 8}, "recipe") == wanted
    ends = text.replace("\n", "\r\n")
    assert with_changes(ends, {"train.epochs": 8}, "recipe") == wanted.replace("\n", "\r\n")
    assert with_changes(ends, {"train.epochs": 60}, "recipe") == ends
    assert tomllib.loads(with_changes(ends, {"train.batch": 4, "a.b": 1}, "recipe"))["train"]["batch"] == 4


@pytest.mark.parametrize(
    ("text", "change", "why"),
    [
        ("lr = 1", {"lr.x": 2}, "lr.x is no key, as lr is no table"),
        (
            "train = {lr = 1}",
            {"train.lr": 2},
            "train.lr cannot be changed by a program as it is written there; edit it by hand",
        ),
        ("lr = 1", {"lr": {"a": 1}}, "lr is .*; expected a number, a text, true, false, or a list"),
        ("lr = 1", {"lr": "\udcff"}, "lr cannot be changed"),
        ("lr = 1", {"lr": 1 << 70000}, "lr is a number of 70001 bits; expected one of fewer than 64"),
    ],
)
def test_refused(text: str, change: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=f"^recipe: {why}"):
        with_changes(text, change, "recipe")


def test_a_change_is_kept_in_the_work_folder(tmp_path: Path) -> None:
    """And is not made where the command is refused; the net is trained by it, then fresh."""
    work = write_recipes(tmp_path)
    path, words = (
        recipe_path(work, "pnet"),
        ("train", "--net", "pnet", "--work", work, "--data", "synthetic:6", "--quiet"),
    )
    before = path.read_bytes()
    for wrong, why in (
        ("train.epochs=x", "train.epochs is 'x'; expected a whole number"),
        ("train.epoch=2", "train.epoch is no key of a recipe"),
        ("net=slim", "net is slim; expected one of pnet"),
        ("train", "--set has train; expected KEY=VALUE"),
    ):
        refused = run(*words, "--set", wrong)
        assert refused.exit_code != 0 and why in refused.stderr, refused.stderr
    assert path.read_bytes() == before
    done = train("pnet", ["synthetic:6"], work, changes={"train.epochs": 3})
    assert len(done.epochs["pnet"]) == 3 and "epochs = 3" in path.read_text()
    again = run(*words, "--set", "train.epochs=3")
    assert again.stdout.endswith("(was fresh)\n") and run(*words).stdout.endswith("(was fresh)\n")
    assert len(train("pnet", (), work, changes={"train.epochs": 2}).epochs["pnet"]) == 2


def test_a_change_of_a_packaged_recipe(tmp_path: Path) -> None:
    """Its copy has the change; the packaged one stays. The whole cascade has three recipes."""
    packaged = recipe_path(ROOT, "slim").read_text()
    small = ["train.epochs=1", "train.steps=1", "train.batch=2", "pictures.sizes=[64]"]
    changes = [word for change in small for word in ("--set", change)]
    done = run("train", "--net", "slim", "--data", "synthetic:6", "--work", tmp_path, "--quiet", *changes)
    assert done.exit_code == 0, done.stderr
    kept = tomllib.loads(recipe_path(tmp_path, "slim").read_text())
    assert kept["train"] | {"epochs": 1, "steps": 1, "batch": 2} == kept["train"] and kept["pictures"]["sizes"] == [64]
    assert recipe_path(ROOT, "slim").read_text() == packaged
    refused = run("run", "--data", "synthetic:6", "--work", tmp_path / "new", "--set", "train.epochs=1")
    assert (
        refused.exit_code == 2 and "--set are of one recipe; expected one net, not pnet, rnet, onet" in refused.stderr
    )
    assert not (tmp_path / "new" / "models-12").exists()
