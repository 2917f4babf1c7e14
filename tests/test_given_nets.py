"""Nets of the cascade that a work folder is given trained: they mine, and are copied instead of trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import write_cnet_recipe, write_recipes
from run_command import run

from mtcnn import Detector, train
from mtcnn.checkpoint import load_weights, packaged_weights, read, save_atomic, weights_path, write
from mtcnn.errors import CheckpointError, MtcnnError, SettingsError
from mtcnn.nets import module_of
from prepare import synthetic
from stages.crops.given import given_net
from stages.crops.start import cnet_of_onet
from stages.graph.project import cascade_of, open_project
from stages.recipes import recipe_path

PACKAGED = Path("packaged")
SOURCES = ("synthetic:6",)


def same(net: str, *folders: Path) -> bool:
    """Whether two folders of models have the same weights of `net`, byte for byte."""
    one, other = (weights_path(folder, net).read_bytes() for folder in folders)
    return one == other


def states(work: Path) -> list[list[str]]:
    return [line.split()[:2] for line in run("status", "--work", work).stdout.splitlines()]


def test_onet_alone_learns_behind_the_packaged_nets(tmp_path: Path) -> None:
    """One training instead of three makes a whole cascade, and later commands know what was given."""
    work = write_recipes(tmp_path / "work")
    made = run("train", "--net", "onet", "--before", "packaged", "--data", "synthetic:6", "--work", work, "--quiet")
    assert made.exit_code == 0, made.stderr
    assert [same(net, work, packaged_weights()) for net in ("pnet", "rnet", "onet")] == [True, True, False]
    assert not list(work.glob("crops-12*")) and not (work / "crops-24.lmdb").exists()
    assert states(work) == [["pnet", "fresh"], ["rnet", "fresh"], ["crops-48", "fresh"], ["onet", "fresh"]]
    assert run("run", "--work", work).stdout == "all fresh\n"
    Detector(work).detect(synthetic.draw_scene(0, 3, 120, 160)[0])
    assert run("report", work).exit_code == 0
    assert f"mtcnn train --net onet --before {work} --data" in (work / "report.html").read_text()


def test_cnet_starts_from_the_onet_that_was_given(tmp_path: Path) -> None:
    """It needs no recipe of the nets before, and gets none."""
    work = write_cnet_recipe(tmp_path / "work")
    made = train("cnet", SOURCES, work, before="packaged")
    assert made.made == ("pnet", "rnet", "onet", "crops-64", "cnet")
    onet = load_weights(weights_path(packaged_weights(), "onet"), "onet")
    for name, value in cnet_of_onet(module_of(onet).state_dict()).items():  # of a learning rate that changes little
        assert abs(read(made.weights["cnet"]).state[name] - value.numpy()).max() < 1e-3, name
    assert not recipe_path(work, "onet").exists()
    assert cascade_of(work) == ("pnet", "rnet", "onet", "cnet") and run("run", "--work", work).stdout == "all fresh\n"


def test_nets_of_a_folder_stay_as_they_are(tmp_path: Path) -> None:
    """Given its own nets, a folder trains none of them anew when its photos change; without, it does again."""
    work = write_recipes(tmp_path)
    train("rnet", SOURCES, work)
    before = {net: weights_path(work, net).read_bytes() for net in ("pnet", "rnet")}
    more = ("synthetic:7",)
    made = train("onet", more, work, before=work).made
    assert made == ("crops-48", "onet")
    assert {net: weights_path(work, net).read_bytes() for net in before} == before
    for net in before:
        weights_path(work, net).with_name(f"before-{net}.safetensors").unlink()
    assert {"pnet", "rnet"} <= {name for name, state in states(work) if state == "stale"}


def test_other_weights_make_stale_what_was_mined_with_them(tmp_path: Path) -> None:
    nodes = open_project(tmp_path / "a", ["onet"], SOURCES, before=PACKAGED).nodes
    found = read(weights_path(packaged_weights(), "rnet"))
    for net in ("pnet", "rnet"):
        write(weights_path(tmp_path / "models", net), read(weights_path(packaged_weights(), net)))
    write(weights_path(tmp_path / "models", "rnet"), type(found)(**{**vars(found), "threshold": 0.65}))
    others = open_project(tmp_path / "b", ["onet"], SOURCES, before=tmp_path / "models").nodes
    assert nodes["crops-48"].key != others["crops-48"].key and nodes["onet"].key != others["onet"].key
    assert list(open_project(tmp_path / "c", ["onet"], SOURCES, hard_from="pnet", before=PACKAGED).nodes) == [
        "pnet", "crops-48", "onet"
    ]  # fmt: skip


def test_refused_before_anything_is_made(tmp_path: Path) -> None:
    for nets in (["pnet"], ["retinaface"], ["pnet", "rnet", "onet"]):
        with pytest.raises(SettingsError, match="before is packaged; expected it with rnet, onet or cnet"):
            open_project(tmp_path / "work", nets, SOURCES, before=PACKAGED)
    for words in (("prepare", "--net", 12), ("train", "--net", "slim")):
        refused = run(*words, "--before", "packaged", "--data", "synthetic:6", "--work", tmp_path / "work")
        assert refused.exit_code == 2 and "--before is packaged; expected it with rnet" in refused.stderr
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no weights at .*models-12"):
        open_project(tmp_path / "work", ["rnet"], SOURCES, before=tmp_path / "empty")
    assert not list((tmp_path / "work").rglob("*.toml")) and not list(tmp_path.rglob("before-*"))


def test_weights_trained_in_the_folder_are_not_replaced(tmp_path: Path) -> None:
    work = write_recipes(tmp_path)
    train("pnet", SOURCES, work)
    before = weights_path(work, "pnet").read_bytes()
    with pytest.raises(MtcnnError, match=r"`before` is packaged, but .* has other weights of pnet; expected"):
        train("rnet", (), work, before="packaged")
    assert weights_path(work, "pnet").read_bytes() == before and not list(work.rglob("before-*"))


def test_a_given_net_is_not_trained_by_its_name(tmp_path: Path) -> None:
    open_project(tmp_path, ["rnet"], SOURCES, before=PACKAGED)
    for words in (("train", "--net", "pnet"), ("prepare", "--net", 12)):
        refused = run(*words, "--work", tmp_path)
        assert refused.exit_code == 2, refused.output
        assert "net is pnet, whose weights were given to" in refused.stderr.replace("--net", "net")
        assert "delete" in refused.stderr and "before-pnet.safetensors" in refused.stderr


def test_damaged_given_weights_do_not_replace_their_copy(tmp_path: Path) -> None:
    """The error names the file that is damaged, and giving the weights again mends it."""
    open_project(tmp_path, ["onet"], SOURCES, before=PACKAGED).ensure("rnet")
    given = given_net(tmp_path, "rnet")
    assert given is not None
    given.write_bytes(given.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"before-rnet\.safetensors is truncated"):
        open_project(tmp_path, ["onet"]).ensure("rnet")
    assert same("rnet", tmp_path, packaged_weights())
    dag = open_project(tmp_path, ["onet"], before=PACKAGED)
    assert given.read_bytes() == weights_path(tmp_path, "rnet").read_bytes()
    assert dag.status()[1][:2] == ("rnet", "fresh")


@pytest.mark.filterwarnings("ignore:.*is read instead:FutureWarning")
def test_weights_of_version_01_are_given(tmp_path: Path) -> None:
    """Of a folder that has .pt files; its own too."""
    for net in ("pnet", "rnet"):
        found = read(weights_path(packaged_weights(), net))
        state = {name: torch.from_numpy(value) for name, value in found.state.items()}
        content = {"format": 1, "net": net, "state": state, "colour": found.colour, "scaling": found.scaling}
        save_atomic(content, weights_path(tmp_path / "old", net).with_suffix(".pt"))
    for work in (tmp_path / "new", tmp_path / "old"):
        open_project(work, ["onet"], SOURCES, before=tmp_path / "old").ensure("rnet")
        assert load_weights(weights_path(work, "rnet"), "rnet").state.keys() == found.state.keys()
