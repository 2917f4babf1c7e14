"""Work folders: recipes of other nets are not read; `status` lists unusable ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_command import run

from mtcnn.errors import RecipeError
from stages.graph.project import cascade_of, open_project
from stages.recipes import recipe_path

BROKEN = "epochs = ["
SOURCES = ("synthetic:2",)


def broken(work: Path, net: str, text: str = BROKEN) -> None:
    path = recipe_path(work, net)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("net", "others"), [
    ("retinaface", ("pnet", "rnet", "onet", "ssh")),
    ("pnet", ("rnet", "onet", "retinaface")),
    ("rnet", ("onet", "ssh")),
])  # fmt: skip
def test_a_broken_recipe_stops_no_other_net(tmp_path: Path, net: str, others: tuple[str, ...]) -> None:
    before = {name: node.key for name, node in open_project(tmp_path / "a", [net], SOURCES).nodes.items()}
    for other in others:
        broken(tmp_path / "b", other)
    found = {name: node.key for name, node in open_project(tmp_path / "b", [net], SOURCES).nodes.items()}
    assert found == before
    assert net in found
    assert not any(recipe_path(tmp_path / "a", other).exists() for other in others)


@pytest.mark.parametrize("net", ["pnet", "rnet", "onet"])
def test_a_broken_recipe_stops_what_needs_it(tmp_path: Path, net: str) -> None:
    broken(tmp_path, net)
    with pytest.raises(RecipeError, match=f"{net}.toml is not TOML"):
        open_project(tmp_path, ["onet"], SOURCES)


def test_onet_behind_pnet_does_not_need_rnet(tmp_path: Path) -> None:
    broken(tmp_path, "rnet")
    dag = open_project(tmp_path, ["onet"], SOURCES, hard_from="pnet")
    assert list(dag.nodes) == ["crops-12", "pnet-draft", "crops-12-hard", "pnet", "crops-48", "onet"]


def test_cnet_belongs_to_a_folder_that_has_its_recipe(tmp_path: Path) -> None:
    """The packaged recipe is copied when it is asked for; `status` and `run` then know it."""
    open_project(tmp_path, sources=SOURCES)
    assert cascade_of(tmp_path) == ("pnet", "rnet", "onet")
    assert [line.split()[0] for line in run("status", "--work", tmp_path).stdout.splitlines()][-1] == "onet"
    dag = open_project(tmp_path, ["cnet"])
    assert list(dag.nodes)[-3:] == ["onet", "crops-64", "cnet"]
    assert recipe_path(tmp_path, "cnet") == tmp_path / "models-48" / "recipe-cnet.toml"
    assert cascade_of(tmp_path) == ("pnet", "rnet", "onet", "cnet")
    rows = [line.split()[:2] for line in run("status", "--work", tmp_path).stdout.splitlines()]
    assert rows[-2:] == [["crops-64", "missing"], ["cnet", "missing"]]


def test_status_lists_broken_nets(tmp_path: Path) -> None:
    broken(tmp_path, "rnet")
    broken(tmp_path, "ssh", "net = 'ssh'\n[train]\nepochs = 0\n")
    done = run("status", "--work", tmp_path, "--data", "synthetic:2")
    assert done.exit_code == 1
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()}
    assert {name: state for name, (state, _) in lines.items()} == {
        "crops-12": "missing", "pnet-draft": "missing", "crops-12-hard": "missing", "pnet": "missing",
        "rnet": "broken", "onet": "broken", "ssh": "broken",
    }  # fmt: skip
    assert lines["onet"][1] == "needs rnet, whose recipe cannot be used"
    assert "epochs is 0" in lines["ssh"][1]


@pytest.mark.parametrize(("text", "seed"), [
    ("seed = 7\n[crops]\nnonsense = 1\n", 7), ("seed = 'x'", 0), ("seed = true", 0), (BROKEN, 0), ("", 0)
])  # fmt: skip
def test_drawn_scenes_follow_the_cascades_seed(tmp_path: Path, text: str, seed: int) -> None:
    """So that a detector's data does not depend on the other nodes of the graph."""
    broken(tmp_path / "a", "pnet", text)
    broken(tmp_path / "b", "pnet", f"seed = {seed}")
    keys = [open_project(tmp_path / work, ["retinaface"], SOURCES).nodes["photos"].key for work in "ab"]
    assert keys[0] == keys[1]
