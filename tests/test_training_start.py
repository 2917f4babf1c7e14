"""Trainings that start from given weights: the cascade's nets and detectors, files and packaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import write_recipes
from run_command import run

from mtcnn.checkpoint import packaged_weights, read, weights_path, write
from mtcnn.errors import CheckpointError, MtcnnError
from stages.graph.project import open_project
from stages.recipes import recipe_path

PACKAGED = Path("packaged")
SOURCES = ("synthetic:6",)


def keys(work: Path) -> dict[str, str]:
    return {name: node.key for name, node in open_project(work, sources=SOURCES).nodes.items()}


def test_a_start_is_part_of_the_key_of_its_net_alone(tmp_path: Path) -> None:
    before = keys(tmp_path)
    open_project(tmp_path, ["onet"], SOURCES, start=PACKAGED)
    kept = tmp_path / "models-48" / "start-onet.safetensors"
    assert kept.read_bytes() == weights_path(packaged_weights(), "onet").read_bytes()
    after = keys(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"onet"}
    kept.unlink()
    assert keys(tmp_path) == before


def test_pnet_starts_its_draft_from_it(tmp_path: Path) -> None:
    before = open_project(tmp_path, ["pnet"], SOURCES).nodes
    after = open_project(tmp_path, ["pnet"], SOURCES, start=PACKAGED).nodes
    assert [name for name in after if "start" in after[name].parts] == ["pnet-draft"]
    assert before["crops-12"].key == after["crops-12"].key
    assert before["pnet"].key != after["pnet"].key, "it learns from what the draft mines, and starts from the draft"


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_the_net_begins_with_these_weights(tmp_path: Path, colour: str) -> None:
    write_recipes(tmp_path / "work", {12: ("steps = 20", "steps = 1\nlr = 1e-12")})
    found = read(weights_path(packaged_weights(), "pnet"))
    state = dict(found.state)
    if colour == "bgr":
        state["trunk.0.weight"] = np.ascontiguousarray(state["trunk.0.weight"][:, ::-1])
    write(tmp_path / "start.safetensors", type(found)(**{**vars(found), "state": state, "colour": colour}))
    dag = open_project(tmp_path / "work", ["pnet"], SOURCES, start=tmp_path / "start.safetensors", quiet=True)
    dag.ensure("pnet-draft")
    made = read(dag.nodes["pnet-draft"].makes)
    for name, values in found.state.items():
        if name != "face.bias":  # calibrated
            np.testing.assert_allclose(made.state[name], values, rtol=1e-5, atol=1e-8, err_msg=name)


def test_weights_that_do_not_fit_are_rejected_before_any_work(tmp_path: Path) -> None:
    rnet = weights_path(packaged_weights(), "rnet")
    with pytest.raises(CheckpointError, match="holds weights of rnet; expected onet"):
        open_project(tmp_path, ["onet"], SOURCES, start=rnet)
    with pytest.raises(CheckpointError, match=r"none\.safetensors, which is no file; expected weights of the net"):
        open_project(tmp_path, ["onet"], SOURCES, start=tmp_path / "none.safetensors")
    with pytest.raises(MtcnnError, match="no weights of ssh ship"):
        open_project(tmp_path, ["ssh"], SOURCES, start=PACKAGED)
    assert not list(tmp_path.rglob("start-*"))


def test_both_errors_name_options(tmp_path: Path) -> None:
    path = recipe_path(tmp_path, "ssh")
    path.parent.mkdir(parents=True)
    path.write_text('net = "ssh"\n[model]\nwidth = 0.125\n[pictures]\nsizes = [64]\n'
                    '[objective]\nname = "multibox"\n[train]\nepochs = 1\nsteps = 1\nbatch = 1\n')  # fmt: skip
    made = run("train", "--net", "ssh", "--data", "synthetic:6", "--work", tmp_path, "--quiet")
    assert made.exit_code == 0, made.stderr
    assert "ssh: starts from random weights" in made.stderr
    assert "or of its trunk as --start of mtcnn train\n" in made.stderr
    assert "random" not in run("train", "--net", "ssh", "--work", tmp_path, "--quiet").stderr, "it is fresh"
    done = run("train", "--net", "ssh", "--start", "packaged", "--data", "synthetic:3", "--work", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("mtcnn: --start is packaged, but no weights of ssh ship")


def test_random_weights_of_a_detector_are_reported(tmp_path: Path) -> None:
    note = open_project(tmp_path, ["retinaface"], SOURCES).nodes["retinaface"].note
    assert note.startswith("starts from random weights")
    assert note.endswith("as `start` of mtcnn train; packaged are those that ship")
    assert "packaged" not in open_project(tmp_path, ["ssh"], SOURCES).nodes["ssh"].note
    assert not open_project(tmp_path, ["retinaface"], SOURCES, start=PACKAGED).nodes["retinaface"].note
    assert not open_project(tmp_path, ["retinaface"], SOURCES).nodes["retinaface"].note, "it is in the work folder"
    assert not open_project(tmp_path, sources=SOURCES).nodes["rnet"].note, "as the cascade usually does"
